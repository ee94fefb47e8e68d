"""Rotations: matrices, 6D, axis-angle, the minimal rotation between directions, and samplers.

Any leading batch dimensions, float32 and float64, empty batches. A rotation matrix acts on column vectors,
`rotated = R @ v`; angles are in radians. Products are written out in elementwise operations, so that autocast never
rounds a rotation to bfloat16; half-precision input is raised to float32.

Every map here has singular inputs (a zero vector has no direction). They never give NaN or an unbounded gradient: each
function says what it returns there and how large its gradient can get.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from selfsup3d.geometry.shapes import check_shape, full_precision

__all__ = [
    "axis_angle_to_matrix",
    "matrix_to_axis_angle",
    "minimal_rotation",
    "multiply",
    "random_axis_rotation",
    "random_rotation",
    "random_axis_angle",
    "random_view",
    "rotate",
    "rotation_6d_to_matrix",
    "rotation_about",
    "unit",
]

SHORTEST = 1e-3
"""Vectors shorter than this have no direction of their own; gradients of `unit` are at most 1 / SHORTEST."""


def unit(vector: Tensor, dim: int = -1, fallback: int = 0, shortest: float = SHORTEST) -> Tensor:
    """Scale vectors to length 1, with a bounded gradient for every input.

    A vector shorter than `shortest` is first moved by 2 * `shortest` along coordinate axis `fallback`. The result is
    therefore always a unit vector and its gradient is never zero and at most 1 / `shortest`, at the price of a jump at
    |vector| = `shortest` (no map of the ball to the sphere that keeps the sphere is continuous).

    Args:
        vector: (..., D, ...) with D along `dim`.
        dim: the axis of the coordinates.
        fallback: coordinate axis taken by a zero vector.
        shortest: see above; in the unit of `vector`.

    Returns:
        Unit vectors of the same shape.
    """
    vector = full_precision(vector)
    short = (vector * vector).sum(dim, keepdim=True) < shortest**2
    shape = [1] * vector.dim()
    shape[dim] = vector.shape[dim]
    step = torch.zeros(vector.shape[dim], dtype=vector.dtype, device=vector.device)
    step[fallback] = 2.0 * shortest
    vector = torch.addcmul(vector, short.to(vector.dtype), step.view(shape))
    return vector / (vector * vector).sum(dim, keepdim=True).sqrt()


def rotate(matrix: Tensor, points: Tensor) -> Tensor:
    """`matrix @ point` for each point of a set.

    Args:
        matrix: (..., 3, 3).
        points: (..., J, 3).

    Returns:
        (..., J, 3).
    """
    check_shape(matrix, (3, 3), "matrix")
    check_shape(points, (3,), "points")
    columns = matrix[..., None, :, :]  # (..., 1, 3, 3)
    return points[..., 0:1] * columns[..., 0] + points[..., 1:2] * columns[..., 1] + points[..., 2:3] * columns[..., 2]


def multiply(first: Tensor, second: Tensor) -> Tensor:
    """The matrix product `first @ second` (..., 3, 3), unaffected by autocast."""
    return rotate(first, second.transpose(-1, -2)).transpose(-1, -2)


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:
    """Rotation from six numbers: its first two columns before orthonormalisation (Zhou et al. 2019, sec. 4.2).

    Gram-Schmidt: c1 = unit(x), c2 = unit(y - (c1.y) c1), c3 = c1 x c2. A zero x gives c1 = e_x [ours]; where y is zero
    or parallel to x, the coordinate axis least aligned with c1 takes its place [ours]. The result is always a rotation;
    gradients are at most ~ 1 / SHORTEST (its square where both happen at once).

    Args:
        rotation_6d: (..., 6), x then y.

    Returns:
        (..., 3, 3).
    """
    check_shape(rotation_6d, (6,), "rotation_6d")
    rotation_6d = full_precision(rotation_6d)
    first = unit(rotation_6d[..., :3])
    second = rotation_6d[..., 3:]
    rest = second - (first * second).sum(-1, keepdim=True) * first
    other = _perpendicular(first)
    short = (rest * rest).sum(-1, keepdim=True) < SHORTEST**2
    second = unit(torch.where(short, rest + 2.0 * SHORTEST * other, rest))
    # A second pass: after cancellation in `rest`, `second` can be off the perpendicular by rounding.
    second = unit(second - (first * second).sum(-1, keepdim=True) * first)
    return torch.stack((first, second, torch.linalg.cross(first, second)), dim=-1)


def _perpendicular(direction: Tensor) -> Tensor:
    """(..., 3) a unit vector orthogonal to each unit `direction`: the least aligned coordinate axis, made orthogonal."""
    least = direction.detach().abs().argmin(-1, keepdim=True)
    axis = torch.zeros_like(direction).scatter(-1, least, 1.0)
    return unit(axis - (axis * direction).sum(-1, keepdim=True) * direction)


def _skew(vector: Tensor) -> Tensor:
    """(..., 3) -> (..., 3, 3) with `_skew(v) @ w = v x w`."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula, R = I + sin(t)/t [w] + (1 - cos(t))/t^2 [w]^2 with t = |w|, smooth at t = 0.

    Args:
        axis_angle: (..., 3) rotation axis times angle.

    Returns:
        (..., 3, 3).
    """
    check_shape(axis_angle, (3,), "axis_angle")
    axis_angle = full_precision(axis_angle)
    squared = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = squared < 1e-4  # the series below are exact to 1e-16 there
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(small, 1 - squared / 6 * (1 - squared / 20 * (1 - squared / 42)), angle.sin() / angle)
    half = torch.where(small, 0.5 * angle, angle) / 2
    versine = torch.where(
        small, 0.5 - squared / 24 * (1 - squared / 30 * (1 - squared / 56)), 0.5 * (half.sin() / half) ** 2
    )
    skew = _skew(axis_angle)
    identity = torch.eye(3, dtype=skew.dtype, device=skew.device)
    return identity + sine * skew + versine * multiply(skew, skew)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis times angle of a rotation, angle in [0, pi]; accurate near 0 and near pi.

    Through the unit quaternion, read from its largest component (Shepperd 1978). At exactly pi the sign of the axis is
    a choice, and the map jumps there.

    Args:
        matrix: (..., 3, 3) rotations.

    Returns:
        (..., 3).
    """
    check_shape(matrix, (3, 3), "matrix")
    matrix = full_precision(matrix)
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    trace = m[0][0] + m[1][1] + m[2][2]
    # Row k of `rows` is 4 q_k times the quaternion (w, x, y, z).
    xw, yw, zw = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    rows = torch.stack(
        (
            torch.stack((1 + trace, xw, yw, zw), -1),
            torch.stack((xw, 1 + 2 * m[0][0] - trace, xy, xz), -1),
            torch.stack((yw, xy, 1 + 2 * m[1][1] - trace, yz), -1),
            torch.stack((zw, xz, yz, 1 + 2 * m[2][2] - trace), -1),
        ),
        dim=-2,
    )  # (..., 4, 4)
    largest = torch.diagonal(rows, dim1=-2, dim2=-1).detach().argmax(-1)[..., None, None]
    row = rows.gather(-2, largest.expand(*largest.shape[:-1], 4)).squeeze(-2)
    quaternion = row / (row * row).sum(-1, keepdim=True).sqrt()
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    cosine, vector = quaternion[..., :1], quaternion[..., 1:]
    squared = (vector * vector).sum(-1, keepdim=True)
    small = squared < 1e-8
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = torch.where(small, 2 + squared / 3, 2 * torch.atan2(sine, cosine) / sine)  # angle / sin(angle / 2)
    return factor * vector


