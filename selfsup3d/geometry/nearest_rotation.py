"""The rotation nearest to a 3x3 matrix, batched and differentiable: the heart of every alignment.

Write H = U diag(s1, s2, s3) V^T with rotations U, V, so s1 >= s2 >= |s3| and s3 has the sign of det H. The rotation R that
maximises tr(R^T H) is U V^T, and m = tr(R^T H) = s1 + s2 + s3 is the largest root of Horn's quartic (Horn 1987; Theobald
2005) with F = |H|^2:

    (m^2 - F)^2 - 8 det(H) m - 4 |cof H|^2 = 0.

The singular values themselves are not needed: each satisfies a s_i + m s_j s_k - s_i^3 = c with a = (m^2 + F) / 2 and
c = (s1 + s2)(s2 + s3)(s3 + s1) = m (m^2 - F) / 2 - det H, hence

    R = (a H + m cof H - H H^T H) / c.

All of it is a few elementwise operations in float64. Where c is small (points near a line; mirror images with s2 near
-s3) or the root has not settled, an SVD takes over. The derivative follows from R^T H being symmetric, see
`_NearestRotation.backward`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfsup3d.geometry.shapes import batch_first, batch_last, check_shape, working_dtype

__all__ = ["nearest_rotation", "nearest_rotation_and_trace", "nearest_rotation_svd"]

DAMPING = 1e-4
"""Relative to tr(R^T H): sums of two singular values far below this share no longer add to gradients."""
ITERATIONS = 5
"""Of Laguerre's method; poses need 2 or 3, mirrored ones up to 5, and what has not settled goes to the SVD."""


def nearest_rotation(matrix: Tensor, reflection: bool = False) -> Tensor:
    """The rotation nearest to each matrix (Frobenius norm); where it is not unique, one of them.

    Args:
        matrix: (..., 3, 3).
        reflection: take the nearest orthogonal matrix, det -1 included.

    Returns:
        (..., 3, 3), the dtype of `matrix` (at least float32). Gradients are finite for every finite matrix: at most
        1 / (2 DAMPING tr(R^T H)).
    """
    check_shape(matrix, (3, 3), "matrix")
    rows = batch_last(matrix, matrix.shape[:-2], 2).to(torch.float64)
    rotation, _ = nearest_rotation_and_trace(rows, reflection)
    return batch_first(rotation, matrix.shape[:-2], 2).to(working_dtype(matrix))


def nearest_rotation_and_trace(matrix: Tensor, reflection: bool = False) -> tuple[Tensor, Tensor]:
    """`nearest_rotation` with the batch last: (3, 3, N) float64 H -> R (3, 3, N) and tr(R^T H) (N)."""
    rotation, trace = _NearestRotation.apply(matrix, reflection)
    return rotation, trace


def nearest_rotation_svd(matrix: Tensor, reflection: bool = False) -> Tensor:
    """The plain reference: U diag(1, 1, det(U V^T)) V^T from the SVD (Kabsch 1976). (..., 3, 3)."""
    u, _, vh = torch.linalg.svd(matrix)
    if not reflection:
        sign = torch.linalg.det(u @ vh).sign()
        u = torch.cat((u[..., :2], u[..., 2:] * sign[..., None, None]), dim=-1)
    return u @ vh


class _NearestRotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, reflection: bool) -> tuple[Tensor, Tensor]:
        if reflection:  # the best reflection of H is minus the best rotation of -H, and better exactly where det H < 0
            sign = torch.where((matrix[0] * _cofactors(matrix)[0]).sum(0) < 0, -1.0, 1.0).to(matrix.dtype)
            rotation, trace = _closed_form(sign * matrix)
            rotation = sign * rotation
        else:
            rotation, trace = _closed_form(matrix)
        ctx.save_for_backward(matrix, rotation)
        return rotation, trace

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rotation: Tensor, grad_trace: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """With S = R^T H symmetric and dR = R [u]: (tr(S) I - S) u = axial(R^T dH - dH^T R), and d tr(R^T H) = R : dH.

        P = tr(S) I - S has the eigenvalues s_i + s_j >= 0. They vanish where the best rotation is not unique, so the
        inverse 1/p is damped to p / (p^2 + e^2). P is symmetric: the adjoint is the same solve.
        """
        matrix, rotation = ctx.saved_tensors
        product = _matmul(rotation.transpose(0, 1), matrix)
        symmetric = (product + product.transpose(0, 1)) / 2
        size = (symmetric[0, 0] + symmetric[1, 1] + symmetric[2, 2]).clamp(min=1e-30)
        symmetric = symmetric / size
        eye = torch.eye(3, dtype=matrix.dtype, device=matrix.device)[..., None]
        pairs = (symmetric[0, 0] + symmetric[1, 1] + symmetric[2, 2]) * eye - symmetric
        damped = _matmul(pairs, pairs) + DAMPING**2 * eye
        relative = _matmul(rotation.transpose(0, 1), grad_rotation)
        axial = torch.stack(
            (relative[2, 1] - relative[1, 2], relative[0, 2] - relative[2, 0], relative[1, 0] - relative[0, 1])
        )
        cofactors = _cofactors(damped)
        solved = (cofactors * axial).sum(1) / (damped[0] * cofactors[0]).sum(0)
        x, y, z = (pairs * solved).sum(1) / size
        zero = torch.zeros_like(size)
        skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero)).unflatten(0, (3, 3))
        return _matmul(rotation, skew) + grad_trace * rotation, None


