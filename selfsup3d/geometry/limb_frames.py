"""The frame (a, b, n) that each limb carries for its children, for all joints at one depth of the tree at once.

a is the limb's direction, b the side on which "forward" lies, n = a x b. No field of such frames on the sphere is both
continuous and defined everywhere. Two are offered, equal at hips, pelvis and neck:

`parallel_transport` [ours, default]: the parent's frame carried by the minimal rotation from a to a'. Where a limb folds
    back on its parent beyond 161.8 degrees (a.a' < -0.95) it goes round: keep b, turn a to -a, then the minimal rotation
    from -a to a'. It jumps at that switch and nowhere else; |db/da'| <= 7.
`gram_schmidt` (Kundu et al. 2020, suppl.): b = +X made orthogonal to a; where a is within 5.7 degrees of +X or -X, +Z
    instead [ours] (a reference in the mirror plane, so that mirroring still commutes). It jumps at that cone;
    |db/da| <= 10.

Both are orthonormal on either side of their switch, so a limb's coordinates in its parent's frame can be inverted
everywhere. Layout: vectors (J, 3, N) with the batch last, the three axes of a frame as a tuple of such vectors. Sums over
coordinates are written out: that keeps every operation long and contiguous, and equal for one pose or for thousands.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["FRAMES", "Frame", "Frames", "carry", "local_coordinates", "tilted_frame", "to_direction"]

Frames = Literal["parallel_transport", "gram_schmidt"]
FRAMES: tuple[Frames, ...] = ("parallel_transport", "gram_schmidt")

FOLD_COSINE = -0.95
"""`parallel_transport` goes round where the cosine between a limb and its parent is below this."""
CONE_SINE = 0.1
"""`gram_schmidt` takes +Z as its reference where a limb's part orthogonal to +X is shorter than this."""


class Frame(NamedTuple):
    """Orthonormal axes, each (J, 3, N): a along the limb, b across, n = a x b."""

    along: Tensor
    across: Tensor
    normal: Tensor

    def first(self, count: int) -> Frame:
        """The frames of the first `count` joints."""
        return Frame(self.along[:count], self.across[:count], self.normal[:count])


def tilted_frame(cosine: Tensor, sine: Tensor) -> Frame:
    """Frames of limbs (0, cosine, sine) in the YZ plane, where both fields have b = +X: (J, N), (J, N) -> (J, 3, N)."""
    zero = torch.zeros_like(cosine)
    along = torch.stack((zero, cosine, sine), dim=1)
    forward = torch.eye(3, 1, dtype=cosine.dtype, device=cosine.device).expand_as(along)  # +X
    return Frame(along, forward, torch.stack((zero, sine, -cosine), dim=1))


def to_direction(frame: Frame, local: Tensor) -> Tensor:
    """v_x a + v_y b + v_z n: unit local vectors (J, 3, N) -> unit directions (J, 3, N)."""
    x, y, z = local.split(1, dim=1)
    return torch.addcmul(torch.addcmul(frame.along * x, frame.across, y), frame.normal, z)


def local_coordinates(frame: Frame, direction: Tensor) -> Tensor:
    """Coordinates of directions in their parents' frames, undoing `to_direction`; scaled to length 1."""
    local = torch.stack([(axis * direction).sum(1) for axis in frame], dim=1)
    return local / (local * local).sum(1, keepdim=True).sqrt()


def carry(frame: Frame, local: Tensor, limb: Tensor, frames: Frames) -> Frame:
    """Frames of limbs for their children, from the parents' frames and the limbs just placed.

    Args:
        frame: the parents' frames.
        local: (J, 3, N) unit coordinates of the limbs in them.
        limb: (J, 3, N) `to_direction(frame, local)`.
        frames: which field.
    """
    return _transported(frame, local, limb) if frames == "parallel_transport" else _orthogonalized(limb)


def _transported(frame: Frame, local: Tensor, limb: Tensor) -> Frame:
    """Parallel transport: the minimal rotation from a to a' takes c orthogonal to a to c - (c.a')/(1 + a.a') (a + a').

    Going round keeps b, negates a and n (`side` = -1), and does the same from there.
    """
    x, y, z = local.split(1, dim=1)
    side = torch.copysign(torch.ones((), dtype=x.dtype, device=x.device), x.detach() - FOLD_COSINE)
    middle = torch.addcmul(limb, side, frame.along) / (1.0 + side * x)
    across = torch.addcmul(frame.across, y, middle, value=-1)
    normal = side * torch.addcmul(frame.normal, z, middle, value=-1)
    return Frame(limb, across, normal)


def _orthogonalized(limb: Tensor) -> Frame:
    """Gram-Schmidt: X - (a.X) a = (y^2 + z^2, -xy, -xz) for a unit limb a, and Z - (a.Z) a likewise."""
    x, y, z = limb.unbind(1)
    beside_x = y * y + z * z
    cone = (beside_x < CONE_SINE**2)[:, None]
    from_x = torch.stack((beside_x, -x * y, -x * z), dim=1)
    from_z = torch.stack((-x * z, -y * z, x * x + y * y), dim=1)
    across = torch.where(cone, from_z, from_x)
    across = across / (across * across).sum(1, keepdim=True).sqrt()
    bx, by, bz = across.unbind(1)
    return Frame(limb, across, torch.stack((y * bz - z * by, z * bx - x * bz, x * by - y * bx), dim=1))
