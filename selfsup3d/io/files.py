"""Files appear whole or not at all: written beside their place under a temporary name, then renamed. And are found."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = [
    "atomic_folder",
    "atomic_path",
    "no_trace",
    "remove_folder",
    "remove_partial",
    "visible_files",
    "write_array",
    "write_json",
    "write_text",
]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it becomes `path`, on failure it is removed.

    The temporary name keeps the suffix of `path`, since many writers choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files private; the result gets the usual rights
        os.replace(temporary, path)
    except OSError as error:
        raise _named(error, path) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an npy file. numpy itself writes past Python's files and tells of a full disk without saying what or where.

    Raises:
        OSError: it cannot be written whole.
    """
    with path.open("wb") as file:
        np.save(SimpleNamespace(write=file.write), array)  # type: ignore[call-overload]


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused, since other readers reject it."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success its files reach the disk and it becomes `path`, replacing a
    folder that stands there; on failure it is removed. A process killed meanwhile leaves `.partial-*` behind, which
    `remove_partial` clears."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=path.parent))
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        for entry in [*sorted(temporary.rglob("*")), temporary]:
            entry.chmod((0o777 if entry.is_dir() else 0o666) & ~umask)  # some writers make files private
            _sync(entry)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=".partial-", dir=path.parent))
            os.replace(path, old)  # a folder may replace an empty one
            os.replace(temporary, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise _named(error, path) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def no_trace(path: str | Path) -> Iterator[None]:
    """Where the body fails, remove `path` and those of its parents that it made, as far as they are empty folders."""
    path = Path(path).absolute()
    absent = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in absent:
            if folder.is_dir() and any(folder.iterdir()):
                break
            if folder.is_dir():
                folder.rmdir()
        raise


def remove_folder(path: str | Path) -> None:
    """Remove a folder under another name, so that a process killed meanwhile leaves no half of it at its place."""
    doomed = Path(tempfile.mkdtemp(prefix=".partial-", dir=Path(path).parent))
    os.replace(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_partial(folder: str | Path) -> None:
    """Remove what killed writers left in a folder; only where no other process is writing there."""
    for entry in Path(folder).glob(".partial-*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def visible_files(folder: str | Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from `folder` down, with the sorted names of its files; hidden ones, pipes and devices are left out.

    Links to folders are followed, since people keep data on several disks; a folder is entered once, so that links in a
    circle end.
    """
    entered = {os.path.realpath(folder)}
    for parent, children, files in os.walk(folder, followlinks=True):
        kept = []
        for child in sorted(children):
            place = os.path.realpath(os.path.join(parent, child))
            if not child.startswith(".") and place not in entered:
                entered.add(place)
                kept.append(child)
        children[:] = kept
        named = (file for file in files if not file.startswith("."))
        yield Path(parent), sorted(file for file in named if _is_file_or_broken_link(os.path.join(parent, file)))


def _is_file_or_broken_link(path: str) -> bool:
    """Links that lead nowhere count, so that whoever opens them can tell."""
    return os.path.isfile(path) or not os.path.exists(path)


def _named(error: OSError, path: Path) -> OSError:
    """The error with the file it is about: writing to a full disk fails without a name."""
    if error.filename is None and error.errno is not None:
        error.filename = str(path)
    return error


def _sync(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
