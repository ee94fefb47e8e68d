"""What a lifter must beat with the same keypoints: no depth at all, and the training pose whose keypoints look alike."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.geometry.camera import normalize_pixels
from selfsup3d.structures.batch import Batch

__all__ = ["flat_pose", "keypoint_features"]


def flat_pose(batch: Batch) -> Tensor | None:
    """(B, 17, 3) the keypoints on a plane, of unknown scale: the guess of a lifter that gives no depth.

    The trivial solution of everything that asks for little more than re-projection. Missing joints stand at the others'
    middle. None without keypoints.
    """
    found = _plane(batch)
    if found is None:
        return None
    plane, seen = found
    centre = (plane * seen).sum(-2, keepdim=True) / seen.sum(-2, keepdim=True).clamp(min=1.0)
    return torch.nn.functional.pad((plane - centre) * seen, (0, 1))


def keypoint_features(batch: Batch) -> Tensor | None:
    """(B, 34) keypoints about their middle, of size 1: what nearest neighbours are found by; None without them."""
    flat = flat_pose(batch)
    if flat is None:
        return None
    points = flat[..., :2].flatten(1)
    return points / points.norm(dim=1, keepdim=True).clamp(min=1e-9)


def _plane(batch: Batch) -> tuple[Tensor, Tensor] | None:
    """(B, 17, 2) keypoints of the (middle) frame on the plane z = 1 (px where no camera is known), (B, 17, 1) seen."""
    if batch.joints_2d is None:
        return None
    joints, confidence = batch.joints_2d.float(), batch.confidence
    if joints.dim() == 4:
        middle = joints.shape[1] // 2
        joints, confidence = joints[:, middle], None if confidence is None else confidence[:, middle]
    seen = torch.isfinite(joints).all(-1)
    if confidence is not None:
        seen = seen & (confidence > 0)
    joints = torch.where(seen[..., None], joints, torch.zeros_like(joints))
    return (joints if batch.K is None else normalize_pixels(joints, batch.K.float())), seen[..., None].float()
