"""Which of a pose and its depth mirror image is the person: what no projection can tell, anatomy can.

Under (nearly) orthographic cameras a pose and its mirror image in depth project alike from every side, so methods that
train on 2D alone find one or the other. Left and right are labelled, hence the mirrored body "faces" the other way:
its knees bend backward and its nose points behind it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from selfsup3d.models.modules.critic import across_processes
from selfsup3d.structures.skeleton import joint_index

__all__ = ["Facing", "Handedness", "face_forward", "facing_cost", "knees_forward"]

Facing = Literal["knees", "face", "none"]

_MOMENTUM = 0.01


def _joint(joints: Tensor, name: str) -> Tensor:
    return joints[..., joint_index(name), :]


def knees_forward(joints: Tensor) -> Tensor:
    """How far the knees stand ahead of the lines from hips to ankles, relative to the leg **[ours]**.

    "Ahead" is (left hip - right hip) x (neck - pelvis). Positive for people (95 % of motion capture), negative for
    their mirror images.

    Args:
        joints: (..., 17, 3), any frame and unit.

    Returns:
        (...), mean of both knees.
    """
    ahead = torch.linalg.cross(
        _joint(joints, "left_hip") - _joint(joints, "right_hip"), _joint(joints, "neck") - _joint(joints, "pelvis")
    )
    ahead = ahead / ahead.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    total = torch.zeros_like(ahead[..., 0])
    for side in ("left", "right"):
        hip, knee, ankle = (_joint(joints, f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        leg = ((knee - hip).norm(dim=-1) + (ankle - knee).norm(dim=-1)).clamp(min=1e-6)
        total = total + ((knee - 0.5 * (hip + ankle)) * ahead).sum(-1) / leg
    return 0.5 * total


def facing_cost(joints: Tensor, margin: float = 0.05) -> Tensor:
    """What a pose pays for knees that do not bend forward by `margin`: max(0, margin - knees_forward) (...) **[ours]**.

    The papers of methods that train on 2D alone evaluate the better of a pose and its mirror image, since nothing in
    their losses tells the two apart, sample by sample; this weak prior does. The margin lies at the 5th percentile of
    motion capture, and a flat pose pays it.
    """
    return (margin - knees_forward(joints)).clamp(min=0.0)


def face_forward(joints: Tensor) -> Tensor:
    """Sine of the angle in the ground plane by which the nose points ahead of the shoulder line (Kudo et al. 2018).

    Their heuristic, for skeletons whose nose lies ahead of the neck (Human3.6M): positive where it does.

    Args:
        joints: (..., 17, 3) camera axes (y down, z forward).

    Returns:
        (...) in [-1, 1].
    """
    face = _joint(joints, "nose") - _joint(joints, "neck")
    shoulders = _joint(joints, "left_shoulder") - _joint(joints, "right_shoulder")
    cross = face[..., 0] * shoulders[..., 2] - face[..., 2] * shoulders[..., 0]
    lengths = face[..., [0, 2]].norm(dim=-1) * shoulders[..., [0, 2]].norm(dim=-1)
    return cross / lengths.clamp(min=1e-6)


class Handedness(nn.Module):
    """One bit for a whole model: whether its depths come out mirrored.

    Methods without any 3D information converge to people or to their mirror images, by chance. The training poses'
    mean `knees_forward` tells which; `sign` is what depths are multiplied by when predicting. Poses are never flipped
    one by one.
    """

    score: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("score", torch.zeros(()))

    @torch.no_grad()
    def update(self, joints: Tensor) -> None:
        """Take in lifted training poses (B, 17, 3)."""
        self.score.lerp_(across_processes(knees_forward(joints.float()).mean()), _MOMENTUM)

    @property
    def sign(self) -> Tensor:
        """() +1 or -1 for depths."""
        return torch.where(self.score < 0, -1.0, 1.0)
