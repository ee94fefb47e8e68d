"""The similarity that best lays one set of points over another (Procrustes), batched and differentiable.

Minimises sum_j w_j |s R x_j + t - y_j|^2 (Umeyama 1991): R is the rotation nearest to H = sum w (y - my)(x - mx)^T,
s = tr(R^T H) / sum w |x - mx|^2, t = my - s R mx.

Where the best rotation is not unique (points on a line, coplanar sets that are each other's mirror image), one of the best
is returned, and gradients stay finite (see `nearest_rotation`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup3d.geometry.nearest_rotation import nearest_rotation_and_trace
from selfsup3d.geometry.rotation import rotate
from selfsup3d.geometry.shapes import batch_first, batch_last, check_shape, working_dtype

__all__ = ["Similarity", "align", "aligned_distances", "procrustes"]

SMALLEST_SPREAD = 1e-12
"""A source whose mean squared distance to its middle is below this (1 micrometre, in metres) has no scale."""


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


class _Fit(NamedTuple):
    """A similarity with the batch last: y = scale * rotation @ (x - source_mean) + target_mean."""

    source: Tensor  # (J, 3, N) x - source_mean
    target: Tensor  # (J, 3, N) y - target_mean
    rotation: Tensor  # (3, 3, N)
    scale: Tensor  # (N)
    source_mean: Tensor  # (3, N)
    target_mean: Tensor  # (3, N)


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
    batch = _check(source, target, weights)
    fit = _fit(source, target, weights, batch, scale, reflection)
    moved = (fit.scale * fit.rotation * fit.source_mean).sum(1)
    return Similarity(
        batch_first(fit.rotation, batch, 2),
        fit.scale.reshape(batch),
        batch_first(fit.target_mean - moved, batch, 1),
    )


def align(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    scale: bool = True,
    reflection: bool = False,
) -> Tensor:
    """`source` moved onto `target`; arguments as in `procrustes`, which this equals, faster. (..., J, 3)."""
    batch = _check(source, target, weights)
    fit = _fit(source, target, weights, batch, scale, reflection)
    return batch_first(_turned(fit).add_(fit.target_mean), batch, 2)


def aligned_distances(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    scale: bool = True,
    reflection: bool = False,
) -> Tensor:
    """Distance of each point of `source` from its target after alignment; arguments as in `procrustes`. (..., J).

    What PA-MPJPE averages; it needs neither the moved points nor their means. A distance of 0 has no gradient (NaN).
    """
    batch = _check(source, target, weights)
    fit = _fit(source, target, weights, batch, scale, reflection)
    x, y, z = _turned(fit).sub_(fit.target).unbind(1)  # (J, N)
    return batch_first((x * x).addcmul_(y, y).addcmul_(z, z).sqrt_(), batch, 1)


def _turned(fit: _Fit) -> Tensor:
    """(J, 3, N) scale * rotation @ (x - source_mean)."""
    x, y, z = fit.source.split(1, dim=1)  # (J, 1, N)
    columns = (fit.scale * fit.rotation).transpose(0, 1)  # (column, row, N)
    return (x * columns[0]).addcmul_(y, columns[1]).addcmul_(z, columns[2])


def _check(source: Tensor, target: Tensor, weights: Tensor | None) -> torch.Size:
    """The leading dimensions of the result."""
    if source.dim() < 2 or target.dim() < 2 or source.shape[-2:] != target.shape[-2:] or source.shape[-1] != 3:
        raise ValueError(f"source and target must both be (..., J, 3): {tuple(source.shape)} and {tuple(target.shape)}")
    if weights is None:
        return torch.broadcast_shapes(source.shape[:-2], target.shape[:-2])
    check_shape(weights, (source.shape[-2],), "weights")
    return torch.broadcast_shapes(source.shape[:-2], target.shape[:-2], weights.shape[:-1])


def _fit(
    source: Tensor, target: Tensor, weights: Tensor | None, batch: torch.Size, scale: bool, reflection: bool
) -> _Fit:
    dtype = working_dtype(source, target)
    x, y = (batch_last(points.to(dtype), batch, 2) for points in (source, target))  # (J, 3, N)
    if weights is None:
        source_mean, target_mean = x.mean(0), y.mean(0)
        x, y = x.sub_(source_mean), y.sub_(target_mean)  # copies of ours; fresh memory costs more than the arithmetic
        weighted, total = x, float(len(x))
    else:
        w = batch_last(weights, batch, 1).to(dtype)[:, None]  # (J, 1, N)
        w = w / w.sum(0).clamp(min=torch.finfo(dtype).tiny)
        source_mean, target_mean = (w * x).sum(0), (w * y).sum(0)
        x, y = x - source_mean, y - target_mean
        weighted, total = w * x, 1.0
    covariance = torch.stack([(y[:, i : i + 1] * weighted).sum(0) for i in range(3)]) / total  # (3, 3, N)
    rotation, trace = nearest_rotation_and_trace(covariance.to(torch.float64), reflection)
    rotation = rotation.to(dtype)
    if not scale:
        return _Fit(x, y, rotation, torch.ones_like(trace, dtype=dtype), source_mean, target_mean)
    spread = (weighted * x).flatten(0, 1).sum(0) / total
    extended = spread > SMALLEST_SPREAD
    size = torch.where(extended, trace.to(dtype) / torch.where(extended, spread, 1.0), 0.0)
    return _Fit(x, y, rotation, size, source_mean, target_mean)
