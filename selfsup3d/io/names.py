"""Names that come from files: as parts of paths, and on the terminal."""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from selfsup3d.errors import InputError

__all__ = ["clean_component", "clean_relative", "file_name", "fitting", "printable", "printable_streams"]

_PATTERN = re.compile(r"\{(?::0?\d{1,2}d)?\}")  # of a frame's number
_LONGEST = 200  # bytes of a name: file systems end at 255, and suffixes are added


def clean_component(name: object, where: str | Path) -> str:
    """`name` as one component of a path: it leads neither up, nor down, nor anywhere else.

    Args:
        name: as read. where: the file and key it stands in, for the message.

    Raises:
        InputError: no text, empty, "." or "..", with a slash, backslash, colon or control character, or over-long.
    """
    if not isinstance(name, str) or not name or name in (".", "..") or name != name.strip():
        raise InputError(f"{where}: {printable(repr(name))} is no name for a file or folder")
    if any(letter in '/\\:"' or unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise InputError(
            f"{where}: {printable(repr(name))} holds a letter that no file's name may have (/ \\ : \" ...)"
        )
    if len(name.encode()) > _LONGEST:
        raise InputError(f"{where}: the name {printable(name[:40])}... has more than {_LONGEST} bytes")
    return name


def clean_relative(path: object, where: str | Path) -> str:
    """`path` as a path below a folder, each part of it as of `clean_component`, or a pattern of such; "" stays.

    Raises:
        InputError: absolute, with a part that leads up or is unclean, or with braces that are no frame's number.
    """
    if not isinstance(path, str) or path.startswith(("/", "\\")):
        raise InputError(f"{where}: {printable(repr(path))} is no path below the data's folder")
    filled = _PATTERN.sub("0", path)
    if "{" in filled or "}" in filled or len(_PATTERN.findall(path)) > 1:
        raise InputError(
            f"{where}: {printable(repr(path))}: expected one place for the frame's number, such as {{:06d}}"
        )
    for part in PurePosixPath(filled).parts:
        clean_component(part, where)
    return path


def fitting(name: str) -> str:
    """A name cut to what file systems take, told apart by a number made of the whole; short names stay."""
    if len(name.encode()) <= _LONGEST:
        return name
    return name.encode()[: _LONGEST - 10].decode(errors="ignore") + "-" + hashlib.sha256(name.encode()).hexdigest()[:8]


def file_name(name: str) -> str:
    """A name from a file as a part of a file's name: letters, digits, "_" and "-", of a length that fits; names that
    differ stay apart."""
    plain = re.sub(r"[^\w-]", "_", name)
    return fitting(
        plain if plain == name else f"{plain}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:6]}"
    )


def printable(text: str) -> str:
    """Text without what steers a terminal: control characters and directions of writing become visible escapes."""
    return "".join(
        letter if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else
        letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )  # fmt: skip


class _Stream:
    """A text stream through which nothing but text reaches the terminal, whoever prints: messages, progress bars,
    libraries. What bars themselves send (a return at the beginning, moves to the line above) passes."""

    _BAR = re.compile(r"\n*(?:\x1b\[A)*")

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As of any text stream."""
        if not self._BAR.fullmatch(text):
            start = "\r" if text.startswith("\r") else ""
            end = "\r" if len(text) > 1 and text.endswith("\r") else ""
            text = start + printable(text.removeprefix("\r").removesuffix("\r" if end else "")) + end
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def printable_streams() -> Iterator[None]:
    """Names that hold a terminal's commands cannot give them: within, stdout and stderr write them as visible escapes."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Stream(stream) for stream in before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