def minimal_rotation(start: Tensor, end: Tensor) -> Tensor:
    """The rotation by the smallest angle that takes one direction to another.

    Two half-turns, first about `start` and then about the middle m = unit(start + end): R = (2 m m^T - I)(2 a a^T - I).
    Beyond 178.2 degrees (cosine below -0.9995) the data no longer determine the axis: the rotation goes round by half a
    turn about a fixed axis orthogonal to `start` and then minimally [ours]. It still takes `start` to `end` exactly; it
    jumps at the switch. Gradients are at most ~ 100.

    Args:
        start, end: (..., 3), any length.

    Returns:
        (..., 3, 3).
    """
    check_shape(start, (3,), "start")
    check_shape(end, (3,), "end")
    start, end = torch.broadcast_tensors(unit(start), unit(end))
    opposite = (start * end).sum(-1, keepdim=True) < -0.9995
    near = torch.where(opposite, -start, start)
    rotation = multiply(_half_turn(unit(near + end)), _half_turn(near))
    round_about = multiply(rotation, _half_turn(_perpendicular(start)))
    return torch.where(opposite[..., None], round_about, rotation)


def _half_turn(axis: Tensor) -> Tensor:
    """2 m m^T - I for unit axes (..., 3) -> (..., 3, 3)."""
    identity = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return 2 * axis[..., :, None] * axis[..., None, :] - identity


