"""C3DPO (Novotny et al. 2019): non-rigid structure from motion with a learnt canonical view; orthographic.

The canonicaliser keeps rotated copies of a canonical pose out of the basis. Nothing in the paper's terms looks at the
person from another side, so the basis may still hold one kind of person for every side that they are seen from, rotated
little. What works against it is off by default (`C3DPOConfig.weights`): the same person found again in rotated views, as in
ITES, and compact canonical poses with rotations that do not jump (`rotation="6d"`). Both ways stand in
assets/results/lifters.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from selfsup3d.config.lifters import C3DPOConfig
from selfsup3d.geometry.camera import orthographic
from selfsup3d.geometry.rotation import multiply, random_axis_rotation, random_rotation, random_view, rotate
from selfsup3d.models.lifters.base import Lifter, mean_over_joints
from selfsup3d.models.modules.basis import ShapeBasis
from selfsup3d.models.modules.facing import Handedness, facing_cost
from selfsup3d.models.modules.mlp import ResidualMLP, frozen_statistics
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.models.modules.orientation import ROTATION_NUMBERS, lifted_again, predicted_rotation
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import uniform_noise
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["C3DPO", "pseudo_huber"]


def pseudo_huber(distance_squared: Tensor, epsilon: float = 0.01) -> Tensor:
    """epsilon (sqrt(1 + d^2 / epsilon^2) - 1): d for far points, smooth at 0."""
    return epsilon * ((1.0 + distance_squared / epsilon**2).sqrt() - 1.0)


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """(..., D) points -> (...) pseudo-Huber of their distance."""
    return pseudo_huber((first - second).square().sum(-1))


class C3DPO(Lifter):
    """Keypoints with their visibility -> basis coefficients and camera; a canonicaliser undoes random rotations.

    Args:
        settings: sizes, weights of the terms, and what is ours and off as in the paper: `facing`, an anatomical prior (the
            paper measures the better mirror image); `compactness`, the mean distance of joints of the canonical pose from
            those of the basis' mean pose; of ITES (Xu et al. 2021), `invariance` of the canonical pose that is found when
            the pose is seen from another side, and `cycle`, the re-projection of the pose found there, rotated back.
    """

    def __init__(self, settings: C3DPOConfig) -> None:
        super().__init__(Normalizer("head", distance=1.0))
        sizes = (settings.width, settings.blocks, settings.bottleneck)
        outputs = settings.bases + ROTATION_NUMBERS[settings.rotation]
        self.network = ResidualMLP(3 * NUM_JOINTS, outputs, *sizes, norm="batch")
        self.canonicaliser = ResidualMLP(3 * NUM_JOINTS, settings.bases, *sizes, norm="batch")
        self.basis = ShapeBasis(settings.bases)
        self.handedness = Handedness()
        self.settings = settings

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """All together."""
        return {"lifter": self.parameters()}

    def estimate(self, points: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical poses (B, 17, 3) and rotations (B, 3, 3); hidden keypoints enter as 0 with a flag."""
        seen = torch.cat(((points * visible[..., None]).flatten(1), visible), -1)
        found = self.network(seen)
        count = self.basis.count
        return self.basis(found[:, :count]), predicted_rotation(found[:, count:], self.settings.rotation)

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) camera axes, mirrored in depth if the whole model turned out so."""
        canonical, rotation = self.estimate(observed.values, observed.visible)
        pose = rotate(rotation, canonical)
        return torch.cat((pose[..., :2], self.handedness.sign * pose[..., 2:]), -1)

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Re-projection and canonicalisation, pseudo-Huber, and what else has a weight."""
        assert batch.seeds is not None
        observed = self.observe(batch)
        points, visible = observed.values, observed.visible
        roll: Tensor | None = None
        if self.settings.augment:
            roll = random_axis_rotation(uniform_noise(batch.seeds, ()), "z", 0.0, 2 * math.pi)
            points = rotate(roll, nn.functional.pad(points, (0, 1)))[..., :2]
        canonical, rotation = self.estimate(points, visible)
        pose = rotate(rotation, canonical)
        self.handedness.update(pose)
        w = self.settings.weights
        rotated = rotate(random_rotation(uniform_noise(batch.seeds, (3,), stream=1)), canonical)
        undone = self.basis(self.canonicaliser(rotated.flatten(1)))
        terms = {
            "reprojection": w.reprojection * mean_over_joints(_distance(orthographic(pose), points), visible).mean(),
            "canonicalisation": w.canonicalisation * _distance(undone, canonical).mean(),
        }
        if w.facing > 0:
            terms["facing"] = w.facing * facing_cost(pose).mean()
        if w.compactness > 0:
            terms["compactness"] = w.compactness * self.basis.away_from_mean(canonical).mean()
        if w.invariance > 0 or w.cycle > 0:
            rotations = random_view(uniform_noise(batch.seeds, (2,), stream=2))
            if roll is not None:  # people stand upright in the image that was rolled
                rotations = multiply(multiply(roll, rotations), roll.mT)
            with frozen_statistics(self.network):
                again, back = lifted_again(self._estimate_whole, orthographic, pose, rotations[:, None])
            if w.invariance > 0:
                terms["invariance"] = w.invariance * _distance(again, canonical[:, None]).mean()
            if w.cycle > 0:
                miss = _distance(orthographic(back[:, 0]), points)
                terms["cycle"] = w.cycle * mean_over_joints(miss, visible).mean()
        return terms

    def _estimate_whole(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """`estimate` of images without hidden keypoints."""
        return self.estimate(points, torch.ones_like(points[..., 0]))
