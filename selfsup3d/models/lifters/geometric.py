"""Geometric self-supervision (Chen et al. 2019): lift, rotate, project, lift again; every view must look real."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from selfsup3d.config.lifters import GeometricConfig
from selfsup3d.errors import InputError
from selfsup3d.geometry.rotation import random_view, rotate
from selfsup3d.models.lifters.base import mean_over_joints
from selfsup3d.models.lifters.unit_camera import UnitCameraLifter
from selfsup3d.models.modules.critic import Critic, critic_loss, generator_loss
from selfsup3d.models.modules.cycle import cycle
from selfsup3d.models.modules.facing import facing_cost
from selfsup3d.models.modules.mlp import ResidualMLP, frozen_statistics
from selfsup3d.models.modules.normalizer import Normalized
from selfsup3d.models.system import Update
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import uniform_noise
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["Adapter", "Geometric"]


class Adapter(nn.Module):
    """Moves keypoints of another source to where this one marks them: a residual that starts at 0.

    Args:
        width, blocks: of its network.
    """

    def __init__(self, width: int = 1024, blocks: int = 2) -> None:
        super().__init__()
        self.network = ResidualMLP(
            2 * NUM_JOINTS, 2 * NUM_JOINTS, width, blocks, activation="leaky_relu", zero_output=True
        )

    def forward(self, points: Tensor) -> Tensor:
        """(..., 34) -> (..., 34)."""
        return points + self.network(points)


class Geometric(UnitCameraLifter):
    """A depth network in a cycle of two views, with critics on single views and on their motion.

    Sequences (B, T, 17, 2) with T > 1 give the temporal critic its second frame, the last of the window.

    Args:
        settings: `temporal` adds the critic of motion; `adapter` learns a 2D domain adapter from `source_joints_2d`, whose
            adapted poses then train the lifter too; `keypoints` says whose keypoints `predict` gets: the "target" source,
            or the other "source" that is adapted first; the weight `facing` is an anatomical prior of ours, off as in the
            paper.
    """

    unit = "head=1"

    def __init__(self, settings: GeometricConfig) -> None:
        super().__init__(settings.distance)
        size, width, critics = 2 * NUM_JOINTS, settings.width, settings.critic_blocks
        self.network = ResidualMLP(
            size, NUM_JOINTS, width, settings.blocks, norm=settings.norm, activation="leaky_relu"
        )
        self.critic = Critic(size, width, critics)
        self.motion_critic = Critic(2 * size, width, critics) if settings.temporal else None
        self.adapter = Adapter(width) if settings.adapter else None
        self.domain_critic = Critic(size, width, critics) if settings.adapter else None
        self.settings = settings

    @property
    def requires(self) -> tuple[str, ...]:  # type: ignore[override]
        """Fields of the batch."""
        return ("joints_2d", "seeds", *(("source_joints_2d",) if self.adapter is not None else ()))

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Lifter (and adapter) and critics."""
        critics = [c for c in (self.critic, self.motion_critic, self.domain_critic) if c is not None]
        lifters = [n for n in (self.network, self.adapter) if n is not None]
        return {
            "lifter": [p for network in lifters for p in network.parameters()],
            "critic": [p for critic in critics for p in critic.parameters()],
        }

    def updates(self, step: int, progress: float) -> list[Update]:
        """The critics, then the lifter."""
        return [Update("critic", ("critic",), "critic"), Update("lifter", ("lifter",), "lifter")]

    def offsets(self, points: Tensor) -> Tensor:
        """(N, 17) depths relative to the root."""
        depth = self.network(self.scaled(points))
        return depth - depth[..., :1]

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) in head lengths; keypoints of the other source are adapted first."""
        values = observed.values
        if self.settings.keypoints == "source" and self.adapter is not None:
            values = self._adapted(values)
        return self.placed(values, self.handedness.sign * self.offsets(values))

    def _adapted(self, points: Tensor) -> Tensor:
        """(B, 17, 2) keypoints of the other source, moved; the root stays the root."""
        assert self.adapter is not None
        moved = self.adapter(self.scaled(points)).unflatten(-1, (NUM_JOINTS, 2)) / self.distance
        return moved - moved[..., :1, :]

    # ------------------------------------------------------------------------------------------------------- training

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Terms of the lifter's or of the critics' update."""
        assert batch.seeds is not None
        observed = self.observe(batch)
        points, visible = observed.values, observed.visible
        other = self._source(batch)
        training = update == "lifter"
        rotations = random_view(uniform_noise(batch.seeds, (2,)))[:, None]  # (B, 1, 3, 3)
        with torch.set_grad_enabled(training and torch.is_grad_enabled()):
            adapted = None if other is None else self._adapted(other)
            first = self.lifted(points)
            with frozen_statistics(self.network):
                went = cycle(self.lifted, self.project, points, rotations, lifted=first)
                movement = self._movement(batch, rotations)
                extra = self._adapted_view(adapted, rotations)
            view = went.view[:, 0]
        if not training:
            return self._critics(points, view, extra, movement, adapted)
        self.handedness.update(went.lifted)
        w, scale = self.settings.weights, self.distance
        miss = (went.reprojected[:, 0] - points).square().sum(-1)
        drift = (went.relifted[:, 0] - went.rotated[:, 0]).square().sum(-1)
        terms = {
            "cycle_2d": w.cycle_2d * mean_over_joints(miss, visible).mean() * NUM_JOINTS,
            "cycle_3d": w.cycle_3d * mean_over_joints(drift, visible).mean() * NUM_JOINTS,
            "adversarial": w.adversarial * generator_loss(self.critic(view * scale), "bce").mean(),
        }
        if extra is not None:
            terms["adversarial_adapted"] = w.adversarial * generator_loss(self.critic(extra * scale), "bce").mean()
        if movement is not None and self.motion_critic is not None:
            terms["temporal"] = w.temporal * generator_loss(self.motion_critic(movement[1] * scale), "bce").mean()
        if adapted is not None and other is not None and self.domain_critic is not None:
            terms["adapt"] = w.adapt * generator_loss(self.domain_critic(adapted * scale), "bce").mean()
            terms["adapt_size"] = w.adapt_size * ((adapted - other) * scale).square().sum((-1, -2)).mean()
        if w.facing > 0:
            terms["facing"] = w.facing * facing_cost(went.lifted).mean()
        return terms

    def _critics(
        self,
        points: Tensor,
        view: Tensor,
        extra: Tensor | None,
        movement: tuple[Tensor, Tensor] | None,
        adapted: Tensor | None,
    ) -> dict[str, Tensor]:
        """Losses of all critics."""
        scale = self.distance
        terms = {"views": critic_loss(self.critic(points * scale), self.critic(view * scale), "bce").mean()}
        if extra is not None:
            terms["adapted_views"] = generator_loss(-self.critic(extra * scale), "bce").mean()
        if movement is not None and self.motion_critic is not None:
            real, fake = (self.motion_critic(poses * scale) for poses in movement)
            terms["motion"] = critic_loss(real, fake, "bce").mean()
        if adapted is not None and self.domain_critic is not None:
            real, fake = self.domain_critic(points * scale), self.domain_critic(adapted * scale)
            terms["domain"] = critic_loss(real, fake, "bce").mean()
        return terms

    def _movement(self, batch: Batch, rotations: Tensor) -> tuple[Tensor, Tensor] | None:
        """(B, 2, 17, 2) middle pose and its change to the window's last frame: as observed, and in the rotated view."""
        if self.motion_critic is None:
            return None
        assert batch.joints_2d is not None
        if batch.joints_2d.dim() == 3 or batch.joints_2d.shape[1] < 2:
            raise InputError(
                "system.temporal needs sequences: set data.frames to 3 or more, or system.temporal to false"
            )
        pair = [batch.joints_2d.shape[1] // 2, -1]
        confidence = None if batch.confidence is None else batch.confidence[:, pair]
        seen = self.normalizer(batch.joints_2d[:, pair], confidence, batch.K)
        # One scale for both frames, the middle one's, so that a change is a movement.
        relative = seen.plane - seen.plane[..., :1, :]
        points = relative / seen.scale[:, :1, None, None]
        rotated = self.project(rotate(rotations, self.lifted(points.flatten(0, 1)).view(*points.shape[:-1], 3)))
        return _with_change(points), _with_change(rotated)

    def _source(self, batch: Batch) -> Tensor | None:
        """(B, 17, 2) normalised keypoints of the other source."""
        if self.adapter is None:
            return None
        assert batch.source_joints_2d is not None
        camera = None if batch.unpaired_camera is None else batch.unpaired_camera.K
        return self.normalizer(batch.source_joints_2d, None, camera).values

    def _adapted_view(self, adapted: Tensor | None, rotations: Tensor) -> Tensor | None:
        """(B, 17, 2) rotated views of adapted poses, which train the lifter like its own."""
        if adapted is None:
            return None
        return self.project(rotate(rotations[:, 0], self.lifted(adapted.detach())))


def _with_change(poses: Tensor) -> Tensor:
    """(B, 2, 17, 2) first pose, and second minus first."""
    return torch.stack((poses[:, 0], poses[:, 1] - poses[:, 0]), 1)
