"""The similarity that best aligns one set of points with another (Procrustes), batched and differentiable.

Minimises sum_j w_j |s R x_j + t - y_j|^2 (Umeyama 1991): R is the rotation nearest to H = sum w (y - my)(x - mx)^T,
s = tr(R^T H) / sum w |x - mx|^2, t = my - s R mx. The rotation and its derivative are roma's.

Where the best rotation is not unique (points on a line, coplanar sets that are each other's mirror image), one of the best
is returned, and gradients stay finite: roma damps them by `gradient_eps`, relative to the size of H here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup3d.geometry.rotation import rotate
from selfsup3d.geometry.shapes import check_shape, working_dtype

__all__ = [
    "Similarity", "align", "aligned_distances", "nearest_rotation", "procrustes", "reprojecting_root", "robust_root",
]  # fmt: skip

SMALLEST_SPREAD = 1e-12
"""A source whose mean squared distance to its middle is below this (1 micrometre, in metres) has no scale."""

DAMPING = 1e-4
"""Relative to the norm of H: sums of two singular values far below this share no longer add to gradients."""


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + translation.

    Attributes:
        rotation: (..., 3, 3), det +1 (+-1 where reflections were allowed).
        scale: (...).
        translation: (..., 3).
    """

    rotation: Tensor
    scale: Tensor
    translation: Tensor

    def apply(self, points: Tensor) -> Tensor:
        """(..., J, 3) -> (..., J, 3)."""
        return self.scale[..., None, None] * rotate(self.rotation, points) + self.translation[..., None, :]


def procrustes(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    scale: bool = True,
    reflection: bool = False,
) -> Similarity:
    """The similarity that brings `source` nearest to `target` in the least-squares sense.

    Args:
        source, target: (..., J, 3); leading dimensions broadcast.
        weights: (..., J), not negative; None = all equal. Points of weight 0 may hold any finite value.
        scale: find the scale too; else it is 1.
        reflection: also allow mirror images.

    Returns:
        Similarity; a source of no extent gets scale 0.

    Raises:
        ValueError: shapes do not fit.
    """
    return _fit(source, target, weights, scale, reflection)


def align(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    scale: bool = True,
    reflection: bool = False,
) -> Tensor:
    """`source` moved onto `target`; arguments as in `procrustes`. (..., J, 3)."""
    return procrustes(source, target, weights, scale, reflection).apply(source.to(working_dtype(source, target)))


def aligned_distances(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    scale: bool = True,
    reflection: bool = False,
) -> Tensor:
    """Distance of each point of `source` from its target after alignment; arguments as in `procrustes`. (..., J).

    What PA-MPJPE averages. A distance of 0 has no gradient (NaN).
    """
    return (align(source, target, weights, scale, reflection) - target).square().sum(-1).sqrt()


def nearest_rotation(matrix: Tensor, reflection: bool = False) -> Tensor:
    """The rotation nearest to each matrix (Frobenius norm); where it is not unique, one of them.

    Args:
        matrix: (..., 3, 3).
        reflection: take the nearest orthogonal matrix, det -1 included.

    Returns:
        (..., 3, 3), the dtype of `matrix` (at least float32). Gradients are finite for every finite matrix.
    """
    import roma  # loads torch's compiler, which a first prediction has no use for

    check_shape(matrix, (3, 3), "matrix")
    exact = matrix.to(torch.float64)
    size = exact.detach().abs().amax((-1, -2), keepdim=True).clamp(min=1e-30)
    found = roma.procrustes(exact / size, force_rotation=not reflection, gradient_eps=DAMPING)
    return found.to(working_dtype(matrix))


def _fit(source: Tensor, target: Tensor, weights: Tensor | None, scale: bool, reflection: bool) -> Similarity:
    _check(source, target, weights)
    dtype = working_dtype(source, target)
    x, y = source.to(torch.float64), target.to(torch.float64)  # sums in float64, which autocast leaves alone
    if weights is None:
        w = x.new_full((x.shape[-2], 1), 1.0 / x.shape[-2])
    else:
        w = weights.to(torch.float64)[..., None]
        w = w / w.sum(-2, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    source_mean, target_mean = (w * x).sum(-2), (w * y).sum(-2)
    x, y = x - source_mean[..., None, :], y - target_mean[..., None, :]
    covariance = (w * y).mT @ x  # (..., 3, 3)
    rotation = nearest_rotation(covariance, reflection)
    size = torch.ones_like(rotation[..., 0, 0])
    if scale:
        spread = (w * x * x).sum((-1, -2))
        extended = spread > SMALLEST_SPREAD
        trace = (rotation * covariance).sum((-1, -2))
        size = torch.where(extended, trace / torch.where(extended, spread, 1.0), 0.0)
    translation = target_mean - size[..., None] * (rotation @ source_mean[..., None])[..., 0]
    return Similarity(rotation.to(dtype), size.to(dtype), translation.to(dtype))


def _check(source: Tensor, target: Tensor, weights: Tensor | None) -> None:
    if source.dim() < 2 or target.dim() < 2 or source.shape[-2:] != target.shape[-2:] or source.shape[-1] != 3:
        raise ValueError(f"source and target must both be (..., J, 3): {tuple(source.shape)} and {tuple(target.shape)}")
    if weights is not None:
        check_shape(weights, (source.shape[-2],), "weights")


def reprojecting_root(pose: Tensor, plane: Tensor, weight: Tensor) -> Tensor:
    """Where a root-relative pose re-projects best onto its keypoints: (N, 3) metres.

    x (Z + p_z) = X + p_x, and y alike, for every joint: linear least squares in the root (X, Y, Z). Two joints that
    count are the least; of fewer the result means nothing.

    Args:
        pose: (N, J, 3) metres, camera axes. plane: (N, J, 2) keypoints at depth 1 (`normalize_pixels`).
        weight: (N, J) of each joint's equations, 0 = left out.
    """
    zero, one = torch.zeros_like(plane[..., 0]), torch.ones_like(plane[..., 0])
    rows = torch.cat(
        (torch.stack((one, zero, -plane[..., 0]), -1), torch.stack((zero, one, -plane[..., 1]), -1)), 1
    )  # (N, 2J, 3)
    goal = torch.cat((plane[..., 0] * pose[..., 2] - pose[..., 0], plane[..., 1] * pose[..., 2] - pose[..., 1]), 1)
    twice = torch.cat((weight, weight), 1)[..., None]
    rows, goal = rows * twice, goal[..., None] * twice
    normal = rows.transpose(1, 2) @ rows + 1e-9 * torch.eye(3, device=rows.device)
    root: Tensor = torch.linalg.solve(normal, rows.transpose(1, 2) @ goal)[..., 0]
    return root


def robust_root(pose: Tensor, plane: Tensor, weight: Tensor, root: Tensor, nearest: float = 0.5) -> Tensor:
    """`reprojecting_root`, joints counting the less the farther they stay off: three rounds with Cauchy's weights.

    Args:
        root: (N, 3) kept where the best one is nearer to the camera than `nearest` metres or not finite.
    """
    counted, found = weight, root
    for _ in range(3):
        found = reprojecting_root(pose, plane, counted.sqrt())
        placed = pose + found[:, None]
        off = (placed[..., :2] / placed[..., 2:].clamp_min(1e-3) - plane).norm(dim=-1)
        counted = weight / (1.0 + (off / off.median(1, keepdim=True).values.clamp_min(1e-6)).square())
    good = torch.isfinite(found).all(1) & (found[:, 2] >= nearest)
    return torch.where(good[:, None], found, root)
