"""Pose metrics: pure functions of predicted and true joints, one value per frame.

Convention: joints come in metres, errors go out in millimetres, shares in [0, 1]. Leading dimensions are any, and
those of `pred`, `target` and `valid` broadcast against each other, so that S hypotheses (N, S, J, 3) are measured
against one truth (N, 1, J, 3).

Missing joints: `valid` (..., J) is False where the truth is unknown; such joints enter neither an alignment nor a
mean, and a frame without any valid joint is NaN. A *prediction* that is not finite is never left out: its frame's
error is NaN (PCK counts the joint as missed), so that a method cannot gain by failing.

The strict rules are the defaults. Those that some papers use instead are keywords here and named presets in
`evaluation.protocols`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.evaluation.protocols import FlipBest
from selfsup3d.geometry.align import aligned_distances
from selfsup3d.geometry.shapes import broadcast_batch
from selfsup3d.structures.skeleton import H36M_17, joint_index

__all__ = [
    "AUC_THRESHOLDS",
    "aligned_errors",
    "auc",
    "frame_mean",
    "joint_errors",
    "mpjpe",
    "mrpe",
    "n_mpjpe",
    "pa_mpjpe",
    "pck",
    "root_relative",
    "root_relative_errors",
    "scale_to",
    "valid_joints",
    "without_root",
]

AUC_THRESHOLDS: tuple[int, ...] = tuple(range(0, 151, 5))
"""0, 5, ..., 150 mm, as in the evaluation code of MPI-INF-3DHP (Mehta et al. 2017)."""

_MIN_JOINTS_TO_ALIGN = 3


def valid_joints(target: Tensor, confidence: Tensor | None = None) -> Tensor:
    """(..., J) True where the truth (..., J, 3) is finite and its confidence (..., J), if given, is above 0."""
    known = torch.isfinite(target).all(-1)
    return known if confidence is None else known & (confidence.nan_to_num(0.0) > 0)


def frame_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (..., J) over the valid joints -> (...); NaN where a frame has none."""
    valid = valid.expand_as(values)
    total = torch.where(valid, values, torch.zeros_like(values)).sum(-1)
    return total / valid.sum(-1).to(values.dtype)  # 0 / 0 = NaN: nothing to measure


def joint_errors(pred: Tensor, target: Tensor) -> Tensor:
    """Euclidean distances of (..., J, 3) joints in metres -> (..., J) in mm."""
    return torch.linalg.vector_norm(pred - target, dim=-1) * 1000.0


def root_relative(joints: Tensor, root: str = "pelvis") -> Tensor:
    """Subtract the root from (..., 17, 3).

    Args:
        root: "pelvis", any other joint's name, or "mid_hips" = the middle of both hips (3DPW's protocol).
    """
    if root == "mid_hips":
        point = 0.5 * (joints[..., joint_index("left_hip"), :] + joints[..., joint_index("right_hip"), :])
    else:
        point = joints[..., joint_index(root), :]
    return joints - point[..., None, :]


