"""From a dataset's tree to its index: parts read in parallel, kept one by one so that an interrupted run goes on.

OUTPUT.npz            the index, written last
OUTPUT.parts/         rows of finished parts; removed once the index stands
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from selfsup3d.data.datasets.dataset_tree import Part, Tree
from selfsup3d.data.datasets.frame_index import (
    FrameIndex,
    Rows,
    Take,
    concatenate_indices,
    index_settings,
    load_index,
    save_index,
)
from selfsup3d.data.synthetic.cache import cache_root
from selfsup3d.errors import InputError
from selfsup3d.io.json_yaml import parse_json

__all__ = ["Report", "build_index", "cached_index_path", "open_index", "stamped"]


@dataclass(frozen=True)
class Report:
    """What building found.

    Attributes:
        index: the rows.
        failed: part -> why it could not be read.
        reused: parts that stood from an earlier run.
    """

    index: FrameIndex
    failed: Mapping[str, str] = field(default_factory=dict)
    reused: int = 0


def build_index(
    tree: Tree,
    output: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    workers: int = 0,
    max_failed: int = 20,
    progress: bool = True,
) -> Report:
    """Read every part of a tree.

    Args:
        tree: of one of the dataset modules.
        output: npz to write; None = nothing is written, nothing resumed.
        settings: what the tree was found with; an index with other settings is built anew.
        workers: processes; 0 = this one.
        max_failed: parts that may be unreadable; each is left out and counted.
        progress: bar on stderr.

    Raises:
        InputError: nothing to read, more than `max_failed` parts failed (the first is named), or no usable frame.
    """
    tree.require()
    known = json.loads(json.dumps(dict(settings or {}), default=str))
    kept = None if output is None else _Kept(Path(output), known)
    todo = [part for part in tree.parts if kept is None or not kept.has(part)]
    failed: dict[str, str] = {}
    fresh: dict[str, list[Rows]] = {}
    with tqdm(total=len(tree.parts), initial=len(tree.parts) - len(todo), desc=f"index {tree.dataset}", unit="file",
              disable=not progress) as bar:  # fmt: skip
        for part, rows, reason in _read(todo, workers):
            bar.update()
            if rows is None:
                failed[part.name] = reason
                if len(failed) > max_failed:
                    raise InputError(_too_many(tree, failed, max_failed))
            elif kept is None:
                fresh[part.name] = rows
            else:
                kept.write(part, rows)
    rows_of = fresh if kept is None else {p.name: kept.read(p) for p in tree.parts if p.name not in failed}
    ordered = [rows for part in tree.parts for rows in rows_of.get(part.name, [])]
    if not ordered:
        raise InputError(_too_many(tree, failed, max_failed))
    index = concatenate_indices(tree.dataset, tree.root, ordered, tree.notes)
    if failed:
        index.left_out.setdefault("", {})["files that cannot be read"] = len(failed)
    if kept is not None:
        save_index(kept.output, index, known)
        kept.remove()
    return Report(index, failed, len(tree.parts) - len(todo))


def _too_many(tree: Tree, failed: Mapping[str, str], limit: int) -> str:
    first = next(iter(failed.values()), "nothing was found")
    return f"{tree.root}: {len(failed)} files of {tree.source.title} cannot be read (limit {limit}); the first: {first}"


def _read(parts: list[Part], workers: int) -> Iterator[tuple[Part, list[Rows] | None, str]]:
    """Parts with their rows, or None and the reason, as they finish."""
    if workers < 1:
        for part in parts:
            yield part, *_attempt(part)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[tuple[list[Rows] | None, str]], Part] = {pool.submit(_attempt, p): p for p in parts}
        try:
            for done in as_completed(waiting):
                yield waiting[done], *done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _attempt(part: Part) -> tuple[list[Rows] | None, str]:
    try:
        return part.read(), ""
    except InputError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{part.file}: {error}"
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # one damaged file never ends a dataset
        return None, f"{part.file}: {type(error).__name__}: {error}"


class _Kept:
    """Finished parts of an index under way."""

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self.output = output.with_suffix(".npz")
        self.folder = output.with_suffix(".parts")
        text = json.dumps(settings, sort_keys=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "settings.json"
        if file.is_file() and file.read_text() != text:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
        file.write_text(text)

    def _file(self, part: Part) -> Path:
        stat = part.file.stat() if part.file.exists() else None
        mark = f"{part.name}|{stat.st_size if stat else 0}|{stat.st_mtime_ns if stat else 0}"
        return self.folder / f"{hashlib.sha256(mark.encode()).hexdigest()[:20]}.npz"

    def has(self, part: Part) -> bool:
        return self._file(part).is_file()

    def write(self, part: Part, rows: list[Rows]) -> None:
        """The part as a small index of its own; one without rows keeps its counts."""
        path = self._file(part)
        filled = [r for r in rows if len(r)]
        counts = _counts(rows)
        if filled:
            index = concatenate_indices("part", ".", rows, {})
            save_index(path, index, {"skipped": counts})
        else:
            path.with_suffix(".json").write_text(json.dumps(counts))
            np.savez(path, empty=np.zeros(0))

    def read(self, part: Part) -> list[Rows]:
        path = self._file(part)
        if path.with_suffix(".json").is_file():
            counts = parse_json(path.with_suffix(".json").read_text())
            return [_empty(counts)] if counts else []
        index = load_index(path)
        rows = []
        for number, take in enumerate(index.takes):
            mine = index.take == number
            rows.append(
                Rows(
                    take=take,
                    frame=index.frame[mine],
                    joints_3d=index.joints_3d[mine],
                    joints_2d=index.joints_2d[mine],
                    confidence=index.confidence[mine],
                    box=index.box[mine],
                    detected=None if index.detected is None else index.detected[mine],
                    skipped=dict(index.skipped) if number == 0 else {},
                )
            )
        return rows

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _counts(rows: list[Rows]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for part in rows:
        for reason, count in (part.skipped or {}).items():
            counts[reason] = counts.get(reason, 0) + count
    return counts


def _empty(counts: dict[str, int]) -> Rows:
    take = Take("", "", "", "", "", "", "", 0.0, 0, 0, False, (1, 0, 0, 0, 1, 0, 0, 0, 1))
    joints = np.zeros((0, 17, 3), np.float32)
    boxes = np.zeros((0, 4), np.float32)
    return Rows(take, np.zeros(0, np.int32), joints, joints[..., :2], joints[..., 0], boxes, None, counts)


def cached_index_path(dataset: str, root: Path, settings: Mapping[str, Any]) -> Path:
    """Where an index goes that nobody named: below the folder of all caches, by dataset, folder and settings."""
    chosen = {key: value for key, value in settings.items() if key != "files"}
    text = json.dumps([str(root.absolute()), chosen], sort_keys=True, default=str)
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return cache_root() / "index" / f"{dataset}-{root.name}-{mark}.npz"


def stamped(tree: Tree, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings as an index keeps them, with a mark that changes when files are added, removed or replaced."""
    lines = []
    for part in tree.parts:
        stat = part.file.stat() if part.file.exists() else None
        lines.append(f"{part.name}|{stat.st_size if stat else 0}|{stat.st_mtime_ns if stat else 0}")
    mark = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return dict(json.loads(json.dumps({**(settings or {}), "files": mark}, default=str)))


def open_index(
    tree: Tree, path: str | Path | None = None, settings: Mapping[str, Any] | None = None, *, workers: int = 0
) -> FrameIndex:
    """The index of a tree: read where it stands with these settings, else built.

    Args:
        path: of a prepared index (used whatever its settings); None = the cache's.
    """
    if path is not None:
        return load_index(path, tree.root)
    known = stamped(tree, settings)
    cached = cached_index_path(tree.dataset, tree.root, known)
    if index_settings(cached) == known:
        return load_index(cached, tree.root)
    return build_index(tree, cached, settings=known, workers=workers).index
