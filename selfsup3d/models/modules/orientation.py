"""What lifters with canonical poses share: rotations as their networks give them, and rotated views lifted again.

A rotation is given as axis times angle, or as two columns, which have no jump anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from selfsup3d.geometry.rotation import axis_angle_to_matrix, rotate, rotation_6d_to_matrix

__all__ = ["ROTATION_NUMBERS", "RotationKind", "lifted_again", "predicted_rotation"]

RotationKind = Literal["so3", "6d"]

ROTATION_NUMBERS: dict[RotationKind, int] = {"so3": 3, "6d": 6}
"""How many numbers give a rotation."""

_IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def predicted_rotation(numbers: Tensor, kind: RotationKind) -> Tensor:
    """(..., 3 or 6) -> (..., 3, 3), of zeros the identity.

    "so3" = axis times angle, which jumps at half a revolution; "6d" = two columns (Zhou et al. 2019), added to those of the
    identity **[ours]**.
    """
    if kind == "so3":
        return axis_angle_to_matrix(numbers)
    return rotation_6d_to_matrix(numbers + numbers.new_tensor(_IDENTITY_6D))


def lifted_again(
    estimate: Callable[[Tensor], tuple[Tensor, Tensor]],
    project: Callable[[Tensor], Tensor],
    pose: Tensor,
    rotations: Tensor,
) -> tuple[Tensor, Tensor]:
    """What a lifter with canonical poses finds in the images of rotated poses.

    Args:
        estimate: (N, 17, 2) -> canonical poses (N, 17, 3) and rotations (N, 3, 3).
        project: (..., 17, 3) -> (..., 17, 2).
        pose: (B, 17, 3) lifted.
        rotations: (B, V, 3, 3).

    Returns:
        Canonical poses (B, V, 17, 3), right where they do not depend on the view; and poses (B, V, 17, 3) rotated back,
        right where they are `pose`.
    """
    view = project(rotate(rotations, pose[:, None]))
    canonical, rotation = estimate(view.flatten(0, 1))
    canonical = canonical.view(*view.shape[:2], *canonical.shape[1:])
    found = rotate(rotation.view(rotations.shape), canonical)
    return canonical, rotate(rotations.transpose(-1, -2), found)
