"""Feet for rendered puppets: where the toes point tells front from back, and left from right, from any side.

The puppet of part maps and labels needs none: its shins end round. But a person's feet are among the clearest signs of
the way they face, so the images from which the encoder first learns have them. **[ours]**
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from selfsup3d.puppet.puppet import Part, Profile, Puppet
from selfsup3d.structures.skeleton import joint_index

__all__ = ["as_shins", "shod", "toe_directions", "with_feet"]

_SIDES = ("left", "right")
_FOOT: Profile = ((-0.62, 0.24), (-0.50, 0.42), (-0.20, 0.50), (0.35, 0.48), (0.60, 0.26))
_WIDTH = 0.19  # torso lengths
_BELOW = 0.08  # of the ankle, torso lengths
_BEHIND = 0.2  # share of a foot behind the ankle
_STRAIGHT = 0.4  # weight of the chest's direction beside the thigh's: it decides for straight legs only


def shod(puppet: Puppet) -> Puppet:
    """The puppet with two feet behind its own parts, pinned to the points that `with_feet` adds."""
    P = len(puppet)
    feet = (
        Part(P, "left_foot", ("left_heel",), ("left_toes",), _FOOT, _WIDTH, P + 1, (0.60, 0.20, 0.15)),
        Part(P + 1, "right_foot", ("right_heel",), ("right_toes",), _FOOT, _WIDTH, P, (0.15, 0.25, 0.50)),
    )
    points = tuple(f"{side}_{end}" for side in _SIDES for end in ("heel", "toes"))
    return replace(puppet, parts=(*puppet.parts, *feet), points=(*puppet.points, *points))


def with_feet(joints: Tensor, splay: Tensor, length: Tensor) -> Tensor:
    """Joints (B, 17, 3), any frame, and behind them left heel and toes, right heel and toes: (B, 21, 3).

    Args:
        splay: (B, 2) radians by which the left and the right toes turn outwards.
        length: (B,) of a foot, in torso lengths.
    """
    torso = torch.linalg.vector_norm(joints[:, joint_index("neck")] - joints[:, joint_index("pelvis")], dim=-1)
    torso = torso[:, None]
    toes = toe_directions(joints, splay) * (length[:, None] * torso)[:, None]
    added = []
    for column, side in enumerate(_SIDES):
        knee, ankle = (joints[:, joint_index(f"{side}_{name}")] for name in ("knee", "ankle"))
        sole = ankle + _BELOW * torso * torch.nn.functional.normalize(ankle - knee, dim=-1)
        added += [sole - _BEHIND * toes[:, column], sole + (1 - _BEHIND) * toes[:, column]]
    return torch.cat((joints, torch.stack(added, 1)), 1)


def toe_directions(joints: Tensor, splay: Tensor) -> Tensor:
    """(B, 2, 3) unit vectors along the left and the right foot, square to the shins, of joints (B, 17, 3).

    A knee bends so that the shin goes back: toes point the way that the thigh goes, seen along the shin, and for a
    straight leg the way that the chest faces. Then they are turned outwards about the shin by `splay` (B, 2) radians.
    """
    unit = torch.nn.functional.normalize
    left, right, neck, pelvis = (joints[:, joint_index(name)] for name in ("left_hip", "right_hip", "neck", "pelvis"))
    chest = unit(torch.linalg.cross(left - right, neck - pelvis), dim=-1)
    toes = []
    for column, side in enumerate(_SIDES):
        hip, knee, ankle = (joints[:, joint_index(f"{side}_{name}")] for name in ("hip", "knee", "ankle"))
        shin = unit(ankle - knee, dim=-1)
        ahead = unit(knee - hip, dim=-1) + _STRAIGHT * chest
        ahead = unit(ahead - (ahead * shin).sum(-1, keepdim=True) * shin, dim=-1)
        turn = splay[:, column, None] * (1.0 if side == "right" else -1.0)
        toes.append(ahead * turn.cos() + torch.linalg.cross(shin, ahead) * turn.sin())
    return torch.stack(toes, 1)


def as_shins(labels: Tensor, puppet: Puppet) -> Tensor:
    """Part labels of the shod puppet as those of `puppet`, where a foot is the end of the part that ends at its ankle, or
    background where no part does; any shape, int64.
    """
    ends = {part.end: part.id for part in puppet.parts}
    feet = [ends.get((f"{side}_ankle",), puppet.background) for side in _SIDES]
    table = torch.arange(len(puppet) + len(feet) + 1, device=labels.device)
    table[len(puppet) :] = table.new_tensor([*feet, puppet.background])
    return table[labels]