def scale_to(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Root-relative `pred` times the scale that best fits `target`: s = <p, t> / <p, p> over the valid joints.

    The scale of N-MPJPE (Rhodin et al. 2018). A negative s would be a point reflection, which nothing here may use,
    so it is taken as 0.
    """
    weight = valid[..., None].to(pred.dtype)
    clean = torch.where(valid[..., None], target, torch.zeros_like(target))
    product = (weight * pred * clean).sum((-2, -1))
    norm = (weight * pred * pred).sum((-2, -1))
    scale = (product / norm.clamp_min(torch.finfo(pred.dtype).tiny)).clamp_min(0.0)
    return pred * scale[..., None, None]


def root_relative_errors(
    pred: Tensor, target: Tensor, valid: Tensor, *, gt_scale: bool = False, flip_best: FlipBest = False
) -> Tensor:
    """Errors (..., J) in mm of joints that are already root-relative and in camera axes.

    Args:
        gt_scale: first scale each frame of `pred` to the truth (`scale_to`).
        flip_best: keep the better of `pred` and its mirror image in depth (z -> -z), for the whole frame
            (C3DPO) or for each joint alone ("joint"); False keeps `pred`.
    """

    def errors(candidate: Tensor) -> Tensor:
        return joint_errors(scale_to(candidate, target, valid) if gt_scale else candidate, target)

    plain = errors(pred)
    if not flip_best:
        return plain
    flipped = errors(pred * pred.new_tensor([1.0, 1.0, -1.0]))
    if flip_best == "joint":
        return torch.minimum(plain, flipped)
    better = frame_mean(flipped, valid) < frame_mean(plain, valid)
    return torch.where(better[..., None], flipped, plain)


def aligned_errors(pred: Tensor, target: Tensor, valid: Tensor, *, reflection: bool = False) -> Tensor:
    """Errors (..., J) in mm after the best rotation, translation and scale of each frame (Procrustes, PA).

    Args:
        reflection: allow the alignment to mirror the pose as well (strict: never).

    Frames with fewer than 3 valid joints are NaN: such an alignment is not unique and fits anything.
    """
    pred, target, valid = _broadcast(pred, target, valid)
    finite = torch.isfinite(pred).all(-1)
    weights = valid.to(pred.dtype)
    usable = (finite | ~valid).all(-1) & (valid.sum(-1) >= _MIN_JOINTS_TO_ALIGN)
    clean_pred = torch.where((finite & valid)[..., None], pred, torch.zeros_like(pred))
    clean_target = torch.where(valid[..., None], target, torch.zeros_like(target))
    errors = 1000.0 * aligned_distances(clean_pred, clean_target, weights=weights, reflection=reflection)
    return torch.where(usable[..., None], errors, torch.full_like(errors, float("nan")))


def mpjpe(
    pred: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    root: str = "pelvis",
    count_root: bool = False,
    gt_scale: bool = False,
    flip_best: FlipBest = False,
) -> Tensor:
    """Mean per-joint position error after moving both roots to the origin, mm.

    Args:
        pred, target: (..., 17, 3) metres, same axes.
        valid: (..., 17); None = where the truth is finite.
        root: see `root_relative`.
        count_root: average the root in as well, whose error is 0 by construction (Martinez et al. 2017).
        gt_scale, flip_best: see `root_relative_errors`.
    """
    valid = valid_joints(target) if valid is None else valid
    target = torch.where(valid[..., None], target, torch.full_like(target, float("nan")))  # an unknown root: NaN frame
    counted = valid if count_root else without_root(valid)
    errors = root_relative_errors(
        root_relative(pred, root), root_relative(target, root), valid, gt_scale=gt_scale, flip_best=flip_best
    )
    return frame_mean(errors, counted)


def n_mpjpe(
    pred: Tensor, target: Tensor, valid: Tensor | None = None, *, root: str = "pelvis", count_root: bool = False
) -> Tensor:
    """MPJPE after scaling each root-relative prediction to the truth, mm (Rhodin et al. 2018)."""
    return mpjpe(pred, target, valid, root=root, count_root=count_root, gt_scale=True)


def pa_mpjpe(pred: Tensor, target: Tensor, valid: Tensor | None = None, *, reflection: bool = False) -> Tensor:
    """MPJPE after the best similarity of each frame, mm; all valid joints count, the root too (it is not fixed)."""
    valid = valid_joints(target) if valid is None else valid
    return frame_mean(aligned_errors(pred, target, valid, reflection=reflection), valid)


def mrpe(pred_root: Tensor, target_root: Tensor) -> Tensor:
    """Distance of predicted and true roots (..., 3) in the camera frame, mm (Moon et al. 2019)."""
    return torch.linalg.vector_norm(pred_root - target_root, dim=-1) * 1000.0


def pck(errors: Tensor, valid: Tensor, threshold: float = 150.0) -> Tensor:
    """Share of valid joints with an error (..., J) below `threshold` mm -> (...), in [0, 1].

    "Below" is strict, as in the evaluation code of MPI-INF-3DHP; a NaN error is a miss.
    """
    return frame_mean((errors < threshold).to(errors.dtype), valid)


def auc(errors: Tensor, valid: Tensor) -> Tensor:
    """Mean of PCK over `AUC_THRESHOLDS` -> (...), in [0, 1].

    No error is below the first threshold, 0 mm, so a perfect prediction reaches 30/31, as in the reference code.
    """
    curve = torch.zeros_like(errors)
    for threshold in AUC_THRESHOLDS:
        curve += (errors < threshold).to(errors.dtype)
    return frame_mean(curve / len(AUC_THRESHOLDS), valid)


def without_root(valid: Tensor) -> Tensor:
    """`valid` (..., 17) with the pelvis taken out.

    With the root in the middle of the hips too: our pelvis is that middle, so its error is 0 as well.
    """
    counted = valid.clone()
    counted[..., H36M_17.root] = False
    return counted


def _broadcast(pred: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Expand joints and mask to the same leading dimensions; ValueError names the shapes that do not fit."""
    try:
        shape = broadcast_batch(pred[..., 0], target[..., 0], valid)
    except RuntimeError:
        raise ValueError(
            f"pred {tuple(pred.shape)}, target {tuple(target.shape)} and valid {tuple(valid.shape)} do not fit together"
        ) from None
    return pred.expand(*shape, 3), target.expand(*shape, 3), valid.expand(shape)
