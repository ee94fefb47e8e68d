"""The invariant teacher of ITES (Xu et al. 2021): one canonical pose from whatever side a person is seen.

A network reads a 2D pose and gives coefficients of a learnt shape dictionary and a rotation. Seen from anywhere, the
same pose must get the same coefficients; that, low rank and re-projection are all that the paper asks.

That much also lets the dictionary hold flattened people, one kind for every side that they are seen from, in place of
rotating one. What works against it is **[ours]**, and off by default: canonical poses that stay near the mean pose, so
that rotating is cheaper than bending (`compactness`); rotated views like those that people are seen from
(`view_rotations="views"`); a rotation without the jump that axis times angle has at half a revolution (`rotation="6d"`). What each brings
stands in assets/results/ites_ablations.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfsup3d.config.lifters import TeacherConfig
from selfsup3d.geometry.camera import unit_pinhole
from selfsup3d.geometry.rotation import random_axis_angle, random_view, rotate
from selfsup3d.models.lifters.base import Lifter, mean_over_joints
from selfsup3d.models.modules.basis import ShapeBasis
from selfsup3d.models.modules.facing import Handedness, facing_cost
from selfsup3d.models.modules.mlp import ResidualMLP, frozen_statistics
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.models.modules.orientation import ROTATION_NUMBERS, lifted_again, predicted_rotation
from selfsup3d.structures.batch import Batch, Camera, PoseOutput
from selfsup3d.structures.random import uniform_noise
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["InvariantTeacher"]


class InvariantTeacher(Lifter):
    """34 -> width, bottleneck blocks, -> K coefficients and a rotation.

    Args:
        settings: `view_rotations` of the other views: "sphere" = about axes uniform on the sphere by angles uniform in
            [0, pi) (the paper's); "views" = about the vertical axis by any angle, then up or down by at most 20 degrees
            (`random_view`; ours). The weight `cycle` compares re-projected 2D with the original. Ours, and off as in the
            paper: `facing`, an anatomical prior (the paper's errors are of the better mirror image); `compactness`, the
            mean distance of joints of the canonical pose from those of the dictionary's mean pose.
    """

    def __init__(self, settings: TeacherConfig) -> None:
        super().__init__(Normalizer("head", settings.distance, settings.length))
        self.settings, self.distance = settings, settings.distance
        outputs = settings.atoms + ROTATION_NUMBERS[settings.rotation]
        sizes = (settings.width, settings.blocks, settings.bottleneck)
        self.network = ResidualMLP(2 * NUM_JOINTS, outputs, *sizes, norm="batch")
        self.basis = ShapeBasis(settings.atoms)
        self.handedness = Handedness()

    def estimate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical poses (N, 17, 3) and rotations (N, 3, 3) of normalised keypoints (N, 17, 2)."""
        found = self.network((points * self.distance).flatten(1))
        count = self.basis.count
        return self.basis(found[:, :count]), predicted_rotation(found[:, count:], self.settings.rotation)

    def lifted(self, points: Tensor) -> Tensor:
        """(N, 17, 3) root-relative, camera axes, as found (not mirrored)."""
        canonical, rotation = self.estimate(points)
        return rotate(rotation, canonical)

    def project(self, joints: Tensor) -> Tensor:
        """(..., 17, 3) -> (..., 17, 2) by the virtual camera."""
        return unit_pinhole(joints, self.distance)

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) camera axes, mirrored in depth if the whole model turned out so."""
        return self._upright(self.lifted(observed.values))

    def _upright(self, joints: Tensor) -> Tensor:
        return joints * torch.stack((torch.ones_like(self.handedness.sign),) * 2 + (self.handedness.sign,))

    def random_rotations(self, seeds: Tensor) -> Tensor:
        """(B, V, 3, 3) rotations of a batch's poses, see `TeacherConfig.view_rotations`."""
        noise = uniform_noise(seeds, (self.settings.views, 3))
        return (
            random_axis_angle(noise, math.pi)
            if self.settings.view_rotations == "sphere"
            else random_view(noise[..., :2])
        )

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Re-projection, invariance of the canonical pose over random rotations, and what else has a weight."""
        assert batch.seeds is not None
        observed = self.observe(batch)
        points, visible, w = observed.values, observed.visible, self.settings.weights
        canonical, rotation = self.estimate(points)
        pose = rotate(rotation, canonical)
        self.handedness.update(pose)
        miss = (self.project(pose) - points).norm(dim=-1) * self.distance
        terms = {"reprojection": w.reprojection * mean_over_joints(miss, visible).mean()}
        if w.facing > 0:
            terms["facing"] = w.facing * facing_cost(pose).mean()
        if w.compactness > 0:
            terms["compactness"] = w.compactness * self.basis.away_from_mean(canonical).mean()
        if w.invariance > 0 or w.cycle > 0:
            rotations = self.random_rotations(batch.seeds)
            with frozen_statistics(self.network):
                again, back = lifted_again(self.estimate, self.project, pose, rotations)
            if w.invariance > 0:
                terms["invariance"] = w.invariance * (again - canonical[:, None]).norm(dim=-1).mean()
            if w.cycle > 0:
                error = (self.project(back) - points[:, None]).norm(dim=-1) * self.distance
                terms["cycle"] = w.cycle * mean_over_joints(error, visible[:, None]).mean()
        return terms

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1) -> PoseOutput:
        """Pose, with the canonical pose and the rotation (a camera at `distance`) that make it."""
        batch.require(self.predict_requires, by="InvariantTeacher.predict")
        observed = self.observe(batch)
        canonical, rotation = self.estimate(observed.values)
        translation = torch.zeros_like(canonical[:, 0])
        translation[:, 2] = self.distance
        return PoseOutput(
            pose=self._upright(rotate(rotation, canonical))[:, None],
            unit=self.unit,
            camera=Camera(rotation, translation, observed.K),
            canonical=canonical[:, None],
        )
