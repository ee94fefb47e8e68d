"""2D accuracy on real videos against a 2D reference: PCK in torso lengths, and left and right apart.

A reference (npz) holds for each clip `NAME/pixels` (N, 17, 2) px of the clip's frames, pixel centres at +0.5, and
`NAME/visibility` (N, 17) in [0, 1]. It validates; no label-free variant ever trains on it.

Rules **[ours]**, the same for every row of a table:
- a joint counts where the reference is finite, inside the frame and visible (at least `VISIBLE`); a frame counts where
  its torso (pelvis to neck) is known and any joint counts. Everything left out is counted.
- errors are in torso lengths of the frame's reference, a foreshortened torso being at least half the clip's median.
- a pair of limbs (legs, arms) is decidable where the reference has both sides of a joint and they lie at least `APART`
  torso lengths apart on average. It is a left/right error where exchanging left and right brings it nearer to the
  reference. A frame is one where that holds for all its decidable pairs together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.io.limits import open_npz
from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS, joint_index

__all__ = [
    "APART",
    "VISIBLE",
    "Accuracy2D",
    "Reference2D",
    "halves",
    "joined",
    "load_reference",
    "measure_2d",
    "numbers_2d",
    "sides_by_reference",
]

VISIBLE, APART = 0.5, 0.2
THRESHOLDS = (0.2, 0.5)

_FLIP = np.array(H36M_17.flip_order)
_PAIRS = {
    pair: [joint_index(f"right_{name}") for name in names]
    for pair, names in {"legs": ("hip", "knee", "ankle"), "arms": ("shoulder", "elbow", "wrist")}.items()
}
_PELVIS, _NECK = joint_index("pelvis"), joint_index("neck")


@dataclass(frozen=True)
class Reference2D:
    """One clip's reference.

    Attributes:
        pixels: (N, 17, 2) px of the clip's frames. visibility: (N, 17) in [0, 1].
    """

    pixels: np.ndarray
    visibility: np.ndarray

    def counted(self, size: tuple[int, int]) -> np.ndarray:
        """(N, 17) bool: joints that count in frames of (width, height) px."""
        inside = ((self.pixels >= 0) & (self.pixels <= np.array(size))).all(-1)  # False for NaN
        return inside & (self.visibility >= VISIBLE)

    def torso(self) -> np.ndarray:
        """(N,) px, NaN where unknown; at least half the clip's median."""
        length = np.linalg.norm(self.pixels[:, _NECK] - self.pixels[:, _PELVIS], axis=-1)
        known = np.isfinite(length)
        return np.maximum(length, 0.5 * np.median(length[known])) if known.any() else length


