"""A system on real videos against a 2D reference: read as `predict` reads them, measured by `evaluation.reference_2d`.

    result, frames = measure_clips(predictor, "clips", load_reference("reference_2d.npz"), ClipReading())

The main figure is of the whole-body clips: those whose reference shows a knee and an ankle in at least half of the
frames. The reference validates, and is never trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from selfsup3d.config.choices import ClipCrop
from selfsup3d.config.load import nearest
from selfsup3d.data.saliency.saliency import video_saliency
from selfsup3d.errors import InputError
from selfsup3d.evaluation.reference_2d import (
    APART,
    VISIBLE,
    Accuracy2D,
    Reference2D,
    halves,
    joined,
    measure_2d,
    numbers_2d,
    sides_by_reference,
)
from selfsup3d.inference.predictor import PosedFrame, Predictor, images_of
from selfsup3d.inference.windows import WindowOptions, Windows, cut, find_windows, whole_frame
from selfsup3d.io.crops import squares_of_boxes
from selfsup3d.preparation.videos import ClipSource, find_clips
from selfsup3d.structures.skeleton import NUM_JOINTS, joint_index

__all__ = ["CLIP_METRICS", "ClipReading", "facing_pose", "measure_clips"]

CLIP_METRICS = ("pck_0.2", "error", "left_right", "keypoints_pck_0.2", "keypoints_error", "keypoints_left_right")
"""Per-frame values that paired comparisons look at; those of the projected joints have no prefix."""

_SALIENCY_SIDE = 128  # px at which silhouettes are found
_BEYOND_JOINTS = 1.1  # a silhouette's longer side over its joints' [ours]
_LOWER = [[joint_index(f"{side}_{name}") for side in ("right", "left")] for name in ("knee", "ankle")]


@dataclass(frozen=True)
class ClipReading:
    """How clips are read; printed beside every number.

    Attributes:
        crop: what of each frame the system sees: "whole" = all of it; "motion" = the square around whoever moves;
            "reference" = the square around the reference's visible joints (then the crop is no longer label-free).
        crop_factor: of "reference": the square's side over the longer side of the joints' box.
    """

    crop: ClipCrop = "whole"
    crop_factor: float = 1.5

    def description(self, predictor: Predictor) -> dict[str, Any]:
        """What was used, the predictor's own options with it, for the result."""
        factor = self.crop_factor if self.crop == "reference" else None
        path = "path" if predictor.over_time else "single frames"
        return {
            "crop": self.crop, "crop_factor": factor, "second_crop": predictor.second_crop or None,
            "averaging": predictor.averaging, "left_right": path, "size": predictor.size,
        }  # fmt: skip


