"""Writing WebDataset shards of crops; `shards` reads them. The format is described there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selfsup3d.data.datasets.dataset_tree import need_package
from selfsup3d.errors import InputError
from selfsup3d.io.files import write_json
from selfsup3d.io.stored_arrays import file_digest

__all__ = ["FORMAT", "LISTING", "Record", "webdataset_library", "write_shards"]

FORMAT = 1
LISTING = "shards.json"
_UNFINISHED = ".unfinished"
"""Stands while shards are being written: by it the writer knows its own leftovers from files of others."""


@dataclass(frozen=True)
class Record:
    """One sample of a shard.

    Attributes:
        crop: (S, S, 3) uint8 RGB.
        saliency: (S, S) uint8, or None.
        background: (S, S, 3) uint8, or None.
        K: (3, 3) of the crop.
        person: samples of one person are paired; those that follow one another share a shard.
        meta: text and numbers for reports (dataset, action, file, frame ...).
        labels: "joints_3d" (17, 3), "joints_2d" (17, 2), "confidence" (17,) where they are known.
    """

    crop: np.ndarray
    K: np.ndarray
    person: str
    saliency: np.ndarray | None = None
    background: np.ndarray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)


def write_shards(
    folder: str | Path,
    records: Iterable[Record],
    dataset: str,
    per_shard: int = 2000,
    notes: Mapping[str, str] | None = None,
) -> int:
    """Write records in their order; returns how many there were.

    Args:
        folder: of the shards; one that this function left unfinished (with its mark, without shards.json) is written
            anew.
        dataset: name, kept in every sample's meta.
        per_shard: samples in each; 2000 crops of 256 px are about 50 MB.
        notes: printed beside numbers on them (where joints and boxes come from).

    Raises:
        InputError: webdataset is not installed, the folder holds finished shards, or there are no records.
    """
    folder = Path(folder)
    if (folder / LISTING).exists():
        raise InputError(f"{folder}: holds finished shards already; give another folder, or remove them")
    wds = webdataset_library(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark, standing = folder / _UNFINISHED, sorted(folder.glob("shard-*.tar"))
    if standing and not mark.exists():
        raise InputError(
            f"{standing[0]}: was not written here, and would be overwritten; give another folder, or remove it"
        )
    mark.touch()
    for old in standing:
        old.unlink()
    counts: list[int] = []
    size = 0
    # The library takes "name:" at the beginning of a relative path for a URL, and % for a place to put the number.
    pattern = str(folder.resolve()).replace("%", "%%") + "/shard-%06d.tar"
    with wds.ShardWriter(pattern, maxcount=per_shard, maxsize=1e12, verbose=0) as writer:
        for number, record in enumerate(records):
            if number % per_shard == 0:
                counts.append(0)
            writer.write(_sample(number, record))
            counts[-1] += 1
            size = record.crop.shape[0]
    if not counts:
        raise InputError(f"{folder}: there is nothing to write")
    shards = [
        {"name": path.name, "samples": count, "sha256": file_digest(path)}
        for path, count in zip(sorted(folder.glob("shard-*.tar")), counts, strict=True)
    ]
    listing = {"format": FORMAT, "dataset": dataset, "size": size, "notes": dict(notes or {}), "shards": shards}
    write_json(folder / LISTING, listing)
    mark.unlink()
    return sum(counts)


def _sample(number: int, record: Record) -> dict[str, Any]:
    label = {
        "person": record.person,
        "K": np.asarray(record.K, dtype=np.float64).tolist(),
        "meta": dict(record.meta),
        "labels": {name: _finite(values) for name, values in record.labels.items()},
    }
    sample = {"__key__": f"{number:09d}", "jpg": _encode(".jpg", record.crop), "json": json.dumps(label).encode()}
    if record.saliency is not None:
        sample["mask.png"] = _encode(".png", record.saliency)
    if record.background is not None:
        sample["background.jpg"] = _encode(".jpg", record.background)
    return sample


def _finite(values: np.ndarray) -> list[Any]:
    """Nested lists for JSON, null for what is not finite."""
    objects = np.asarray(values).astype(object)
    objects[~np.isfinite(values)] = None
    return objects.tolist()


def _encode(suffix: str, image: np.ndarray) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if suffix == ".jpg" else []
    good, data = cv2.imencode(suffix, image[..., ::-1] if image.ndim == 3 else image, quality)
    if not good:
        raise OSError(f"a crop of shape {image.shape} could not be encoded as {suffix}")
    return data.tobytes()


def webdataset_library(folder: Path) -> Any:
    """The package; InputError tells how to install it."""
    try:
        import webdataset
    except ImportError:
        raise need_package("webdataset", folder) from None
    return webdataset
