"""The index of a dataset: one row for each person in each annotated image, and where the image is found.

Every dataset becomes the same npz (no pickled objects, no copies of images). A *take* is one person in one recording
by one camera; rows of a take follow one another in time. Coordinates: pixels of the full image as the dataset gives
them; 3D joints in the camera frame (OpenCV axes), metres.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from selfsup3d.errors import InputError
from selfsup3d.io.files import atomic_path
from selfsup3d.io.json_yaml import first_fault, parse_json
from selfsup3d.io.names import clean_component, clean_relative
from selfsup3d.io.safe_pickle import load_npz
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = [
    "FrameIndex",
    "Rows",
    "Take",
    "boxes_of_joints",
    "concatenate_indices",
    "index_settings",
    "load_index",
    "save_index",
    "select_split",
    "thin_out",
    "with_images",
]

FORMAT = 2
"""Version of the file; an index of another version is built again."""

_WIDEST = 100_000  # px

_ROW_SHAPES: dict[str, tuple[tuple[int, ...], Any]] = {
    "frame": ((), np.int32),
    "box": ((4,), np.float32),
    "joints_3d": ((NUM_JOINTS, 3), np.float32),
    "joints_2d": ((NUM_JOINTS, 2), np.float32),
    "confidence": ((NUM_JOINTS,), np.float32),
    "detected": ((NUM_JOINTS, 3), np.float32),
}


@dataclass(frozen=True)
class Take:
    """One person in one recording by one camera.

    Attributes:
        name: unique, such as "S9/Walking 1/54138969".
        subject, action: text.
        person: who is seen; takes of one person share it.
        camera: its name.
        split: "train", "val" or "test".
        image: path below the root: a video, or a pattern such as "img_{:06d}.jpg" that takes the frame number; ""
            where there are no images.
        mask: the same for given person masks; "" where there are none.
        mask_shift: added to the frame number to find the mask (videos count from 0, some frame files from 1).
        fps: frames per second of the recording.
        width, height: of the images, px.
        static_camera: the camera stands still, so that a background model fits.
        K: 3x3 pinhole, rows joined, px.
        distortion: k1, k2, k3, p1, p2 (`geometry.camera.distort`, lens "h36m"), or ().
        source: where the 3D joints come from ("annot3", "jointPositions" ...).

    Raises:
        InputError: a camera or path that would lead out of the data's folder.
    """

    name: str
    subject: str
    action: str
    person: str
    camera: str
    split: str
    image: str
    fps: float
    width: int
    height: int
    static_camera: bool
    K: tuple[float, ...]
    mask: str = ""
    mask_shift: int = 0
    distortion: tuple[float, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        clean_component(self.camera, f"take {self.name!r}: camera")
        for path in (self.image, self.mask):
            clean_relative(path, f"take {self.name!r}")

    def intrinsics(self) -> np.ndarray:
        """(3, 3) float64."""
        return np.array(self.K, dtype=np.float64).reshape(3, 3)


@dataclass(frozen=True)
class Rows:
    """Frames of one take.

    Attributes:
        take: see `Take`.
        frame: (N,) number of the frame within the recording, as the image's pattern or the video counts it.
        joints_3d: (N, 17, 3) metres, camera frame; NaN where a joint is absent.
        joints_2d: (N, 17, 2) px.
        confidence: (N, 17) of joints_2d, 0 = missing.
        box: (N, 4) x, y, width, height of the person, px.
        detected: (N, 17, 3) detected x, y, confidence, where the dataset has detections.
        skipped: reason -> frames left out.
    """

    take: Take
    frame: np.ndarray
    joints_3d: np.ndarray
    joints_2d: np.ndarray
    confidence: np.ndarray
    box: np.ndarray
    detected: np.ndarray | None = None
    skipped: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class FrameIndex:
    """All rows of a dataset.

    Attributes:
        dataset: its name, kept in every sample's meta.
        root: folder that images are relative to.
        takes: see `Take`.
        take: (N,) index into `takes` of each row.
        frame, joints_3d, joints_2d, confidence, box: as in `Rows`.
        detected: (N, 17, 3) or None.
        left_out: split -> reason -> entries that could not be used; split "" where a whole file is unreadable.
        notes: facts printed beside numbers (joint source, boxes).
    """

    dataset: str
    root: Path
    takes: tuple[Take, ...]
    take: np.ndarray
    frame: np.ndarray
    joints_3d: np.ndarray
    joints_2d: np.ndarray
    confidence: np.ndarray
    box: np.ndarray
    detected: np.ndarray | None
    left_out: dict[str, dict[str, int]]
    notes: dict[str, str]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def skipped(self) -> dict[str, int]:
        """Reason -> entries that could not be used, over all splits."""
        total: dict[str, int] = {}
        for reasons in self.left_out.values():
            for reason, count in reasons.items():
                total[reason] = total.get(reason, 0) + count
        return total

    def select(self, rows: np.ndarray) -> FrameIndex:
        """The rows marked (N,) bool, or numbered; takes without rows are dropped."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        used, take = np.unique(self.take[rows], return_inverse=True)
        changes = {name: getattr(self, name)[rows] for name in _ROW_SHAPES if getattr(self, name) is not None}
        return replace(self, takes=tuple(self.takes[t] for t in used), take=take.astype(np.int32), **changes)

    def of_takes(self, name: str) -> np.ndarray:
        """(N,) the take's field of each row."""
        return np.array([getattr(t, name) for t in self.takes])[self.take]

    def K(self) -> np.ndarray:
        """(N, 3, 3) float32 of each row's full image."""
        return np.array([t.K for t in self.takes], dtype=np.float32).reshape(-1, 3, 3)[self.take]

    def counts(self, *names: str) -> dict[tuple[str, ...], int]:
        """Rows by take fields, such as `counts("subject", "action")`, sorted."""
        found: dict[tuple[str, ...], int] = {}
        for take, count in zip(self.takes, np.bincount(self.take, minlength=len(self.takes)), strict=True):
            key = tuple(str(getattr(take, name)) for name in names)
            found[key] = found.get(key, 0) + int(count)
        return dict(sorted(found.items()))