def load_reference(path: str | Path) -> dict[str, Reference2D]:
    """Clip name -> reference.

    Raises:
        InputError: missing, damaged, or arrays of other shapes.
    """
    path = Path(path)
    expected = "expected NAME/pixels (N, 17, 2) and NAME/visibility (N, 17) for each clip"
    try:
        with open_npz(path) as data:
            arrays = {name: np.asarray(data[name], np.float64) for name in data.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {expected} in an npz") from None
    except Exception as error:  # whatever numpy raises for a damaged file
        raise InputError(f"{path}: cannot be read as an npz of numbers ({error}); {expected}") from error
    names = sorted({name.rpartition("/")[0] for name in arrays})
    found = {}
    for name in names:
        pixels, visibility = arrays.get(f"{name}/pixels"), arrays.get(f"{name}/visibility")
        if pixels is None or visibility is None or not name:
            raise InputError(f"{path}: clip {name!r} has not both pixels and visibility; {expected}")
        if pixels.ndim != 3 or pixels.shape[1:] != (NUM_JOINTS, 2) or visibility.shape != pixels.shape[:2]:
            raise InputError(f"{path}: {name}: pixels {pixels.shape}, visibility {visibility.shape}; {expected}")
        found[name] = Reference2D(pixels, visibility)
    if not found:
        raise InputError(f"{path}: holds no clips; {expected}")
    return found


@dataclass(frozen=True)
class Accuracy2D:
    """What one row of a table is made of, frame by frame.

    Attributes:
        error: (N, 17) torso lengths, NaN where a joint does not count.
        gain: (N, 2) of legs and arms: by how much exchanging left and right brings them nearer, mean over their joints,
            torso lengths; NaN where the pair is not decidable.
        frame_gain: (N,) the same over all decidable pairs.
    """

    error: np.ndarray
    gain: np.ndarray
    frame_gain: np.ndarray


def measure_2d(pixels: np.ndarray, reference: Reference2D, size: tuple[int, int]) -> Accuracy2D:
    """Errors of predicted joints (N, 17, 2) px; a predicted joint that is NaN counts as infinitely far off.

    Args:
        size: width and height of the frames, px.
    """
    counted, torso = reference.counted(size), reference.torso()
    counted &= np.isfinite(torso)[:, None]
    scale = np.where(np.isfinite(torso), torso, 1.0)[:, None]
    distance = np.linalg.norm(pixels - reference.pixels, axis=-1) / scale
    exchanged = np.linalg.norm(pixels[:, _FLIP] - reference.pixels, axis=-1) / scale
    missing = ~np.isfinite(pixels).all(-1)
    error = np.where(counted, np.where(missing, np.inf, distance), np.nan)
    both = counted & counted[:, _FLIP] & ~missing & ~missing[:, _FLIP]
    apart = np.linalg.norm(reference.pixels - reference.pixels[:, _FLIP], axis=-1) / scale
    gain = np.full((len(pixels), len(_PAIRS)), np.nan)
    total, joints = np.zeros(len(pixels)), np.zeros(len(pixels))
    for column, right in enumerate(_PAIRS.values()):
        limb = np.array([*right, *_FLIP[right]])
        known = both[:, limb]
        count = known.sum(1)
        mean_apart = np.where(known, apart[:, limb], 0.0).sum(1) / np.maximum(count, 1)
        decidable = (count > 0) & (mean_apart >= APART)
        nearer = np.where(known, distance[:, limb] - exchanged[:, limb], 0.0).sum(1)
        gain[:, column] = np.where(decidable, nearer / np.maximum(count, 1), np.nan)
        total += np.where(decidable, nearer, 0.0)
        joints += np.where(decidable, count, 0)
    return Accuracy2D(error, gain, np.where(joints > 0, total / np.maximum(joints, 1), np.nan))


def sides_by_reference(
    pixels: np.ndarray, reference: Reference2D, size: tuple[int, int], each: Literal["clip", "frame"]
) -> np.ndarray:
    """Predicted joints (N, 17, 2) px with left and right of legs and of arms exchanged where the reference asks for it: what a
    perfect choice among the four orders would leave.

    Args:
        size: width and height of the frames, px. each: one choice for all frames, or one for each.
    """
    counted, found = reference.counted(size), pixels.copy()
    for right in _PAIRS.values():
        limb = np.array([*right, *_FLIP[right]])
        exchanged, wanted = pixels[:, _FLIP[limb]], reference.pixels[:, limb]
        nearer = np.linalg.norm(pixels[:, limb] - wanted, axis=-1) - np.linalg.norm(exchanged - wanted, axis=-1)
        gain = np.where(counted[:, limb] & np.isfinite(nearer), nearer, 0.0).sum(1)
        wrong = np.broadcast_to(gain.sum() > 0, gain.shape) if each == "clip" else gain > 0
        found[:, limb] = np.where(wrong[:, None, None], exchanged, pixels[:, limb])
    return found


def halves(accuracy: Accuracy2D, confidence: np.ndarray) -> tuple[Accuracy2D, Accuracy2D]:
    """The half of the counted joints with the higher confidence (N, 17), and the other; left and right are not asked."""
    counted = ~np.isnan(accuracy.error)
    surer = confidence >= np.nanmedian(confidence[counted])  # nobody found: not sure
    unasked = np.full_like(accuracy.gain, np.nan), np.full_like(accuracy.frame_gain, np.nan)
    return (
        Accuracy2D(np.where(surer, accuracy.error, np.nan), *unasked),
        Accuracy2D(np.where(surer, np.nan, accuracy.error), *unasked),
    )


def joined(parts: list[Accuracy2D]) -> Accuracy2D:
    """Several clips as one, every frame alike."""
    return Accuracy2D(*(np.concatenate([getattr(part, name) for part in parts]) for name in Accuracy2D.__annotations__))


def numbers_2d(accuracy: Accuracy2D) -> dict[str, Any]:
    """One row: shares of counted joints, mean error in torso lengths, left/right errors as shares of what is decidable.

    A joint that was not predicted is wrong at every threshold; the mean error leaves it out (`missing` counts them).
    """
    error = accuracy.error[np.isfinite(accuracy.error) | np.isinf(accuracy.error)]
    finite = error[np.isfinite(error)]
    row: dict[str, Any] = {f"pck_{limit:g}": _mean(error <= limit) for limit in THRESHOLDS}
    row |= {"error": _mean(finite), "missing": int(len(error) - len(finite))}
    sides: Mapping[str, np.ndarray] = {
        "frames": accuracy.frame_gain,
        **{pair: accuracy.gain[:, column] for column, pair in enumerate(_PAIRS)},
    }
    for name, gain in sides.items():
        decidable = gain[np.isfinite(gain)]
        row[f"left_right_{name}"] = _mean(decidable > 0)
        row[f"decidable_{name}"] = len(decidable)
    return row


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
