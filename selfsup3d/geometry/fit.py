"""A skeleton moved so that it re-projects onto 2D keypoints: what an image shows, with the depths of a first guess.

A network that reads a pose from keypoints is off by some pixels where the keypoints are not. After SMPLify (Bogo et al.
2016), with joints in place of a body model **[ours]**.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.structures.skeleton import FK_PARENTS, NUM_JOINTS, joint_index

__all__ = ["fit_keypoints"]

# Chosen on validation splits (synth-v1, synth-mocap) with people-v1: keypoints that are trusted more cost PA-MPJPE.
_PLANE = 0.04  # metres, at the root's depth, by which keypoints miss
_FAR = 0.08  # metres from which on a keypoint counts for less (Cauchy): it may be another's
_BONE = 0.005  # metres by which bones may stretch
_ACROSS, _ALONG = 0.06, 0.03  # metres by which a bone's end may leave the first guess across the view and along it
_DEPTH = 0.1  # share of the root's depth by which that may change
_NEAREST = 0.3  # metres in front of the camera

_CHILD = list(range(1, NUM_JOINTS))
_PARENT = list(FK_PARENTS[1:])
_HIPS = [joint_index("left_hip"), joint_index("right_hip")]


def fit_keypoints(joints: Tensor, plane: Tensor, weight: Tensor, steps: int = 4) -> Tensor:
    """Joints (N, 17, 3) near the given ones whose projections are near the keypoints; bones keep their lengths.

    Gauss-Newton on a sum of squares, each over its usual size: distances of projections and keypoints, in metres at the
    root's depth, far ones counting less; changes of the bones' lengths, of the bones, along the view more than across it,
    and of the root's depth; the pelvis stays between the hips.

    Args:
        joints: camera frame, metres. plane: (N, 17, 2) keypoints at depth 1 (`normalize_pixels`).
        weight: (N, 17) in [0, 1], trust in each keypoint.

    Returns:
        (N, 17, 3); poses as they were where the fit is not finite or not in front of the camera.
    """
    first, plane, weight = joints.double(), plane.double(), weight.double()
    N, variables = len(first), 3 * NUM_JOINTS
    each = torch.eye(NUM_JOINTS, device=joints.device, dtype=first.dtype)
    axes = torch.eye(3, device=joints.device, dtype=first.dtype)
    bone, hips = each[_CHILD] - each[_PARENT], each[_HIPS].sum(0, keepdim=True) - 2.0 * each[:1]  # (16, 17), (1, 17)
    trust = first.new_tensor([_ACROSS, _ACROSS, _ALONG]).reciprocal()
    # What is linear in the joints: bones, the pelvis between the hips, and the root's depth.
    linear = torch.cat([torch.kron(bone, axes * trust), torch.kron(hips, axes / _BONE)])
    root = first[:, 0, 2].clamp_min(_NEAREST)
    depth_row = torch.kron(each[:1], axes[2:]) / (_DEPTH * root)[:, None, None]  # (N, 1, 51)
    length = (bone @ first).norm(dim=-1)
    current = first
    for _ in range(steps):
        z = current[..., 2:].clamp_min(_NEAREST)
        metres = root[:, None, None] / z
        off = metres * current[..., :2] - root[:, None, None] * plane  # (N, 17, 2)
        counted = (weight / (1.0 + (off / _FAR).square().sum(-1))).sqrt()[..., None] / _PLANE
        slope = torch.cat([metres[..., None] * axes[:2, :2], -(metres / z * current[..., :2])[..., None]], -1)
        seen = torch.einsum("njcx,jk->njckx", counted[..., None] * slope, each).reshape(N, -1, variables)
        now = bone @ current
        long = now.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        stretch = torch.einsum("nbx,bj->nbjx", now / long / _BONE, bone).reshape(N, -1, variables)
        moved = (current - first).flatten(1)[..., None]
        fixed = torch.cat([linear.expand(N, -1, -1), depth_row], 1)
        rows = torch.cat([seen, stretch, fixed], 1)
        residual = torch.cat(
            [(counted * off).flatten(1)[..., None], ((long[..., 0] - length) / _BONE)[..., None], fixed @ moved], 1
        )
        normal = rows.mT @ rows + 1e-6 * torch.eye(variables, device=joints.device, dtype=first.dtype)
        current = current - torch.linalg.solve(normal, rows.mT @ residual).view(N, NUM_JOINTS, 3)
    good = (torch.isfinite(current).all(-1) & (current[..., 2] > _NEAREST)).all(-1)
    return torch.where(good[:, None, None], current, first).to(joints.dtype)
