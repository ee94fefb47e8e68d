"""Unpaired 3D poses from motion capture: what the method knows of human poses, apart from any image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.mocap.mocap import MotionCapture, Split, load_mocap
from selfsup3d.data.priors.camera_prior import UprightPoses
from selfsup3d.geometry.kinematics import body_frame, canonicalize, mirror_joints
from selfsup3d.structures.random import RandomStreams

__all__ = ["MocapPrior", "PosePrior", "UprightPrior", "upright_poses"]

_ANKLE_HEIGHT = 0.08  # metres from the floor to the ankle of a standing person


class PosePrior(Protocol):
    """Anything that gives poses for draws."""

    def sample(self, streams: RandomStreams) -> Tensor:
        """(B, 17, 3) float32 poses in the body frame, metres."""
        ...


@runtime_checkable
class UprightPrior(Protocol):
    """A prior whose poses know which way is up, so that cameras can stand upright before them."""

    def sample_upright(self, streams: RandomStreams) -> UprightPoses:
        """The poses of `sample`, with the lean of their trunk and the height of their pelvis."""
        ...


def upright_poses(world: Tensor) -> UprightPoses:
    """Poses in the body frame, and how each stood in the world.

    The lowest joint is taken to stand on the floor, as an ankle does: whoever jumps or climbs is let down.

    Args:
        world: (N, 17, 3) metres, z up.
    """
    rotation, _ = body_frame(world)  # body -> world
    left = rotation[..., 1]
    yaw = torch.atan2(-left[:, 0], left[:, 1])  # the heading whose left is the body's left
    c, s, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    back = torch.stack([c, s, zero, -s, c, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    height = world[:, 0, 2] - world[..., 2].amin(-1) + _ANKLE_HEIGHT
    return UprightPoses(canonicalize(world).float(), (back @ rotation).float(), height.float())


class MocapPrior:
    """Poses of real people, drawn evenly over subjects (or sequences) so that long recordings do not dominate.

    Args:
        source: an npz path (see `data.mocap`) or a loaded `MotionCapture`.
        split: of a path; never train on "test".
        balance: draw a subject, a sequence, or a frame first, each alike.
        mirror: mirror every second pose, which doubles the variety.
    """

    def __init__(
        self,
        source: str | Path | MotionCapture,
        split: Split = "train",
        balance: Literal["subject", "sequence", "frame"] = "subject",
        mirror: bool = True,
    ) -> None:
        capture = source if isinstance(source, MotionCapture) else load_mocap(source, split)
        joints = torch.from_numpy(capture.positions)
        self._bank = upright_poses(joints - joints[:, :1])
        self.mirror = mirror
        group = {
            "subject": capture.subject_of_frame()[0],
            "sequence": capture.sequence,
            "frame": np.zeros(len(capture), dtype=np.int64),
        }[balance]
        # Frames sorted by group, so that group g owns the run order[start[g] : start[g] + count[g]].
        self._order = np.argsort(group, kind="stable")
        _, self._start, self._count = np.unique(group[self._order], return_index=True, return_counts=True)

    def __len__(self) -> int:
        return len(self._bank.joints)

    @property
    def poses(self) -> np.ndarray:
        """(N, 17, 3) float32 all poses, body frame, metres, not mirrored."""
        return self._bank.joints.numpy()

    def sample(self, streams: RandomStreams) -> Tensor:
        """(B, 17, 3) float32 poses in the body frame, metres; three draws a sample."""
        return self.sample_upright(streams).joints

    def sample_upright(self, streams: RandomStreams) -> UprightPoses:
        """The same poses, with the lean of their trunk and the height of their pelvis; three draws a sample."""
        group = streams.integers(len(self._start))  # (B,)
        frame = torch.from_numpy(self._order[self._start[group] + streams.integers(self._count[group])])
        flip = torch.from_numpy(streams.uniform() < 0.5)
        joints, tilt, height = self._bank.joints[frame], self._bank.tilt[frame], self._bank.height[frame]
        if self.mirror:
            sides = torch.tensor([1.0, -1.0, 1.0])
            joints = torch.where(flip[:, None, None], mirror_joints(joints, axis=1), joints)
            tilt = torch.where(flip[:, None, None], sides[:, None] * tilt * sides, tilt)
        return UprightPoses(joints, tilt, height)
