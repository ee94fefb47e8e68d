"""The cycle of self-supervised lifters: lift, rotate, project, lift again, rotate back, project.

A pose lifted rightly looks like a pose from every other side, and lifted from there it is the same pose again. Each
intermediate is returned; losses pick what their paper compares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from selfsup3d.geometry.rotation import rotate

__all__ = ["Cycle", "cycle"]


class Cycle(NamedTuple):
    """All views of a cycle, V rotations of each of B poses.

    Attributes:
        lifted: (B, J, 3) root-relative, lifted from the observed points.
        rotated: (B, V, J, 3) `lifted`, rotated.
        view: (B, V, J, 2) its projection.
        relifted: (B, V, J, 3) lifted from that projection; compared with `rotated`.
        returned: (B, V, J, 3) `relifted`, rotated back; compared with `lifted`.
        reprojected: (B, V, J, 2) its projection; compared with the observed points.
    """

    lifted: Tensor
    rotated: Tensor
    view: Tensor
    relifted: Tensor
    returned: Tensor
    reprojected: Tensor


def cycle(
    lift: Callable[[Tensor], Tensor],
    project: Callable[[Tensor], Tensor],
    points: Tensor,
    rotations: Tensor,
    lifted: Tensor | None = None,
) -> Cycle:
    """Run the cycle.

    Args:
        lift: (N, J, 2) -> (N, J, 3) root-relative.
        project: (..., J, 3) -> (..., J, 2), what `lift` inverts.
        points: (B, J, 2) observed.
        rotations: (B, V, 3, 3) rotations about the root.
        lifted: (B, J, 3) where `lift(points)` is at hand already.
    """
    first = lift(points) if lifted is None else lifted
    rotated = rotate(rotations, first[:, None])
    view = project(rotated)
    relifted = lift(view.flatten(0, 1)).view(rotated.shape)
    returned = rotate(rotations.transpose(-1, -2), relifted)
    return Cycle(first, rotated, view, relifted, returned, project(returned))
