"""Motion capture as this project stores it: one npz of 17-joint poses in metres, split by subject.

The file format (no pickled objects):

    positions (N, 17, 3)   metres, world, root translation kept
    offsets (S+1,)         sequence i is positions[offsets[i] : offsets[i + 1]]
    subjects, actions, names (S,)   text
    joint_names (17,)      any order of our joints, by our names or the aliases below
    up_axis                "y" or "z";  units "m";  fps
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from selfsup3d.errors import InputError
from selfsup3d.geometry.kinematics import body_frame, canonicalize
from selfsup3d.io.limits import open_npz
from selfsup3d.structures.skeleton import FK_PARENTS, H36M_17, NUM_JOINTS, joint_index

__all__ = ["TEST_SUBJECTS", "VALIDATION_SUBJECTS", "MotionCapture", "Split", "check_poses", "load_mocap", "z_up"]

Split = Literal["train", "val", "test", "all"]

TEST_SUBJECTS = ("cmu005", "cmu009", "cmu016", "cmu035", "cmu127")
"""Subjects whose motion no training ever sees."""

VALIDATION_SUBJECTS = ("cmu002", "cmu003", "cmu007", "cmu017")
"""Subjects for choosing settings."""

_ALIASES = {"thorax": "neck", "neck_nose": "nose"}
_SIDES = {"l_": "left_", "r_": "right_"}
_TORSO_RANGE = (0.2, 1.2)  # metres between pelvis and neck that any person, child to giant, stays within


@dataclass(frozen=True)
class MotionCapture:
    """Poses of several people, frame by frame.

    Attributes:
        positions: (N, 17, 3) float32, metres, world with z up.
        sequence: (N,) index of each frame's sequence.
        names, subjects, actions: (S,) text of each sequence.
        fps: frames per second.
    """

    positions: np.ndarray
    sequence: np.ndarray
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    actions: tuple[str, ...]
    fps: float

    def __len__(self) -> int:
        return len(self.positions)

    def canonical(self) -> np.ndarray:
        """(N, 17, 3) float32 poses in the body frame (pelvis 0, +X forward, +Y left, +Z pelvis to neck), metres."""
        joints = torch.from_numpy(self.positions)
        return canonicalize(joints - joints[:, :1]).numpy()

    def subject_of_frame(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """(N,) index of each frame's subject, and the subjects' names in sorted order."""
        people = tuple(sorted(set(self.subjects)))
        of_sequence = np.array([people.index(s) for s in self.subjects], dtype=np.int64)
        return of_sequence[self.sequence], people


def load_mocap(path: str | Path, split: Split = "train", recentre: bool = True) -> MotionCapture:
    """Read a motion-capture npz and keep the subjects of one split.

    Args:
        path: npz in the format of this module's docstring.
        split: `test` and `val` are `TEST_SUBJECTS` and `VALIDATION_SUBJECTS`, `train` everyone else.
        recentre: put the pelvis on the middle of the hips, which the kinematics need; without it the file must have
            it there already.

    Raises:
        InputError: missing file or key, pickled objects, NaN, wrong joint count or names, bones of no length,
            hips in line with the spine, millimetres where metres are expected, or no sequence in the split.
    """
    if split not in get_args(Split):
        raise InputError(f"split {split!r} is unknown; expected one of {', '.join(get_args(Split))}")
    arrays = _read(Path(path))
    positions = _in_our_order(arrays, Path(path))
    positions = _z_up(positions, str(arrays["up_axis"]), Path(path))
    sequence = _sequence_of_frame(arrays, len(positions), Path(path))
    if recentre:
        positions = positions.copy()
        positions[:, 0] = 0.5 * (positions[:, joint_index("left_hip")] + positions[:, joint_index("right_hip")])
    texts = {key: tuple(str(t) for t in arrays[key]) for key in ("names", "subjects", "actions")}
    check_poses(positions, sequence, texts["names"], Path(path))

    keep = np.array([_in_split(subject, split) for subject in texts["subjects"]], dtype=bool)
    if not keep.any():
        raise InputError(
            f"{path}: no sequence belongs to split {split!r}; the file's subjects are "
            f"{', '.join(sorted(set(texts['subjects'])))}. Use split 'all', or a file with the subjects of that split"
        )
    keep &= np.isin(np.arange(len(keep)), sequence)  # without those of no poses
    if not keep.any():
        raise InputError(f"{path}: holds no poses of split {split!r}")
    renumbered = np.cumsum(keep) - 1
    frames = keep[sequence]
    return MotionCapture(
        positions=np.ascontiguousarray(positions[frames]),
        sequence=renumbered[sequence[frames]],
        fps=float(arrays["fps"]),
        **{key: tuple(t for t, k in zip(text, keep, strict=True) if k) for key, text in texts.items()},
    )


def _in_split(subject: str, split: Split) -> bool:
    if split == "all":
        return True
    held = "test" if subject in TEST_SUBJECTS else "val" if subject in VALIDATION_SUBJECTS else "train"
    return held == split


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a motion-capture npz (positions, offsets, subjects ...)")
    required = ("positions", "offsets", "subjects", "joint_names", "up_axis")
    try:
        with open_npz(path) as data:
            missing = [key for key in required if key not in data.files]
            if missing:
                raise InputError(f"{path}: lacks {', '.join(missing)}; it has {', '.join(data.files)}")
            arrays = {key: data[key] for key in data.files if key in _KNOWN}
    except InputError:
        raise
    except Exception as error:  # a zip, header or pickle error: whatever numpy raises for a damaged file
        raise InputError(f"{path}: cannot be read as an npz without pickled objects ({error})") from error
    _check_kinds(arrays, path)
    count = len(arrays["subjects"])
    arrays.setdefault("actions", np.array([""] * count))
    arrays.setdefault("names", np.array([f"sequence {i}" for i in range(count)]))
    arrays.setdefault("fps", np.array(0.0))
    for key in ("actions", "names"):
        if len(arrays[key]) != count:
            raise InputError(f"{path}: {key} has {len(arrays[key])} entries but subjects has {count}")
    if "units" in arrays and str(arrays["units"]) != "m":
        raise InputError(f"{path}: units is {str(arrays['units'])!r}; expected positions in metres and units 'm'")
    return arrays


def _check_kinds(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise where an array is no array (numpy gives the bytes of what it cannot read), or of another kind."""
    for key, value in arrays.items():
        kinds, dimensions = _KINDS.get(key, ("fiu", 3))
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or value.ndim != dimensions:
            found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "damaged"
            raise InputError(f"{path}: {key} is {found}; expected {_WORDS[kinds]} of {dimensions} dimensions")
        if kinds == "US":
            try:
                value.tolist()
            except (SystemError, ValueError):  # numpy stores numbers that are no characters without a look
                raise InputError(f"{path}: {key} holds no text; the file is damaged") from None


