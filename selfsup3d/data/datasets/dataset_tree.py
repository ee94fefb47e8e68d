"""What a dataset's folder offers: parts that can be read one by one, what is missing, where people get it.

Each dataset module finds its tree; building the index (`index_build`) then reads the parts in parallel and resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selfsup3d.data.datasets.frame_index import Rows, Take, boxes_of_joints
from selfsup3d.errors import InputError
from selfsup3d.structures.skeleton import joint_index

__all__ = ["Missing", "Part", "Source", "Tree", "first_existing", "labelled_size", "make_rows", "need_package"]


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from.

    Attributes:
        title: its name in print.
        url: where people get it.
        licence: in a line.
        cite: the paper.
    """

    title: str
    url: str
    licence: str
    cite: str


@dataclass(frozen=True)
class Missing:
    """Something that a complete tree has.

    Attributes:
        path: relative to the root.
        what: it is.
        needed: the dataset cannot be used without it (else only that part is left out).
    """

    path: str
    what: str
    needed: bool = False


@dataclass(frozen=True)
class Part:
    """One file's worth of work.

    Attributes:
        name: unique and a valid file name once "/" is replaced.
        read: gives the rows; a `functools.partial` of a module-level function, so that it reaches other processes.
        file: that errors name.
    """

    name: str
    read: Callable[[], list[Rows]]
    file: Path


@dataclass(frozen=True)
class Tree:
    """A dataset's folder as found.

    Attributes:
        dataset: name in configs: "h36m", "mpi_inf_3dhp", "3dpw".
        root: the folder.
        layout: which of the known layouts it has.
        parts: to be read.
        missing: what a complete tree would have besides.
        source: where people get it.
        notes: printed beside numbers.
    """

    dataset: str
    root: Path
    layout: str
    parts: Sequence[Part]
    missing: Sequence[Missing]
    source: Source
    notes: dict[str, str] = field(default_factory=dict)

    def require(self) -> None:
        """InputError when nothing can be read; it names what is missing and where to get it."""
        needed = [m for m in self.missing if m.needed]
        if self.parts and not needed:
            return
        listed = needed or list(self.missing)
        shown = "; ".join(f"{m.path} ({m.what})" for m in listed[:8])
        more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
        raise InputError(
            f"{self.root}: not a usable {self.source.title} folder: missing {shown}{more}. "
            f"Get it from {self.source.url} ({self.source.licence})"
        )


def make_rows(
    take: Take,
    frame: np.ndarray,
    joints_3d: np.ndarray,
    joints_2d: np.ndarray,
    confidence: np.ndarray,
    *,
    detected: np.ndarray | None = None,
    box: np.ndarray | None = None,
    skipped: dict[str, int] | None = None,
    required: Sequence[int] = tuple(range(17)),
) -> Rows:
    """Rows of a take with unusable frames left out and counted: NaN, behind the camera, or no box.

    Args:
        joints_3d: (N, 17, 3) metres, camera frame.
        joints_2d, confidence: (N, 17, 2) px, (N, 17).
        box: (N, 4); None = around the joints.
        skipped: counts so far.
        required: joints that must be finite in 3D; others may be absent (NaN).

    Raises:
        InputError: joints in another unit than metres (by the median distance of pelvis and neck).
    """
    counts = dict(skipped or {})
    joints_3d = np.asarray(joints_3d, dtype=np.float32)
    joints_2d = np.asarray(joints_2d, dtype=np.float32)
    confidence = np.where(np.isfinite(joints_2d).all(-1), confidence, 0.0).astype(np.float32)
    needed = joints_3d[:, list(required)]
    finite = np.isfinite(needed).all((1, 2))
    _refuse_other_units(take.name, joints_3d[finite])
    near = (np.abs(np.nan_to_num(needed)) < 1000).all((1, 2))
    ahead = np.nan_to_num(needed[..., 2], nan=-1.0).min(1) > 0.05
    box = boxes_of_joints(joints_2d, confidence > 0) if box is None else np.asarray(box, dtype=np.float32)
    boxed = np.isfinite(box).all(-1) & (np.nan_to_num(box[:, 2:]) > 2).all(-1)
    for reason, bad in (
        ("frames with joints that are not finite", ~(finite & near)),
        ("frames with the person behind the camera", finite & near & ~ahead),
        ("frames without a person's box", finite & near & ahead & ~boxed),
    ):
        if bad.any():
            counts[reason] = counts.get(reason, 0) + int(bad.sum())
    keep = finite & near & ahead & boxed
    clean_2d = np.where(confidence[..., None] > 0, np.nan_to_num(joints_2d), 0.0)
    return Rows(
        take=take,
        frame=np.asarray(frame)[keep],
        joints_3d=joints_3d[keep],
        joints_2d=clean_2d[keep],
        confidence=confidence[keep],
        box=box[keep],
        detected=None if detected is None else np.asarray(detected, dtype=np.float32)[keep],
        skipped=counts,
    )


_TORSO = (0.05, 5.0)  # between pelvis and neck: no person, but metres; millimetres, centimetres, inches lie outside


def _refuse_other_units(name: str, joints: np.ndarray) -> None:
    """Files with metres where the original has millimetres, or the other way round, look alike but for this."""
    length = np.linalg.norm(joints[:, joint_index("neck")] - joints[:, joint_index("pelvis")], axis=-1)
    torso = float(np.median(length)) if len(length) else 0.5
    if torso == torso and not _TORSO[0] < torso < _TORSO[1]:
        raise InputError(
            f"{name}: pelvis and neck are {torso:.3g} m apart (median) if the file has the original's unit; it has another"
        )


def labelled_size(stored: tuple[int, int], K: np.ndarray, usual: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Width and height of the images that pixel labels refer to.

    People store reduced copies of a dataset's images, while its labels stay; the principal point tells.

    Args:
        stored: width and height of an image as it is there. K: (3, 3) px of the labels.
        usual: sizes in which the dataset comes.

    Returns:
        The usual size whose middle the principal point is nearest to, where `stored` has its sides' ratio and the
        middle is within 10 % of it; else `stored`.
    """
    width, height = min(usual, key=lambda size: abs(size[0] - 2 * K[0, 2]) + abs(size[1] - 2 * K[1, 2]))
    near = abs(2 * K[0, 2] - width) < 0.1 * width and abs(2 * K[1, 2] - height) < 0.1 * height
    alike = abs(stored[0] * height - stored[1] * width) <= 0.01 * stored[1] * width
    return (width, height) if near and alike else stored


def first_existing(root: Path, *candidates: str) -> str:
    """The first of these relative paths that exists, "" if none does."""
    return next((c for c in candidates if (root / c).exists()), "")


def need_package(name: str, file: Path) -> InputError:
    """The error for an optional package that is not installed."""
    return InputError(f"{file}: reading it needs the package {name}: pip install -e '.[datasets]'")
