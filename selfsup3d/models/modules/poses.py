"""Poses as networks see them: the middle frame, relative to the root, standardised."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from selfsup3d.structures.batch import Batch
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["PoseScaler", "labelled_poses", "middle_frame", "root_relative"]


def middle_frame(batch: Batch) -> Batch:
    """The batch with the middle frame of 2D sequences in place of them."""
    if batch.joints_2d is None or batch.joints_2d.dim() == 3:
        return batch
    middle = batch.joints_2d.shape[1] // 2
    confidence = None if batch.confidence is None else batch.confidence[:, middle]
    return replace(batch, joints_2d=batch.joints_2d[:, middle], confidence=confidence)


def root_relative(joints: Tensor) -> Tensor:
    """(..., 17, 3) minus the pelvis."""
    return joints - joints[..., :1, :]


class PoseScaler(torch.nn.Module):
    """Standardises root-relative poses, the root left out: (..., 17, 3) m <-> (..., 48); `fit` first."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3 * (NUM_JOINTS - 1)))
        self.register_buffer("std", torch.ones(3 * (NUM_JOINTS - 1)))

    def fit(self, joints: Tensor) -> None:
        """Take mean and standard deviation of poses (N, 17, 3)."""
        flat = root_relative(joints)[:, 1:].flatten(1)
        self.mean.copy_(flat.mean(0))
        self.std.copy_(flat.std(0).clamp(min=1e-6))

    def forward(self, joints: Tensor) -> Tensor:
        """(..., 17, 3) -> (..., 48)."""
        return (root_relative(joints)[..., 1:, :].flatten(-2) - self.mean) / self.std

    def inverse(self, values: Tensor) -> Tensor:
        """(..., 48) -> (..., 17, 3) with the root at 0."""
        joints = (values * self.std + self.mean).unflatten(-1, (NUM_JOINTS - 1, 3))
        return torch.cat((torch.zeros_like(joints[..., :1, :]), joints), -2)


def labelled_poses(batches: list[Batch]) -> Tensor:
    """(N, 17, 3) every whole 3D label of some batches.

    Raises:
        ValueError: there is none.
    """
    for batch in batches:
        batch.require(("joints_3d",), by="fit")
    joints = torch.cat([batch.joints_3d for batch in batches if batch.joints_3d is not None])
    whole = joints[torch.isfinite(joints).flatten(1).all(1)]
    if not len(whole):
        raise ValueError("no training pose has all of its 3D labels")
    return whole