def measure_clips(
    predictor: Predictor,
    root: str | Path,
    references: Mapping[str, Reference2D],
    reading: ClipReading,
    *,
    clips: Collection[str] = (),
    guess: np.ndarray | None = None,
    progress: bool = True,
    seen: Callable[[str, list[PosedFrame]], None] | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Accuracy of keypoints and projected joints for each clip and group, with trivial baselines.

    Args:
        predictor: reads the frames; its options are part of the reading.
        root: videos or folders of frames, see `preparation.videos.find_clips`.
        references: by clip name.
        reading: see `ClipReading`.
        clips: names to keep; empty = all that have a reference.
        guess: (17, 2) the pose that knows nothing, see `facing_pose`; None = no baselines.
        progress: bar on stderr.
        seen: is given each clip's name and its frames as they were read.

    Returns:
        The result as JSON can hold it; and per-frame values for paired comparisons: "index", "person" (the clip) and
        "pck_0.2", "error" of the projected joints and, prefixed "keypoints_", of the keypoints.

    Raises:
        InputError: no clip with a reference, an unknown name in `clips`, or other frame counts than the reference's.
    """
    sources = {source.name.removesuffix("/frames"): source for source in find_clips(root)}
    chosen = _chosen(sources, references, clips, Path(root))
    rows: dict[str, dict[str, Accuracy2D]] = {}
    facts: dict[str, dict[str, Any]] = {}
    confidence: dict[str, np.ndarray] = {}
    for name in tqdm(chosen, desc="clips", unit="clip", disable=not progress):
        posed, rows[name], facts[name] = _measure_clip(predictor, sources[name], name, references[name], reading, guess)
        confidence[name] = _values(posed, "confidence")
        if seen is not None:
            seen(name, posed)
    whole = [name for name in chosen if facts[name]["whole_body"]]
    groups = {"whole body": whole, "upper body": [n for n in chosen if n not in whole], "all": chosen}
    systems = list(rows[chosen[0]])

    def together(names: list[str]) -> dict[str, Any]:
        found = {s: joined([rows[name][s] for name in names]) for s in systems}
        sure = np.concatenate([confidence[name] for name in names])
        if np.isfinite(sure).any():  # else the model was not calibrated
            found["joints_surer_half"], found["joints_other_half"] = halves(found["joints"], sure)
        return {s: numbers_2d(accuracy) for s, accuracy in found.items()}

    result = {
        "clips": {name: {**facts[name], "rows": {s: numbers_2d(rows[name][s]) for s in systems}} for name in chosen},
        "groups": {title: {"clips": len(names), "rows": together(names)} for title, names in groups.items() if names},
        "reading": reading.description(predictor),
        "rules": {"visible": VISIBLE, "apart": APART, "unit": "torso lengths", "reference": "2D, validation only"},
        "frames": sum(fact["counted_frames"] for fact in facts.values()),
        "skipped": {
            "frames_without_reference": sum(fact["frames"] - fact["counted_frames"] for fact in facts.values()),
            "frames_without_person": sum(fact["frames_without_person"] for fact in facts.values()),
            "clips_without_reference": sorted(set(sources) - set(references)) if not clips else [],
            "references_without_clip": sorted(set(references) - set(sources)) if not clips else [],
        },
    }
    return result, _frames(chosen, rows)


def _chosen(
    sources: Mapping[str, ClipSource], references: Mapping[str, Reference2D], clips: Collection[str], root: Path
) -> list[str]:
    both = [name for name in sources if name in references]
    for name in clips:
        if name not in both:
            where = f"{root} has it, the reference does not" if name in sources else f"not in {root}"
            raise InputError(f"--clips {name}: {where}{nearest(name, both)}")
    if not both:
        raise InputError(f"{root}: none of its {len(sources)} clips has a reference (it names {', '.join(references)})")
    return [name for name in both if not clips or name in clips]


def _measure_clip(
    predictor: Predictor,
    source: ClipSource,
    name: str,
    reference: Reference2D,
    reading: ClipReading,
    guess: np.ndarray | None,
) -> tuple[list[PosedFrame], dict[str, Accuracy2D], dict[str, Any]]:
    images = list(images_of(source.path))
    if len(images) != len(reference.pixels):
        raise InputError(f"{source.path}: {len(images)} frames, the reference of {name!r} has {len(reference.pixels)}")
    height, width = images[0][1].shape[:2]
    size = (width, height)
    windows, note = _windows(source.path, images, reference, reading)
    posed = list(predictor.stream(iter(images), windows))
    found = {"keypoints": _values(posed, "keypoints", 2), "joints": _values(posed, "joints_2d", 2)}
    for system in tuple(found):
        for each in ("clip", "frame"):
            found[f"{system}_sides_by_{each}"] = sides_by_reference(found[system], reference, size, each)
    if guess is not None:
        found["mean_pose_in_saliency_box"] = _placed(guess, _saliency_boxes([image for _, image in images]))
        found["mean_pose_in_reference_box"] = _placed(guess, _reference_boxes(reference, size))
    counted = reference.counted(size)
    lower = [counted[:, joints].any(1) for joints in _LOWER]
    facts: dict[str, Any] = {
        "frames": len(images),
        "counted_frames": int((counted.any(1) & np.isfinite(reference.torso())).sum()),
        "counted_joints": int(counted.sum()),
        "frames_without_person": sum(frame.window is None for frame in posed),
        "whole_body": bool((lower[0] & lower[1]).mean() >= 0.5),
    }
    if note:
        facts["note"] = note
    return posed, {system: measure_2d(pixels, reference, size) for system, pixels in found.items()}, facts


def _windows(
    path: Path,
    images: list[tuple[int, np.ndarray]],
    reference: Reference2D,
    reading: ClipReading,
) -> tuple[Windows, str]:
    """The squares that the system sees, and what went otherwise than asked for."""
    if reading.crop == "motion":
        try:
            return find_windows(path, WindowOptions("motion")), ""
        except InputError:
            return _whole, "nobody moves: the whole frames are read"
    if reading.crop == "reference":
        height, width = images[0][1].shape[:2]
        return _around(_reference_boxes(reference, (width, height)), reading.crop_factor), ""
    return _whole, ""


def _whole(_: int, image: np.ndarray) -> np.ndarray:
    return whole_frame(image)


def _around(boxes: np.ndarray, factor: float) -> Windows:
    """Squares about boxes (N, 4) x, y, width, height; the whole frame where a box is unknown."""
    squares = squares_of_boxes(boxes, factor)

    def window(number: int, image: np.ndarray) -> np.ndarray:
        square = squares[number]
        if not np.isfinite(square).all() or square[2] < 2:
            return whole_frame(image)
        return np.rint(square).astype(int)

    return window


def _boxes(points: np.ndarray) -> np.ndarray:
    """(N, 4) x, y, width, height of points (N, J, 2); NaN where none is known."""
    known = np.isfinite(points).all(-1, keepdims=True)
    low = np.where(known, points, np.inf).min(1)
    high = np.where(known, points, -np.inf).max(1)
    return np.where(np.isfinite(low).all(-1, keepdims=True), np.concatenate([low, high - low], -1), np.nan)


def _reference_boxes(reference: Reference2D, size: tuple[int, int]) -> np.ndarray:
    return _boxes(np.where(reference.counted(size)[..., None], reference.pixels, np.nan))


def _values(frames: list[PosedFrame], name: str, *shape: int) -> np.ndarray:
    """(N, 17, ...) of a field, NaN where nobody was found."""
    missing = np.full((NUM_JOINTS, *shape), np.nan)
    return np.stack([missing if getattr(f, name) is None else getattr(f, name) for f in frames]).astype(np.float64)


# ----------------------------------------------------------------------------------------------------------- baselines


def facing_pose(canonical: np.ndarray) -> np.ndarray:
    """(17, 2) a body-frame pose (17, 3) as a camera that it faces sees it from afar, metres, y down."""
    return np.stack([canonical[:, 1], -canonical[:, 2]], -1)


def _placed(pose: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N, 17, 2) the pose in boxes (N, 4): their middle, their longer side. NaN where a box is unknown."""
    low, high = pose.min(0), pose.max(0)
    scale = boxes[:, 2:].max(1) / (high - low).max()
    middle = boxes[:, :2] + 0.5 * boxes[:, 2:]
    return middle[:, None] + (pose - 0.5 * (low + high)) * scale[:, None, None]


def _saliency_boxes(images: list[np.ndarray]) -> np.ndarray:
    """(N, 4) the box of each frame's label-free silhouette, shrunk to joints; of the whole frame where it is empty."""
    squares = [whole_frame(image) for image in images]
    frames = np.stack([cut(i, s, _SALIENCY_SIDE) for i, s in zip(images, squares, strict=True)])
    boxes = []
    for mask, (x, y, side) in zip(video_saliency(frames).saliency > 127, squares, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            boxes.append(np.array([x, y, side, side], float))
            continue
        corner, end = np.array([columns[0], rows[0]]), np.array([columns[-1] + 1, rows[-1] + 1])
        extent = (end - corner) / _BEYOND_JOINTS
        boxes.append(np.concatenate([0.5 * (corner + end - extent), extent]) * side / _SALIENCY_SIDE + [x, y, 0, 0])
    return np.stack(boxes)


def _frames(names: list[str], rows: Mapping[str, Mapping[str, Accuracy2D]]) -> dict[str, np.ndarray]:
    values: dict[str, list[np.ndarray]] = {}
    for name in names:
        count = len(rows[name]["joints"].error)
        values.setdefault("person", []).append(np.full(count, name))
        for prefix, system in (("", "joints"), ("keypoints_", "keypoints")):
            error = rows[name][system].error
            known = ~np.isnan(error)
            with_any = known.any(1)
            near = np.where(known, error <= 0.2, 0).sum(1) / np.maximum(known.sum(1), 1)
            mean = np.where(known, error, 0).sum(1) / np.maximum(known.sum(1), 1)
            values.setdefault(f"{prefix}pck_0.2", []).append(np.where(with_any, near, np.nan))
            values.setdefault(f"{prefix}error", []).append(np.where(with_any, mean, np.nan))
            gain = rows[name][system].frame_gain
            values.setdefault(f"{prefix}left_right", []).append(np.where(np.isfinite(gain), gain > 0, np.nan))
    found = {name: np.concatenate(parts) for name, parts in values.items()}
    return {"index": np.arange(len(found["person"])), **found}