def _closed_form(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """R and tr(R^T H) by the formula of the module, for (3, 3, N) float64; by SVD where that is not trustworthy."""
    cofactors = _cofactors(matrix)
    gram = _matmul(matrix, matrix.transpose(0, 1))  # H H^T
    norm = gram[0, 0] + gram[1, 1] + gram[2, 2]
    det = (matrix[0] * cofactors[0]).sum(0)
    trace, step = _largest_root(norm, det, (cofactors * cofactors).flatten(0, 1).sum(0))

    half = (trace * trace - norm) / 2  # s1 s2 + s2 s3 + s3 s1
    gaps = trace * half - det  # (s1 + s2)(s2 + s3)(s3 + s1)
    rotation = torch.addcmul(trace * cofactors, half + norm, matrix).sub_(_matmul(gram, matrix)).div_(gaps)

    settled = (step.abs() <= 1e-6 * trace) & (gaps >= 1e-4 * trace**3) & (trace > 1e-60)
    others = (~settled & norm.isfinite()).nonzero().flatten()  # NaN stays NaN
    if len(others):
        hard = matrix[..., others]
        found = nearest_rotation_svd(hard.movedim(-1, 0)).movedim(0, -1)
        rotation[..., others] = found
        trace[others] = (found * hard).sum((0, 1))
    return rotation, trace


def _largest_root(norm: Tensor, det: Tensor, minors: Tensor) -> tuple[Tensor, Tensor]:
    """The largest root of (m^2 - norm)^2 - 8 det m - 4 minors, and the last step taken towards it; all (N).

    Laguerre's method from an upper bound: all four roots are real, so it converges monotonically and cubically. The
    bound: m^2 = norm + 2 e with e^2 = minors + 2 det m and m^2 <= 3 norm.
    """
    bound = minors + 2 * det.clamp(min=0) * (3 * norm).sqrt()
    root = (norm + 2 * bound.sqrt()).sqrt()
    linear, quarter, constant = -8 * det, -2 * det, -4 * minors
    step = torch.zeros_like(root)
    for _ in range(ITERATIONS):
        squared = root * root
        beyond = squared - norm
        value = torch.addcmul(torch.addcmul(constant, linear, root), beyond, beyond)
        slope = torch.addcmul(quarter, beyond, root)  # a quarter of the derivative
        bend = torch.add(beyond, squared, alpha=2)  # a quarter of the second derivative
        under = torch.addcmul(slope * slope, value, bend, value=-1 / 3).clamp_(min=0).sqrt_()
        step = value / torch.add(slope, under, alpha=3)
        root = root - step
    return root, step


def _matmul(first: Tensor, second: Tensor) -> Tensor:
    """Matrix products with the batch last: (3, 3, N), (3, 3, N) -> (3, 3, N); summed in place, the memory being new."""
    x, y, z = first.split(1, dim=1)  # columns (3, 1, N)
    return (x * second[0]).addcmul_(y, second[1]).addcmul_(z, second[2])


def _cofactors(matrix: Tensor) -> Tensor:
    """(3, 3, N) -> (3, 3, N): C[i, j] = H[i+1, j+1] H[i+2, j+2] - H[i+1, j+2] H[i+2, j+1], indices modulo 3.

    Rows are cross products of pairs of rows, and cof H = det(H) H^-T.
    """
    wrapped = torch.cat((matrix, matrix[:2]))
    wrapped = torch.cat((wrapped, wrapped[:, :2]), dim=1)
    next_, after = slice(1, 4), slice(2, 5)
    return torch.addcmul(
        wrapped[next_, next_] * wrapped[after, after], wrapped[next_, after], wrapped[after, next_], value=-1
    )
