"""2D skeletons over images."""

from __future__ import annotations

import cv2
import numpy as np

from selfsup3d.structures.skeleton import H36M_17, Skeleton
from selfsup3d.viz.colours import Colour, bone_colours, heat, joint_colours

__all__ = ["draw_skeleton"]

_SHIFT = 4  # OpenCV draws at 1/16 px
_FAR = 16_000.0  # px; beyond this, fixed-point coordinates would overflow


def draw_skeleton(
    image: np.ndarray,
    joints_2d: np.ndarray,
    confidence: np.ndarray | None = None,
    *,
    skeleton: Skeleton = H36M_17,
    errors: np.ndarray | None = None,
    limit: float = 150.0,
    colour: Colour | None = None,
    thickness: int | None = None,
) -> np.ndarray:
    """Draw one skeleton over an image: left warm, right cool, middle grey.

    Args:
        image: (H, W, 3) uint8 RGB; it is left as it is.
        joints_2d: (J, 2) px, pixel centres at +0.5.
        confidence: (J,); joints at 0, and joints that are not finite, are left out with their bones.
        skeleton: names the bones and the sides.
        errors: (J,) in mm; joints are then coloured by heat from 0 to `limit`.
        limit: mm.
        colour: one colour for everything, instead of the sides'.
        thickness: of the bones in px; None = by the image's size.

    Returns:
        (H, W, 3) uint8, a new image.

    Raises:
        ValueError: shapes or dtype do not fit.
    """
    joints_2d = np.asarray(joints_2d, dtype=np.float64)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected an (H, W, 3) uint8 image, got {image.shape} {image.dtype}")
    if joints_2d.shape != (len(skeleton), 2):
        raise ValueError(f"{skeleton.name} needs joints of shape ({len(skeleton)}, 2), got {joints_2d.shape}")
    canvas = np.ascontiguousarray(image).copy()
    thickness = thickness or max(1, round(min(image.shape[:2]) / 100))
    seen = np.isfinite(joints_2d).all(-1)
    if confidence is not None:
        seen &= np.asarray(confidence) > 0
    points = fixed_point(joints_2d)
    sides = [colour] * len(skeleton.bones) if colour else bone_colours(skeleton)
    for (parent, child), side in zip(skeleton.bones, sides, strict=True):
        if seen[parent] and seen[child]:
            cv2.line(canvas, points[parent], points[child], side, thickness, cv2.LINE_AA, _SHIFT)
    dots = [colour] * len(skeleton) if colour else joint_colours(skeleton)
    if errors is not None:
        dots = [tuple(int(c) for c in row) for row in heat(errors, limit)]  # type: ignore[misc]
    radius = round((thickness * (1.5 if errors is not None else 1.0) + 0.5) * 2**_SHIFT)
    for joint in np.flatnonzero(seen):
        cv2.circle(canvas, points[joint], radius, dots[joint], -1, cv2.LINE_AA, _SHIFT)
    return canvas


def fixed_point(points: np.ndarray) -> list[tuple[int, int]]:
    """Pixels (N, 2), centres at +0.5, as OpenCV's fixed-point coordinates, whose pixel centres are integers."""
    clean = np.nan_to_num(points - 0.5, nan=0.0, posinf=_FAR, neginf=-_FAR).clip(-_FAR, _FAR)
    return [(int(x), int(y)) for x, y in np.rint(clean * 2**_SHIFT)]
