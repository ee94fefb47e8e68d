"""One motion-capture recording brought to our 17 joints, and the npz that `data.mocap` loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from selfsup3d.config.choices import UP_AXES
from selfsup3d.errors import InputError
from selfsup3d.geometry.kinematics import forward_kinematics, inverse_kinematics
from selfsup3d.geometry.rotation import rotate
from selfsup3d.io.files import atomic_path
from selfsup3d.structures.skeleton import FK_PARENTS, H36M_17, joint_index

__all__ = ["HEAD_LENGTH", "Recording", "resample", "retarget", "to_y_up", "with_head", "write_mocap"]

HEAD_LENGTH = 0.096
"""Metres from our nose joint to the top of the head: the median of CMU's 66,484 poses in the project's motion capture."""

NO_RATE = "the format has no frame rate: 120 frames/s are assumed"
"""Note of readers of CMU's own formats."""

_NO_LENGTH = 1e-4  # metres, as `mocap.check_poses`
_ORDER = {"x": [2, 0, 1], "y": [0, 1, 2], "z": [1, 2, 0]}  # z as CMU's own BVH and AMC relate to its C3D


@dataclass(frozen=True)
class Recording:
    """Poses of one person in one take.

    Attributes:
        positions: (T, 17, 3) float32 metres, world, y up, right-handed; the pelvis is the middle of the hips.
        fps: frames per second of the source.
        name, subject, action: text.
        kind: of the file it came from.
        taken: what was read into the file beyond its numbers: up axis, unit, joint table, body model; one line.
        notes: what a person should know besides: defects that were mended, assumptions.
    """

    positions: np.ndarray
    fps: float
    name: str
    subject: str
    action: str = ""
    kind: str = ""
    taken: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.positions.shape
        if len(shape) != 3 or shape[1:] != (len(H36M_17), 3) or shape[0] == 0:
            raise InputError(f"{self.name}: expected (T, 17, 3) joints of at least one frame, got {shape}")
        if not np.isfinite(self.positions).all():
            bad = int(np.flatnonzero(~np.isfinite(self.positions).all((1, 2)))[0])
            raise InputError(f"{self.name}: frame {bad} has joints that are not finite; the file is damaged")

    def __len__(self) -> int:
        return len(self.positions)


def to_y_up(positions: np.ndarray, up: str) -> np.ndarray:
    """World coordinates (..., 3) with y up, by a rotation that permutes the axes (and turns two of them round).

    Args:
        up: the axis that points up, of `choices.UP_AXES`.

    Raises:
        ValueError: another `up`.
    """
    if up not in UP_AXES:
        raise ValueError(f"up must be one of {', '.join(UP_AXES)}, got {up!r}")
    turned = positions[..., _ORDER[up[-1]]]
    return turned * np.array([1, -1, -1], turned.dtype) if up.startswith("-") else turned


def with_head(joints: np.ndarray) -> tuple[np.ndarray, bool]:
    """Give a head that lies on the nose its usual length, on the line from the neck through the nose.

    Many files end the head in an end site of no length; the kinematics need a direction.

    Args:
        joints: (T, 17, 3) metres.

    Returns:
        The joints, and whether any frame needed it.
    """
    neck, nose, head = (joints[:, joint_index(name)] for name in ("neck", "nose", "head"))
    short = np.linalg.norm(head - nose, axis=-1) < _NO_LENGTH
    upward = nose - neck
    length = np.linalg.norm(upward, axis=-1)
    short &= length > _NO_LENGTH
    if not short.any():
        return joints, False
    joints = joints.copy()
    joints[short, joint_index("head")] = nose[short] + HEAD_LENGTH * upward[short] / length[short, None]
    return joints, True


def resample(recording: Recording, fps: float) -> Recording:
    """The frames nearest to a lower rate; a slower source is kept as it is. Nothing is interpolated."""
    if recording.fps <= fps:
        return recording
    times = np.arange(0, len(recording) / recording.fps - 1e-9, 1.0 / fps)
    frames = np.minimum(np.rint(times * recording.fps).astype(int), len(recording) - 1)
    return replace(recording, positions=recording.positions[frames], fps=fps)


def retarget(recording: Recording, bone_lengths: np.ndarray) -> Recording:
    """The same motion by a body of other bone lengths, through inverse and forward kinematics.

    Limb directions and the hips' tilt stay, lengths are replaced; the pelvis path is scaled by the ratio of the legs, so
    that feet neither float nor skate by more than the bodies' other differences.

    Args:
        bone_lengths: (17,) metres, by `geometry.kinematics.bone_lengths`.

    Raises:
        InputError: a pose without kinematics (coinciding hips, neck on the pelvis); the message names the frame.
    """
    joints = torch.from_numpy(recording.positions).double()
    try:
        pose = inverse_kinematics(joints, recentre=True)
    except ValueError as error:
        raise InputError(f"{recording.name}: cannot be retargeted: {error}") from error
    lengths = torch.as_tensor(bone_lengths, dtype=torch.float64)
    body = forward_kinematics(pose.local_vectors, pose.hip_angle, lengths)
    legs = [joint_index(f"{side}_{joint}") for side in ("left", "right") for joint in ("knee", "ankle")]
    ratio = lengths[legs].sum() / pose.bone_lengths[:, legs].sum(-1).mean()
    moved = rotate(pose.rotation, body) + ratio * pose.translation[:, None]
    return replace(recording, positions=moved.float().numpy())


def write_mocap(path: str | Path, recordings: Sequence[Recording], fps: float = 20.0) -> None:
    """Write recordings as the npz of `data.mocap`: 17 joints, metres, y up, one rate, no pickled objects.

    Args:
        path: of the npz; written atomically.
        recordings: in the order wanted.
        fps: common rate; recordings are thinned out to it.

    Raises:
        InputError: no recordings, or one slower than `fps`.
    """
    if not recordings:
        raise InputError(f"{path}: no recordings to write")
    slow = [r for r in recordings if r.fps < fps - 1e-3]
    if slow:
        raise InputError(
            f"{slow[0].name}: {slow[0].fps:g} frames/s, less than the {fps:g} asked for; give a lower --fps"
        )
    thinned = [resample(r, fps) for r in recordings]
    lengths = [len(r) for r in thinned]
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            positions=np.concatenate([r.positions for r in thinned]).astype(np.float32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            fps=np.float32(fps),
            names=np.array([r.name for r in thinned]),
            subjects=np.array([r.subject for r in thinned]),
            actions=np.array([r.action for r in thinned]),
            kinds=np.array([r.kind for r in thinned]),
            taken=np.array([r.taken for r in thinned]),
            notes=np.array(["; ".join(r.notes) for r in thinned]),
            source_fps=np.array([r.fps for r in recordings], dtype=np.float32),
            joint_names=np.array(H36M_17.joint_names),
            parents=np.array(FK_PARENTS),
            up_axis=np.array("y"),
            units=np.array("m"),
        )
