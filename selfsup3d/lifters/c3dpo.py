"""C3DPO (Novotny et al. 2019): non-rigid structure from motion with a learnt canonical view; orthographic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selfsup3d.batch import Batch
from selfsup3d.draws import uniform_noise
from selfsup3d.geometry.camera import orthographic
from selfsup3d.geometry.rotation import axis_angle_to_matrix, random_axis_rotation, random_rotation, rotate
from selfsup3d.heads.basis import ShapeBasis
from selfsup3d.heads.facing import Handedness, facing_cost
from selfsup3d.heads.mlp import ResidualMLP
from selfsup3d.heads.normalizer import Normalized, Normalizer
from selfsup3d.lifters.base import Lifter, mean_over_joints
from selfsup3d.skeleton import NUM_JOINTS

__all__ = ["C3DPO", "C3DPOWeights", "pseudo_huber"]


def pseudo_huber(distance_squared: Tensor, epsilon: float = 0.01) -> Tensor:
    """epsilon (sqrt(1 + d^2 / epsilon^2) - 1): d for far points, smooth at 0."""
    return epsilon * ((1.0 + distance_squared / epsilon**2).sqrt() - 1.0)


@dataclass(frozen=True)
class C3DPOWeights:
    """Weights of the terms; `facing` is a prior of ours, off as in the paper, which measures the better mirror image."""

    reprojection: float = 1.0
    canonicalisation: float = 1.0
    facing: float = 0.0


class C3DPO(Lifter):
    """Keypoints with their visibility -> basis coefficients and camera; a canonicaliser undoes random turns.

    Args:
        width, bottleneck, blocks: of both networks.
        bases: of the shape basis.
        augment: turn the picture of every training sample about the viewing axis.
        weights: of the terms.
    """

    def __init__(
        self,
        width: int = 1024,
        bottleneck: int = 256,
        blocks: int = 6,
        bases: int = 10,
        augment: bool = True,
        weights: C3DPOWeights = C3DPOWeights(),
    ) -> None:
        super().__init__(Normalizer("head", distance=1.0))
        self.network = ResidualMLP(3 * NUM_JOINTS, bases + 3, width, blocks, bottleneck, norm="batch")
        self.canonicaliser = ResidualMLP(3 * NUM_JOINTS, bases, width, blocks, bottleneck, norm="batch")
        self.basis = ShapeBasis(bases)
        self.handedness = Handedness()
        self.augment, self.weights = augment, weights

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """All together."""
        return {"lifter": self.parameters()}

    def estimate(self, points: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical poses (B, 17, 3) and rotations (B, 3, 3); hidden keypoints enter as 0 with a flag."""
        seen = torch.cat(((points * visible[..., None]).flatten(1), visible), -1)
        found = self.network(seen)
        count = self.basis.count
        return self.basis(found[:, :count]), axis_angle_to_matrix(found[:, count:])

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) camera axes, mirrored in depth if the whole model turned out so."""
        canonical, rotation = self.estimate(observed.values, observed.visible)
        pose = rotate(rotation, canonical)
        return torch.cat((pose[..., :2], self.handedness.sign * pose[..., 2:]), -1)

    def losses(self, batch: Batch, turn: str, progress: float) -> dict[str, Tensor]:
        """Re-projection and canonicalisation, pseudo-Huber."""
        assert batch.seeds is not None
        observed = self.observe(batch)
        points, visible = observed.values, observed.visible
        if self.augment:
            roll = random_axis_rotation(uniform_noise(batch.seeds, ()), "z", 0.0, 2 * math.pi)
            points = rotate(roll, nn.functional.pad(points, (0, 1)))[..., :2]
        canonical, rotation = self.estimate(points, visible)
        pose = rotate(rotation, canonical)
        self.handedness.update(pose)
        miss = pseudo_huber((orthographic(pose) - points).square().sum(-1))
        turned = rotate(random_rotation(uniform_noise(batch.seeds, (3,), stream=1)), canonical)
        again = self.basis(self.canonicaliser(turned.flatten(1)))
        away = pseudo_huber((again - canonical).square().sum(-1)).mean(-1)
        terms = {
            "reprojection": self.weights.reprojection * mean_over_joints(miss, visible).mean(),
            "canonicalisation": self.weights.canonicalisation * away.mean(),
        }
        if self.weights.facing > 0:
            terms["facing"] = self.weights.facing * facing_cost(pose).mean()
        return terms
