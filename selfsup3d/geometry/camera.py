"""Cameras: pinhole, its crops and mirror images, distortion, and the simplified cameras of lifting methods.

Camera frame of OpenCV: +x right, +y down, +z forward, metres. Pixels are (x, y) with centres at +0.5, so an image of
width W spans [0, W]. Intrinsics K (..., 3, 3) are [[fx, skew, cx], [0, fy, cy], [0, 0, 1]]. Points (..., J, 3) share the
leading dimensions of their camera, which broadcast.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from selfsup3d.geometry.rotation import minimal_rotation, multiply, rotate, rotation_about
from selfsup3d.geometry.shapes import broadcast_batch, check_shape, full_precision

__all__ = [
    "apply_intrinsics",
    "crop_intrinsics",
    "default_intrinsics",
    "distort",
    "inverse_orthographic",
    "inverse_unit_pinhole",
    "mirror_camera",
    "normalize_pixels",
    "orbit_rotation",
    "orthographic",
    "project",
    "transform",
    "unit_pinhole",
    "unproject",
    "virtual_camera_rotation",
    "weak_perspective",
]

MIN_DEPTH = 0.01
"""Metres. Nearer points, and points behind the camera, are projected as if they stood here."""


def transform(points: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """`rotation @ p + translation`: (..., J, 3), (..., 3, 3), (..., 3) -> (..., J, 3)."""
    check_shape(translation, (3,), "translation")
    return rotate(rotation, points) + translation[..., None, :]


# --------------------------------------------------------------------------------------------------------------------
# Pinhole
# --------------------------------------------------------------------------------------------------------------------


def apply_intrinsics(normalized: Tensor, K: Tensor) -> Tensor:
    """Points on the plane z = 1 to pixels: (..., J, 2), (..., 3, 3) -> (..., J, 2) px."""
    check_shape(normalized, (2,), "normalized points")
    check_shape(K, (3, 3), "K")
    x, y = normalized.unbind(-1)
    k = K[..., None, :, :]
    return torch.stack((k[..., 0, 0] * x + k[..., 0, 1] * y + k[..., 0, 2], k[..., 1, 1] * y + k[..., 1, 2]), dim=-1)


def normalize_pixels(pixels: Tensor, K: Tensor) -> Tensor:
    """Pixels to the plane z = 1, undoing `apply_intrinsics`."""
    check_shape(pixels, (2,), "pixels")
    check_shape(K, (3, 3), "K")
    k = K[..., None, :, :]
    y = (pixels[..., 1] - k[..., 1, 2]) / k[..., 1, 1]
    x = (pixels[..., 0] - k[..., 0, 2] - k[..., 0, 1] * y) / k[..., 0, 0]
    return torch.stack((x, y), dim=-1)


def project(points: Tensor, K: Tensor, min_depth: float = MIN_DEPTH) -> Tensor:
    """Perspective projection.

    Args:
        points: (..., J, 3) camera frame, metres.
        K: (..., 3, 3) px.
        min_depth: metres; smaller depths count as this one, so the result and its gradient stay finite. There the
            gradient with respect to depth is zero.

    Returns:
        (..., J, 2) px.
    """
    check_shape(points, (3,), "points")
    depth = points[..., 2:].clamp(min=min_depth)
    return apply_intrinsics(points[..., :2] / depth, K)


def unproject(pixels: Tensor, depth: Tensor, K: Tensor) -> Tensor:
    """Pixels at known depths to the camera frame: (..., J, 2) px, (..., J) m, (..., 3, 3) -> (..., J, 3) m."""
    depth = depth[..., None]
    return torch.cat((normalize_pixels(pixels, K) * depth, depth.expand(*pixels.shape[:-1], 1)), dim=-1)


def default_intrinsics(
    size: int | tuple[int, int],
    field_of_view: float = math.radians(30.0),
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """K of a camera about which nothing is known: square pixels, the principal point in the middle.

    Args:
        size: side, or (height, width), px.
        field_of_view: angle over the longer side, radians [ours: 30 degrees, a person's crop at the usual distances].
        dtype, device: of the result.

    Returns:
        (3, 3).
    """
    if not 0 < field_of_view < math.pi:
        raise ValueError(f"field_of_view must lie in (0, pi) radians, got {field_of_view}")
    height, width = (size, size) if isinstance(size, int) else size
    focal = 0.5 * max(height, width) / math.tan(field_of_view / 2)
    rows = [[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=dtype, device=device)


def crop_intrinsics(K: Tensor, offset: Tensor, scale: Tensor | float) -> Tensor:
    """K of a crop that is then resized: pixels map as x' = scale (x - offset), so K' = S (K - offset).

    Args:
        K: (..., 3, 3) of the full image.
        offset: (..., 2) px, the crop's upper left corner (x, y) in the full image.
        scale: (...) or (..., 2) (x, y), crop pixels per image pixel. A last dimension of 2 beside an `offset` of as
            many dimensions is read as (x, y).

    Returns:
        (..., 3, 3).
    """
    check_shape(K, (3, 3), "K")
    check_shape(offset, (2,), "offset")
    scale = torch.as_tensor(scale, dtype=K.dtype, device=K.device)
    per_axis = scale.dim() >= 1 and scale.shape[-1] == 2 and scale.dim() == offset.dim()
    scale = scale if per_axis else scale[..., None]
    batch = broadcast_batch(K[..., 0, 0], offset[..., 0], scale[..., 0])
    factors = torch.cat((scale.expand(*batch, 2), torch.ones(*batch, 1, dtype=K.dtype, device=K.device)), -1)
    shift = torch.nn.functional.pad(offset[..., :, None], (2, 0, 0, 1))  # the third column of a (..., 3, 3)
    return factors[..., :, None] * (K - shift)


def mirror_camera(
    rotation: Tensor, translation: Tensor, K: Tensor, width: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    """The camera that sees the mirrored body in the mirrored image (x -> width - x).

    R -> diag(-1, 1, 1) R diag(1, -1, 1), t_x -> -t_x, c_x -> width - c_x. Joints swap sides besides
    (`kinematics.mirror_joints`, body frame: axis 1).

    Args:
        rotation: (..., 3, 3) body -> camera.
        translation: (..., 3) metres.
        K: (..., 3, 3) px.
        width: of the image, px; a number or (...).

    Returns:
        The three, mirrored.
    """
    check_shape(rotation, (3, 3), "rotation")
    check_shape(translation, (3,), "translation")
    check_shape(K, (3, 3), "K")
    image, body = rotation.new_tensor([-1.0, 1.0, 1.0]), rotation.new_tensor([1.0, -1.0, 1.0])
    skew_sign = K.new_tensor([[1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    corner = K.new_zeros(3, 3)
    corner[0, 2] = 1.0
    width = torch.as_tensor(width, dtype=K.dtype, device=K.device)[..., None, None]
    mirrored = image[:, None] * rotation * body
    return mirrored, translation * image.to(translation.dtype), K * skew_sign + width * corner


def orbit_rotation(azimuth: Tensor | float, elevation: Tensor | float, roll: Tensor | float = 0.0) -> Tensor:
    """Body -> camera rotation of a camera that orbits the body and looks at it.

    The camera stands in the direction (cos e cos a, cos e sin a, sin e) of the body frame: azimuth 0 is in front of the
    person (+X), pi/2 on the person's left (+Y); elevation > 0 is above, looking down. Its image is upright (+Z up)
    at roll 0; a positive roll turns the image clockwise. With translation (0, 0, d) the body stands d metres ahead.

    Args:
        azimuth, elevation, roll: (...) radians, broadcast.

    Returns:
        (..., 3, 3), its rows the camera's right, down and forward axes in the body frame. float64 only where an input is.
    """
    angles = [full_precision(torch.as_tensor(angle)) for angle in (azimuth, elevation, roll)]
    tensors = [angle for angle in angles if angle.dim()] or angles
    dtype = torch.float64 if any(angle.dtype == torch.float64 for angle in tensors) else torch.float32
    device = tensors[0].device
    a, e, r = torch.broadcast_tensors(*(angle.to(dtype=dtype, device=device) for angle in angles))
    zero = torch.zeros_like(a)
    right = (-a.sin(), a.cos(), zero)
    down = (e.sin() * a.cos(), e.sin() * a.sin(), -e.cos())
    forward = (-e.cos() * a.cos(), -e.cos() * a.sin(), -e.sin())
    upright = torch.stack((*right, *down, *forward), dim=-1).unflatten(-1, (3, 3))
    return multiply(rotation_about("z", r), upright)


def virtual_camera_rotation(center: Tensor, K: Tensor) -> Tensor:
    """Rotation from the real camera's frame to that of a virtual one that looks through a pixel.

    A crop shows the person as the virtual camera through its centre does; poses predicted there are turned back by the
    transpose when the full image's K is known.

    Args:
        center: (..., 2) px.
        K: (..., 3, 3) of the full image.

    Returns:
        (..., 3, 3), taking the ray through `center` to +z by the smallest angle.
    """
    ray = torch.nn.functional.pad(normalize_pixels(center[..., None, :], K)[..., 0, :], (0, 1), value=1.0)
    return minimal_rotation(ray, torch.tensor([0.0, 0.0, 1.0], dtype=ray.dtype, device=ray.device))


# --------------------------------------------------------------------------------------------------------------------
# Lens distortion
# --------------------------------------------------------------------------------------------------------------------

Lens = Literal["h36m", "opencv"]


def distort(normalized: Tensor, radial: Tensor, tangential: Tensor, lens: Lens = "h36m") -> Tensor:
    """Apply lens distortion to points on the plane z = 1.

    With r2 = x^2 + y^2 and R = 1 + k1 r2 + k2 r2^2 + k3 r2^3:
    "opencv" (Brown-Conrady): x' = x R + 2 p1 x y + p2 (r2 + 2 x^2), y' = y R + p1 (r2 + 2 y^2) + 2 p2 x y;
    "h36m" (how the public tools for Human3.6M read its calibration): x' = x (R + p1 y + p2 x) + p2 r2, y' likewise with p1 r2:
    the products are counted once.

    Args:
        normalized: (..., J, 2).
        radial: (..., 3) k1, k2, k3.
        tangential: (..., 2) p1, p2.
        lens: which of the two formulas the coefficients were fitted with.

    Returns:
        (..., J, 2).
    """
    check_shape(normalized, (2,), "normalized points")
    check_shape(radial, (3,), "radial")
    check_shape(tangential, (2,), "tangential")
    if lens not in ("h36m", "opencv"):
        raise ValueError(f"lens must be 'h36m' or 'opencv', got {lens!r}")
    squared = (normalized * normalized).sum(-1, keepdim=True)
    k, p = radial[..., None, :], tangential[..., None, :]
    gain = 1 + squared * (k[..., 0:1] + squared * (k[..., 1:2] + squared * k[..., 2:3]))
    swapped = p.flip(-1)  # (p2, p1), the coefficients of x and y
    products = (normalized * swapped).sum(-1, keepdim=True)
    return normalized * (gain + (1 if lens == "h36m" else 2) * products) + swapped * squared


# --------------------------------------------------------------------------------------------------------------------
# Simplified cameras
# --------------------------------------------------------------------------------------------------------------------


def weak_perspective(points: Tensor, depth: Tensor, K: Tensor) -> Tensor:
    """Perspective with one depth for all points: px = K (x / depth, y / depth, 1).

    Args:
        points: (..., J, 3) camera frame, metres.
        depth: (...) metres, usually the root's; clamped at `MIN_DEPTH`.
        K: (..., 3, 3) px.

    Returns:
        (..., J, 2) px.
    """
    check_shape(points, (3,), "points")
    return apply_intrinsics(points[..., :2] / depth.clamp(min=MIN_DEPTH)[..., None, None], K)


def orthographic(points: Tensor, scale: Tensor | float = 1.0, shift: Tensor | float = 0.0) -> Tensor:
    """scale (x, y) + shift: (..., J, 3), (...), (..., 2) -> (..., J, 2)."""
    check_shape(points, (3,), "points")
    scale, shift = _scale_and_shift(points, scale, shift)
    return scale * points[..., :2] + shift


def inverse_orthographic(pixels: Tensor, z: Tensor, scale: Tensor | float = 1.0, shift: Tensor | float = 0.0) -> Tensor:
    """Points (..., J, 3) at depths z (..., J) that `orthographic` sends to `pixels` (..., J, 2)."""
    check_shape(pixels, (2,), "pixels")
    scale, shift = _scale_and_shift(pixels, scale, shift)
    return torch.cat(((pixels - shift) / scale, z[..., None]), dim=-1)


def _scale_and_shift(like: Tensor, scale: Tensor | float, shift: Tensor | float) -> tuple[Tensor, Tensor]:
    scale = torch.as_tensor(scale, dtype=like.dtype, device=like.device)
    shift = torch.as_tensor(shift, dtype=like.dtype, device=like.device)
    return scale[..., None, None], shift[..., None, :] if shift.dim() else shift


def unit_pinhole(points: Tensor, distance: float, min_depth: float = 1.0) -> Tensor:
    """The camera of unsupervised lifters: focal length 1, `distance` in front of a root-relative pose.

    (x, y) / max(distance + z, min_depth); Chen et al. 2019 take distance 10 for poses whose head length is 1 unit.

    Args:
        points: (..., J, 3) root-relative.
        distance: to the root, in the points' unit.
        min_depth: smaller depths count as this one (zero gradient with respect to z there).

    Returns:
        (..., J, 2) on the plane z = 1.
    """
    check_shape(points, (3,), "points")
    return points[..., :2] / (points[..., 2:] + distance).clamp(min=min_depth)


def inverse_unit_pinhole(normalized: Tensor, z: Tensor, distance: float, min_depth: float = 1.0) -> Tensor:
    """Lift (..., J, 2) to root-relative (..., J, 3) given depth offsets z (..., J); undoes `unit_pinhole`."""
    check_shape(normalized, (2,), "normalized points")
    z = z[..., None]
    return torch.cat((normalized * (z + distance).clamp(min=min_depth), z), dim=-1)
