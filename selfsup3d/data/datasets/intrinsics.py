"""A pinhole found from the same joints in 3D and in pixels, for datasets that give both but no calibration."""

from __future__ import annotations

import numpy as np

from selfsup3d.errors import InputError

__all__ = ["fit_intrinsics"]


def fit_intrinsics(joints_3d: np.ndarray, joints_2d: np.ndarray, source: str, tolerance: float = 5.0) -> np.ndarray:
    """K (3, 3) by least squares of u = f_x x/z + c_x and v = f_y y/z + c_y over all joints; no skew.

    Args:
        joints_3d: (..., 3) camera frame, any unit.
        joints_2d: (..., 2) px.
        source: what an error calls the data.
        tolerance: largest median error that still counts as a pinhole, px.

    Raises:
        InputError: too few joints, or no pinhole fits (then the joint orders or frames do not belong together).
    """
    points = np.asarray(joints_3d, dtype=np.float64).reshape(-1, 3)
    pixels = np.asarray(joints_2d, dtype=np.float64).reshape(-1, 2)
    usable = np.isfinite(points).all(-1) & np.isfinite(pixels).all(-1) & (points[:, 2] > 1e-6)
    points, pixels = points[usable], pixels[usable]
    if len(points) < 6:
        raise InputError(f"{source}: {len(points)} usable joints are too few to find the camera from")
    K = np.eye(3)
    errors = []
    for axis in range(2):
        design = np.stack([points[:, axis] / points[:, 2], np.ones(len(points))], -1)
        (K[axis, axis], K[axis, 2]), *_ = np.linalg.lstsq(design, pixels[:, axis], rcond=None)
        errors.append(design @ K[axis, [axis, 2]] - pixels[:, axis])
    error = float(np.median(np.hypot(*errors)))
    if not error < tolerance or not (K[0, 0] > 0 and K[1, 1] > 0):
        raise InputError(
            f"{source}: no camera sends its 3D joints to its 2D joints (median error {error:.1f} px); "
            "the two do not belong together"
        )
    return K
