"""Compare what was prepared with the checksums that were written then, and say what brings it back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsup3d.data.sampling.clip_store import altered_clips
from selfsup3d.data.sampling.shards import altered_shards
from selfsup3d.data.sampling.shards_write import LISTING
from selfsup3d.data.synthetic.cache import altered_truth
from selfsup3d.errors import InputError
from selfsup3d.io.files import visible_files
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import DOCUMENT, read_within

__all__ = ["StoreReport", "verify_stores"]

_STORE = "store.json"


@dataclass(frozen=True)
class StoreReport:
    """What was found in one store.

    Attributes:
        folder: of the store.
        holds: "clips" or "shards".
        count: of them.
        unknown: how many were prepared by a version that wrote no checksums: of their values nothing can be said.
        faults: file or folder -> what is wrong with it.
        remedy: what to do about the faults, one line; "" without.
    """

    folder: Path
    holds: str
    count: int
    unknown: int = 0
    faults: dict[Path, str] = field(default_factory=dict)
    remedy: str = ""


def verify_stores(root: str | Path) -> Iterator[StoreReport]:
    """Every store of clips (prepared videos, rendered synth-v1) and of shards in a folder, itself included.

    Raises:
        InputError: no such folder, or no store in it.
    """
    root, found = Path(root), False
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected prepared clips or shards, or a folder that holds some")
    for folder, files in visible_files(root):
        for name, verify in ((_STORE, _clips), (LISTING, _shards)):
            if name in files:
                found = True
                yield verify(folder)
    if not found:
        raise InputError(f"{root}: no {_STORE} and no {LISTING} in it or below: nothing that was prepared and finished")


def _clips(folder: Path) -> StoreReport:
    try:
        whole, faults = altered_clips(folder)
    except InputError as error:
        listing = folder / _STORE
        told = str(error).removeprefix(f"{listing}: ").split(";")[0]
        return StoreReport(folder, "clips", 0, 0, {listing: told}, _again([listing], {}, folder))
    count = len(whole) + len(faults)
    faults |= altered_truth(whole, folder)
    unknown = sum(not clip.meta.get("sha256") for clip in whole)
    remedy = _again(list(faults), _settings(folder), folder) if faults else ""
    return StoreReport(folder, "clips", count, unknown, faults, remedy)


def _shards(folder: Path) -> StoreReport:
    try:
        shards, faults = altered_shards(folder)
    except InputError as error:
        shards, faults = {}, {folder / LISTING: str(error).removeprefix(f"{folder / LISTING}: ").split(";")[0]}
    remedy = f"copy them again, or remove {folder} and write it anew: selfsup3d prepare-data ... --shards"
    return StoreReport(
        folder, "shards", len(shards), sum(d is None for d in shards.values()), faults, remedy if faults else ""
    )


def _settings(folder: Path) -> dict[str, Any]:
    return dict(parse_json(read_within(folder / _STORE, DOCUMENT).decode())["settings"])


def _again(faults: list[Path], settings: dict[str, Any], folder: Path) -> str:
    """The command that removes what is faulty, and what makes it anew."""
    remove = shlex.join(["rm", "-r", *map(str, faults)])
    key = settings.get("key")
    if not isinstance(key, dict) or "source" not in settings:
        return f"{remove}; the next training run or evaluation, or prepare-data, makes it again"
    options = {
        "crop": "mode",
        "saliency": "method",
        "max-fps": "max_fps",
        "detector": "detector",
        "segmenter": "segmenter",
    }
    words = ["selfsup3d", "prepare-data", "--dataset", "videos", "--root", settings["source"], "--output", folder,
             "--size", key.get("size")]  # fmt: skip
    for flag, name in options.items():
        if key.get(name) is not None:
            words += [f"--{flag}", key[name]]
    return f"{remove} && {shlex.join(map(str, words))}"
