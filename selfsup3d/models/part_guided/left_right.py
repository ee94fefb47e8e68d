"""Left and right: a person's limbs are first found as the image shows them, then assigned to left and right **[ours]**.

Which arm is the left one hangs on a few pixels of the face; where the arms are does not. Heat maps asked for "the left
wrist" stay halfway between both wrists for as long as the face is not understood, and all that reads from those places
is blurred. So the maps are asked for the limb further left *in the image* and the one further right, for arms and legs
apart, and two binary decisions say which is whose. While poses are known, limbs are handed on in their true order, so
that lifting them to 3D is learned along with the decision and not after it.

The left/right assignment (N, 2), bool, of legs and arms: False where the person's right limb is the left one in the
image, as for somebody who faces the camera; True where it is the right one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.structures.skeleton import H36M_17, joint_index

__all__ = ["assignment_of", "assign_limbs"]

_LEGS = tuple(joint_index(f"right_{name}") for name in ("hip", "knee", "ankle"))
_ARMS = tuple(joint_index(f"right_{name}") for name in ("shoulder", "elbow", "wrist"))
_FLIP = H36M_17.flip_order


def assignment_of(points: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The left/right assignment (N, 2) in an image and how far the limbs are apart (N, 2), from joints (N, 17, 2).

    The mean place of each limb counts, along x. Joints that are not `seen` (N, 17) count for nothing, nor do their
    partners; a limb without any has the assignment False, and is 0 apart.
    """
    x = points[..., 0]
    if seen is not None:
        x = torch.where(seen & seen[:, list(_FLIP)], x, 0.0)
    apart = [x[:, [_FLIP[j] for j in limb]].mean(1) - x[:, list(limb)].mean(1) for limb in (_LEGS, _ARMS)]
    distance = torch.stack(apart, 1)
    return distance < 0, distance.abs()


def assign_limbs(values: Tensor, assignment: Tensor) -> Tensor:
    """Values (N, 17, ...) with left and right exchanged where the assignment (N, 2) is True. Its own inverse."""
    mask = torch.zeros(values.shape[0], values.shape[1], dtype=torch.bool, device=values.device)
    for column, limb in enumerate((_LEGS, _ARMS)):
        mask[:, [*limb, *(_FLIP[j] for j in limb)]] = assignment[:, column, None]
    return torch.where(mask.view(*mask.shape, *[1] * (values.dim() - 2)), values[:, list(_FLIP)], values)