def concatenate_indices(dataset: str, root: str | Path, parts: Iterable[Rows], notes: dict[str, str]) -> FrameIndex:
    """Rows of many takes as one index; takes without rows are dropped, their skipped entries counted.

    Raises:
        InputError: not a single row.
    """
    every = list(parts)
    left_out: dict[str, dict[str, int]] = {}
    for part in every:
        for reason, count in (part.skipped or {}).items():
            reasons = left_out.setdefault(part.take.split, {})
            reasons[reason] = reasons.get(reason, 0) + count
    kept = [part for part in every if len(part)]
    if not kept:
        found = [f"{count} {reason}" for reasons in left_out.values() for reason, count in reasons.items()]
        raise InputError(f"{root}: no usable frame of {dataset} ({'; '.join(found) or 'nothing was found'})")
    detected = [p.detected for p in kept if p.detected is not None]
    return FrameIndex(
        dataset=dataset,
        root=Path(root),
        takes=tuple(p.take for p in kept),
        take=np.repeat(np.arange(len(kept), dtype=np.int32), [len(p) for p in kept]),
        frame=np.concatenate([p.frame for p in kept]).astype(np.int32),
        joints_3d=np.concatenate([p.joints_3d for p in kept]).astype(np.float32),
        joints_2d=np.concatenate([p.joints_2d for p in kept]).astype(np.float32),
        confidence=np.concatenate([p.confidence for p in kept]).astype(np.float32),
        box=np.concatenate([p.box for p in kept]).astype(np.float32),
        detected=np.concatenate(detected).astype(np.float32) if len(detected) == len(kept) else None,
        left_out=left_out,
        notes=dict(notes),
    )


def save_index(path: str | Path, index: FrameIndex, settings: dict[str, Any] | None = None) -> None:
    """Write an index as npz, whole or not at all; `settings` tell what it was built with."""
    header = {
        "format": FORMAT,
        "dataset": index.dataset,
        "root": str(index.root.absolute()),
        "takes": [asdict(t) for t in index.takes],
        "left_out": index.left_out,
        "notes": index.notes,
        "settings": settings or {},
    }
    arrays = {name: getattr(index, name) for name in _ROW_SHAPES if getattr(index, name) is not None}
    with atomic_path(path) as temporary:
        np.savez(temporary, header=np.array(json.dumps(header)), take=index.take, **arrays)


def load_index(path: str | Path, root: str | Path | None = None) -> FrameIndex:
    """Read an index.

    Args:
        root: folder of the images; None = where they were when the index was built.

    Raises:
        InputError: absent, damaged, of another version, or with arrays that do not belong together.
    """
    path = Path(path)
    arrays = load_npz(path)
    try:
        header = parse_json(str(arrays.pop("header").item()))
        if header["format"] != FORMAT:
            raise InputError(
                f"{path}: index of format {header['format']}, this version reads {FORMAT}; prepare it again"
            )
        known = _Header.model_validate(header)
        _check_arrays(arrays, len(known.takes))
        return FrameIndex(
            dataset=known.dataset,
            root=Path(root if root is not None else known.root),
            takes=tuple(known.takes),
            detected=arrays.pop("detected", None),
            left_out=known.left_out,
            notes=known.notes,
            **{name: arrays[name] for name in ("take", *_ROW_SHAPES) if name != "detected"},
        )
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: not an index of frames ({first_fault(error)}); prepare it again (selfsup3d prepare-data)"
        ) from error


