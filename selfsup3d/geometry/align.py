"""The similarity that best lays one set of points over another (Procrustes), batched and differentiable.

Minimises sum_j w_j |s R x_j + t - y_j|^2 (Umeyama 1991): R is the rotation nearest to H = sum w (y - my)(x - mx)^T,
s = tr(R^T H) / sum w |x - mx|^2, t = my - s R mx.

The derivative of R is taken from its optimality condition (R^T H is symmetric), not from a decomposition: with
S = sym(R^T H), dR = R [u] where (tr(S) I - S) u = axial(R^T dH - dH^T R). The 3x3 matrix has the eigenvalues
s_i + s_j; where one vanishes (points on a line, coplanar sets that are each other's mirror image) the best rotation is
not unique, and the inverse m -> 1/m is damped to m / (m^2 + e^2) there, so gradients stay finite.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfsup3d.geometry.rotation import rotate
from selfsup3d.geometry.shapes import check_shape, working_dtype

__all__ = ["Similarity", "align", "nearest_rotation", "procrustes"]

DAMPING = 1e-4
"""e above, relative to the sum of the singular values of H."""


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


class _NearestRotation(torch.autograd.Function):
    """(N, 3, 3) float64 H -> the rotation (or orthogonal matrix) R that maximises tr(R^T H)."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, reflection: bool) -> Tensor:
        u, _, vh = torch.linalg.svd(matrix)
        if not reflection:
            sign = torch.linalg.det(u @ vh).sign()
            u = torch.cat((u[..., :2], u[..., 2:] * sign[..., None, None]), dim=-1)
        rotation = u @ vh
        ctx.save_for_backward(matrix, rotation)
        return rotation

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        matrix, rotation = ctx.saved_tensors
        product = rotation.mT @ matrix
        symmetric = (product + product.mT) / 2
        trace = torch.diagonal(symmetric, dim1=-2, dim2=-1).sum(-1)
        pairs = trace[..., None, None] * torch.eye(3, dtype=matrix.dtype, device=matrix.device) - symmetric
        damping = DAMPING * trace.abs().clamp(min=1e-30)[..., None, None]
        turned = rotation.mT @ grad  # d loss / d R = R turned; only its antisymmetric part acts
        axial = _axial(turned)[..., None]
        # u = M (M^2 + e^2)^-1 axial: symmetric, so the adjoint of the forward rule is the same solve.
        eye = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
        solved = (pairs @ torch.linalg.solve(pairs @ pairs + damping**2 * eye, axial))[..., 0]
        return rotation @ _skew(solved), None


def _axial(matrix: Tensor) -> Tensor:
    """The vector a with [a] = matrix - matrix^T."""
    return torch.stack(
        (
            matrix[..., 2, 1] - matrix[..., 1, 2],
            matrix[..., 0, 2] - matrix[..., 2, 0],
            matrix[..., 1, 0] - matrix[..., 0, 1],
        ),
        dim=-1,
    )


def _skew(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def nearest_rotation(matrix: Tensor, reflection: bool = False) -> Tensor:
    """The rotation nearest to a 3x3 matrix (Frobenius), by SVD.

    Args:
        matrix: (..., 3, 3).
        reflection: allow det -1.

    Returns:
        (..., 3, 3).
    """
    check_shape(matrix, (3, 3), "matrix")
    dtype = working_dtype(matrix)
    flat = matrix.to(torch.float64).reshape(matrix.shape[:-2].numel(), 3, 3)
    return _NearestRotation.apply(flat, reflection).view(matrix.shape).to(dtype)


def procrustes(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    scale: bool = True,
    reflection: bool = False,
) -> Similarity:
    """The similarity that brings `source` nearest to `target` in the least-squares sense.

    Args:
        source, target: (..., J, 3), leading dimensions broadcast.
        weights: (..., J), not negative; None = all 1. Points of weight 0 may hold anything finite.
        scale: find the scale too; else it is 1.
        reflection: also allow mirror images.

    Returns:
        Similarity; the scale of a source without extent is 0.

    Raises:
        ValueError: shapes do not fit.
    """
    check_shape(source, (3,), "source")
    if source.dim() < 2 or target.dim() < 2 or source.shape[-2:] != target.shape[-2:]:
        raise ValueError(f"source and target must both be (..., J, 3): {tuple(source.shape)} and {tuple(target.shape)}")
    if weights is not None:
        check_shape(weights, (source.shape[-2],), "weights")
    dtype = working_dtype(source, target)
    x, y = source.to(torch.float64), target.to(torch.float64)
    w = torch.ones_like(x[..., 0]) if weights is None else weights.to(torch.float64)
    w = (w / w.sum(-1, keepdim=True).clamp(min=1e-30))[..., None]
    mean_x, mean_y = (w * x).sum(-2), (w * y).sum(-2)
    x, y = x - mean_x[..., None, :], y - mean_y[..., None, :]
    covariance = (w * y).mT @ x  # float64: autocast leaves it alone
    batch = covariance.shape[:-2]
    rotation = _NearestRotation.apply(covariance.reshape(batch.numel(), 3, 3), reflection).view(*batch, 3, 3)
    if scale:
        spread = (w * x * x).sum((-1, -2))
        size = (rotation * covariance).sum((-1, -2)) / spread.clamp(min=1e-30)
    else:
        size = torch.ones_like(covariance[..., 0, 0])
    translation = mean_y - size[..., None] * rotate(rotation, mean_x[..., None, :])[..., 0, :]
    return Similarity(rotation.to(dtype), size.to(dtype), translation.to(dtype))


def align(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    scale: bool = True,
    reflection: bool = False,
) -> Tensor:
    """`source` moved onto `target`; arguments as in `procrustes`. (..., J, 3)."""
    return procrustes(source, target, weights, scale, reflection).apply(source)