def rotation_about(axis: Literal["x", "y", "z"], angle: Tensor | float) -> Tensor:
    """Rotation by `angle` about a coordinate axis, counter-clockwise seen from its tip.

    Args:
        axis: "x", "y" or "z".
        angle: (...) radians.

    Returns:
        (..., 3, 3).
    """
    if axis not in ("x", "y", "z"):
        raise ValueError(f"axis must be 'x', 'y' or 'z', got {axis!r}")
    angle = torch.as_tensor(angle)
    angle = angle if angle.is_floating_point() else angle.to(torch.get_default_dtype())
    cosine, sine = angle.cos(), angle.sin()
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    rows = {
        "x": (one, zero, zero, zero, cosine, -sine, zero, sine, cosine),
        "y": (cosine, zero, sine, zero, one, zero, -sine, zero, cosine),
        "z": (cosine, -sine, zero, sine, cosine, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


# --------------------------------------------------------------------------------------------------------------------
# Samplers: pure functions of uniforms in [0, 1), which come from `draws.RandomStreams` in training or from a generator
# --------------------------------------------------------------------------------------------------------------------


def _direction(uniforms: Tensor) -> Tensor:
    """(..., 2) uniforms -> (..., 3) directions, uniform on the sphere (Archimedes: the height is uniform)."""
    height = 2 * uniforms[..., 0] - 1
    radius = (1 - height * height).clamp(min=0).sqrt()
    longitude = 2 * math.pi * uniforms[..., 1]
    return torch.stack((radius * longitude.cos(), radius * longitude.sin(), height), dim=-1)


def random_rotation(uniforms: Tensor) -> Tensor:
    """Rotations uniform over SO(3), by the subgroup algorithm (Shoemake, Graphics Gems III, 1992).

    Args:
        uniforms: (..., 3) in [0, 1).

    Returns:
        (..., 3, 3).
    """
    check_shape(uniforms, (3,), "uniforms")
    u, v, w = uniforms.unbind(-1)
    outer, inner = (1 - u).sqrt(), u.sqrt()
    a, b, c, d = (  # the unit quaternion x, y, z, w
        outer * (2 * math.pi * v).sin(),
        outer * (2 * math.pi * v).cos(),
        inner * (2 * math.pi * w).sin(),
        inner * (2 * math.pi * w).cos(),
    )
    return torch.stack(
        (
            1 - 2 * (b * b + c * c),
            2 * (a * b - c * d),
            2 * (a * c + b * d),
            2 * (a * b + c * d),
            1 - 2 * (a * a + c * c),
            2 * (b * c - a * d),
            2 * (a * c - b * d),
            2 * (b * c + a * d),
            1 - 2 * (a * a + b * b),
        ),
        dim=-1,
    ).unflatten(-1, (3, 3))


def random_axis_angle(uniforms: Tensor, largest: float = math.pi) -> Tensor:
    """Rotations about an axis uniform on the sphere, by an angle uniform in [0, `largest`).

    Not uniform over SO(3): small angles are favoured (the sampler of Xu et al. 2021, ITES).

    Args:
        uniforms: (..., 3) in [0, 1).
        largest: radians.

    Returns:
        (..., 3, 3).
    """
    check_shape(uniforms, (3,), "uniforms")
    return axis_angle_to_matrix(largest * uniforms[..., :1] * _direction(uniforms[..., 1:]))


def random_axis_rotation(
    uniforms: Tensor, axis: Literal["x", "y", "z"], low: float = 0.0, high: float = 2 * math.pi
) -> Tensor:
    """Rotations about one coordinate axis by an angle uniform in [low, high) radians; (...) -> (..., 3, 3)."""
    return rotation_about(axis, low + (high - low) * uniforms)


def random_view(
    uniforms: Tensor,
    azimuth: tuple[float, float] = (-math.pi, math.pi),
    elevation: tuple[float, float] = (-math.pi / 9, math.pi / 9),
) -> Tensor:
    """Another view of a pose in the camera frame (+y down): a turn about y, then about x (Chen et al. 2019, sec. 3).

    Args:
        uniforms: (..., 2) in [0, 1).
        azimuth, elevation: ranges in radians.

    Returns:
        (..., 3, 3) = Rx(elevation) @ Ry(azimuth).
    """
    check_shape(uniforms, (2,), "uniforms")
    turn = random_axis_rotation(uniforms[..., 0], "y", *azimuth)
    tilt = random_axis_rotation(uniforms[..., 1], "x", *elevation)
    return multiply(tilt, turn)