_KINDS = {
    "offsets": ("iu", 1), "subjects": ("US", 1), "actions": ("US", 1), "names": ("US", 1), "joint_names": ("US", 1),
    "up_axis": ("US", 0), "units": ("US", 0), "fps": ("fiu", 0),
}  # fmt: skip
_WORDS = {"iu": "whole numbers", "US": "text", "fiu": "numbers"}

_KNOWN = ("positions", "offsets", "subjects", "actions", "names", "joint_names", "up_axis", "units", "fps")


def _in_our_order(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    positions = arrays["positions"]
    if positions.ndim != 3 or positions.shape[1:] != (NUM_JOINTS, 3) or positions.dtype.kind != "f":
        raise InputError(
            f"{path}: positions is {positions.dtype} {tuple(positions.shape)}; expected floats (N, {NUM_JOINTS}, 3)"
        )
    names = [str(name) for name in arrays["joint_names"]]
    for short, long in _SIDES.items():
        names = [long + name[len(short) :] if name.startswith(short) else name for name in names]
    names = [_ALIASES.get(name, name) for name in names]
    missing = [name for name in H36M_17.joint_names if name not in names]
    if missing or len(names) != NUM_JOINTS:
        raise InputError(f"{path}: joint_names lacks {', '.join(missing) or 'nothing'} ({len(names)} names)")
    return positions[:, [names.index(name) for name in H36M_17.joint_names]].astype(np.float32)


def _z_up(positions: np.ndarray, up_axis: str, path: Path) -> np.ndarray:
    if up_axis == "z":
        return positions
    if up_axis != "y":
        raise InputError(f"{path}: up_axis is {up_axis!r}; expected 'y' or 'z'")
    return z_up(positions)


def z_up(positions: np.ndarray) -> np.ndarray:
    """World coordinates (..., 3) of y up with z up, by a quarter turn about x."""
    x, y, z = np.moveaxis(positions, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def _sequence_of_frame(arrays: dict[str, np.ndarray], frames: int, path: Path) -> np.ndarray:
    offsets, count = arrays["offsets"].astype(np.int64), len(arrays["subjects"])
    if len(offsets) != count + 1 or offsets[0] != 0 or offsets[-1] != frames or (np.diff(offsets) < 0).any():
        raise InputError(
            f"{path}: offsets must rise from 0 to the number of poses ({frames}), one more than subjects ({count})"
        )
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def check_poses(positions: np.ndarray, sequence: np.ndarray, names: Sequence[str], source: str | Path) -> None:
    """Raise for poses that no kinematics can use, and name the first.

    Args:
        positions: (N, 17, 3) metres, world with z up. sequence: (N,) index into `names`. source: what errors name.

    Raises:
        InputError: NaN, another unit than metres, bones of no length, hips in line with the spine.
    """
    finite = np.isfinite(positions).all((1, 2))
    if not finite.all():
        first = int(np.argmin(finite))
        raise InputError(f"{source}: {int((~finite).sum())} poses hold NaN, the first in {names[sequence[first]]}")
    torso = float(np.median(np.linalg.norm(positions[:, 8] - positions[:, 0], axis=-1))) if len(positions) else 0.5
    if not _TORSO_RANGE[0] < torso < _TORSO_RANGE[1]:
        unit = {True: "millimetres", False: "another unit"}[_TORSO_RANGE[0] < torso / 1000 < _TORSO_RANGE[1]]
        if _TORSO_RANGE[0] < torso / 100 < _TORSO_RANGE[1]:
            unit = "centimetres"
        raise InputError(
            f"{source}: pelvis and neck are {torso:.4g} apart (median); expected metres (0.3-0.7), this looks like {unit}"
        )
    parents = np.array(FK_PARENTS[1:])
    lengths = np.linalg.norm(positions[:, 1:] - positions[:, parents], axis=-1)
    if (lengths < 1e-4).any():
        frame, bone = np.argwhere(lengths < 1e-4)[0]
        raise InputError(
            f"{source}: the bone to {H36M_17.joint_names[bone + 1]} has no length in {names[sequence[frame]]}"
        )
    try:
        body_frame(torch.from_numpy(positions))
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