def index_settings(path: str | Path) -> dict[str, Any] | None:
    """What an index was built with; None where there is no readable index of this version."""
    try:
        header = parse_json(str(load_npz(path, keys=("header",))["header"].item()))
        return dict(header["settings"]) if header["format"] == FORMAT else None
    except (InputError, KeyError, TypeError, ValueError, AttributeError):
        return None


class _Header(BaseModel):
    """What stands beside the arrays."""

    model_config = ConfigDict(allow_inf_nan=False)

    dataset: str = Field(max_length=200)
    root: str
    takes: list[Take] = Field(max_length=1_000_000)
    left_out: dict[str, dict[str, int]]
    notes: dict[str, str]

    @field_validator("takes")
    @classmethod
    def _possible(cls, takes: list[Take]) -> list[Take]:
        for take in takes:
            sizes = 1 <= take.width <= _WIDEST and 1 <= take.height <= _WIDEST
            if not sizes or len(take.K) != 9 or len(take.distortion) > 14 or not 0 <= take.fps < 1e6:
                raise ValueError(f"take {take.name!r}: impossible image size, K, distortion or fps")
        return takes


def _check_arrays(arrays: dict[str, np.ndarray], takes: int) -> None:
    count = len(np.atleast_1d(arrays["take"]))
    if arrays["take"].shape != (count,) or arrays["take"].dtype.kind not in "iu":
        raise ValueError(f"take is {arrays['take'].dtype} {arrays['take'].shape}, expected whole numbers (N,)")
    for name, (shape, dtype) in _ROW_SHAPES.items():
        if name == "detected" and name not in arrays:
            continue
        if arrays[name].shape != (count, *shape) or arrays[name].dtype != dtype:
            raise ValueError(f"{name} is {arrays[name].dtype} {arrays[name].shape}, expected {dtype} {(count, *shape)}")
    if count and (arrays["take"].min() < 0 or arrays["take"].max() >= takes):
        raise ValueError("rows refer to takes that are not there")


def select_split(index: FrameIndex, split: str) -> FrameIndex:
    """Rows of one split ("all" keeps everything).

    Raises:
        InputError: the index has no such row; the message lists its splits.
    """
    if split == "all":
        return index
    keep = index.of_takes("split") == split
    if not keep.any():
        have = ", ".join(sorted({t.split for t in index.takes}))
        raise InputError(f"{index.root}: {index.dataset} has no frame of split {split!r} (it has: {have})")
    mine = {name: reasons for name, reasons in index.left_out.items() if name in (split, "")}
    return replace(index.select(keep), left_out=mine)


def thin_out(index: FrameIndex, every: int) -> FrameIndex:
    """Frames whose number is a multiple of `every` (Human3.6M's "64-frame subsampling": 64); 1 keeps all."""
    if every <= 1:
        return index
    first = np.array([index.frame[index.take == t].min() for t in range(len(index.takes))])
    return index.select((index.frame - first[index.take]) % every == 0)


def with_images(index: FrameIndex) -> FrameIndex:
    """Rows whose take has images; the others are counted as left out.

    Raises:
        InputError: no take has any; the message names the first.
    """
    shown = np.array([bool(t.image) for t in index.takes])
    keep = shown[index.take]
    if keep.all():
        return index
    if not keep.any():
        raise InputError(
            f"{index.root}: {index.dataset} has no images of {index.takes[0].name} and {len(index.takes) - 1} more "
            "recordings; only lifters can use its joints"
        )
    left_out = {split: dict(reasons) for split, reasons in index.left_out.items()}
    for split, count in index.select(~keep).counts("split").items():
        left_out.setdefault(split[0], {})["frames without images"] = count
    return replace(index.select(keep), left_out=left_out)


def boxes_of_joints(joints_2d: np.ndarray, seen: Sequence[Any] | np.ndarray, margin: float = 0.1) -> np.ndarray:
    """(N, 4) x, y, width, height around the seen joints (N, J, 2), widened by `margin` of the longer side all round.

    The margin stands for what joints do not reach: hands, feet, the top of the head [ours]. Rows without a seen joint
    get NaN.
    """
    seen = np.array(seen, dtype=bool, ndmin=1)
    low = np.where(seen[..., None], joints_2d, np.inf).min(-2)
    high = np.where(seen[..., None], joints_2d, -np.inf).max(-2)
    size = high - low
    border = margin * size.max(-1, keepdims=True)
    boxes = np.concatenate([low - border, size + 2 * border], -1)
    return np.where(seen.any(-1, keepdims=True), boxes, np.nan)
