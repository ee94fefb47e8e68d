"""Unpaired 3D poses from motion capture: what the method knows of human poses, apart from any image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.mocap import MotionCapture, Split, load_mocap
from selfsup3d.draws import Draws
from selfsup3d.geometry.kinematics import mirror_joints

__all__ = ["MocapPrior", "PosePrior"]


class PosePrior(Protocol):
    """Anything that gives poses for draws."""

    def sample(self, draws: Draws) -> Tensor:
        """(B, 17, 3) float32 poses in the body frame, metres."""
        ...


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
        self.poses = capture.canonical()  # (N, 17, 3)
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
        return len(self.poses)

    def sample(self, draws: Draws) -> Tensor:
        """(B, 17, 3) float32 poses in the body frame, metres; three draws a sample."""
        group = draws.integers(len(self._start))  # (B,)
        frame = self._order[self._start[group] + draws.integers(self._count[group])]
        flip = draws.uniform() < 0.5
        poses = torch.from_numpy(self.poses[frame])
        if self.mirror:
            poses = torch.where(torch.from_numpy(flip)[:, None, None], mirror_joints(poses, axis=1), poses)
        return poses
