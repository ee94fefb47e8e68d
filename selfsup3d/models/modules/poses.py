"""Frames and roots of poses, as all heads read them."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from selfsup3d.structures.batch import Batch

__all__ = ["middle_frame", "root_relative"]


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
