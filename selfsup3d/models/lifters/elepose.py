"""ElePose (Wandt et al. 2022): rotated poses must be likely under a flow of 2D poses; the camera's elevation is found.

A first part of the run trains the flow on the 2D poses' principal components; then the flow is frozen and the lifter
trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from selfsup3d.config.lifters import ElePoseConfig
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.geometry.rotation import multiply, random_axis_rotation, rotation_about
from selfsup3d.models.lifters.base import mean_over_joints
from selfsup3d.models.lifters.unit_camera import UnitCameraLifter
from selfsup3d.models.modules.critic import across_processes
from selfsup3d.models.modules.cycle import cycle
from selfsup3d.models.modules.facing import facing_cost
from selfsup3d.models.modules.flow import Flow
from selfsup3d.models.modules.mlp import ResidualMLP
from selfsup3d.models.modules.poses import root_relative
from selfsup3d.models.system import Update
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import gaussian_noise, uniform_noise
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["ElePose"]

_MOMENTUM = 0.01


class ElePose(UnitCameraLifter):
    """A trunk with a branch for depths and one for the elevation angle.

    The mean and spread of elevations, from which new views are drawn, are running statistics, so that a sample's loss
    does not depend on who else is in its batch **[ours]**; pairs for the deformation term are neighbours in the batch.

    Args:
        settings: sizes, camera, the flow's share of the run, weights; `facing` is an anatomical prior of ours, off as in
            the paper.
    """

    requires = ("joints_2d", "seeds", "unpaired")
    components: Tensor
    pose_mean: Tensor
    component_std: Tensor
    bone_ratios: Tensor
    elevation: Tensor

    def __init__(self, settings: ElePoseConfig) -> None:
        super().__init__(settings.distance)
        size, width, blocks = 2 * NUM_JOINTS, settings.width, settings.blocks
        self.trunk = ResidualMLP(size, None, width, blocks, activation="leaky_relu")
        self.depth = ResidualMLP(width, NUM_JOINTS, width, blocks, activation="leaky_relu")
        self.angle = ResidualMLP(width, 1, width, blocks, activation="leaky_relu", zero_output=True)
        self.flow = Flow(settings.components, settings.flow_layers, settings.flow_width)
        self.settings = settings
        self.register_buffer("components", torch.zeros(settings.components, size))
        self.register_buffer("pose_mean", torch.zeros(size))
        self.register_buffer("component_std", torch.ones(settings.components))
        self.register_buffer("bone_ratios", torch.ones(NUM_JOINTS - 1))
        self.register_buffer("elevation", torch.tensor([0.0, 0.01]))  # mean and mean square, radians

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """The flow, and the lifter."""
        lifter = [p for network in (self.trunk, self.depth, self.angle) for p in network.parameters()]
        return {"flow": self.flow.parameters(), "lifter": lifter}

    def updates(self, step: int, progress: float) -> list[Update]:
        """The flow until `flow_share`, the lifter from then on."""
        name = "flow" if progress < self.settings.flow_share else "lifter"
        return [Update(name, (name,), name)]

    def fit_poses(self, batches: list[Batch]) -> None:
        """Principal components of the 2D poses; bone lengths of the unpaired 3D poses relative to their mean."""
        for batch in batches:
            batch.require(("unpaired",), by="ElePose.fit")
        flat = torch.cat([self.scaled(self.observe(batch).values) for batch in batches])
        self.pose_mean.copy_(flat.mean(0))
        deviation = (flat - self.pose_mean).double()
        _, sizes, axes = torch.linalg.svd(deviation, full_matrices=False)
        count = len(self.components)
        self.components.copy_(axes[:count])
        self.component_std.copy_((sizes[:count] / max(len(flat) - 1, 1) ** 0.5).clamp(min=1e-4))
        lengths = bone_lengths(torch.cat([batch.unpaired for batch in batches if batch.unpaired is not None]))[:, 1:]
        self.bone_ratios.copy_((lengths / lengths.mean(-1, keepdim=True)).mean(0))

    # ---------------------------------------------------------------------------------------------------------------

    def offsets(self, points: Tensor) -> Tensor:
        """(N, 17) depths relative to the root."""
        return self.estimate(points)[0]

    def estimate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Depths (N, 17) relative to the root and elevation angles (N,), radians, of keypoints (N, 17, 2)."""
        features = nn.functional.leaky_relu(self.trunk(self.scaled(points)))
        depth = self.depth(features)
        return depth - depth[:, :1], self.angle(features)[:, 0]

    def likelihood(self, points: Tensor) -> Tensor:
        """(B,) negative log likelihood of normalised 2D poses (B, 17, 2) under the flow."""
        flat = self.scaled(points) - self.pose_mean
        return self.flow.negative_log_likelihood(flat.float() @ self.components.T / self.component_std)

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """The flow's likelihood of the data, or the lifter's terms."""
        assert batch.seeds is not None
        observed = self.observe(batch)
        points, visible, w = observed.values, observed.visible, self.settings.weights
        if update == "flow":
            return {"likelihood": self.likelihood(points).mean()}
        offsets, angle = self.estimate(points)
        pose = self.placed(points, offsets)
        self.handedness.update(pose)
        self._follow(angle)
        rotations = self._rotations(angle, batch.seeds)
        went = cycle(self.lifted, self.project, points, rotations[:, None], lifted=pose)
        miss = (went.reprojected[:, 0] - points).abs().sum(-1) * self.distance
        away = (went.relifted[:, 0] - went.rotated[:, 0]).norm(dim=-1)
        lengths = bone_lengths(pose)[:, 1:]
        ratios = lengths / lengths.mean(-1, keepdim=True).clamp(min=1e-6)
        terms = {
            "likelihood": w.likelihood * self.likelihood(went.view[:, 0]).mean(),
            "points_2d": w.points_2d * mean_over_joints(miss, visible).mean(),
            "points_3d": w.points_3d * mean_over_joints(away, visible).mean(),
            "pairs": w.pairs * _deformation(went.rotated[:, 0], went.relifted[:, 0]).mean(),
            "bones": w.bones * (ratios - self.bone_ratios).square().mean(),
        }
        if w.facing > 0:
            terms["facing"] = w.facing * facing_cost(pose).mean()
        return terms

    @torch.no_grad()
    def _follow(self, angle: Tensor) -> None:
        """Running mean and mean square of elevations."""
        found = torch.stack((angle.detach().float().mean(), angle.detach().float().square().mean()))
        self.elevation.lerp_(across_processes(found), _MOMENTUM)

    def _rotations(self, angle: Tensor, seeds: Tensor) -> Tensor:
        """(B, 3, 3): level the camera, go round by any azimuth, take an elevation of the learnt distribution."""
        azimuth = random_axis_rotation(uniform_noise(seeds, ()), "y", -math.pi, math.pi)
        mean, square = self.elevation.unbind()
        spread = (square - mean.square()).clamp(min=0.0).sqrt()
        tilt = rotation_about("x", mean + spread * gaussian_noise(seeds, (), stream=1))
        return multiply(tilt, multiply(azimuth, rotation_about("x", -angle)))


def _deformation(rotated: Tensor, relifted: Tensor) -> Tensor:
    """(B,) the difference between two poses must survive re-lifting: neighbours of the batch are the pairs."""
    difference = rotated - rotated.roll(1, 0)
    again = relifted - relifted.roll(1, 0)
    return root_relative(again - difference).norm(dim=-1).mean(-1)
