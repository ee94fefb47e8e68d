"""Depths that make a rotated pose look real (Kudo et al. 2018): a GAN over orthographic views, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from selfsup3d.config.lifters import AdversarialDepthConfig
from selfsup3d.geometry.camera import inverse_orthographic, orthographic
from selfsup3d.geometry.rotation import random_axis_rotation, rotate
from selfsup3d.models.lifters.base import Lifter
from selfsup3d.models.modules.critic import Critic, accuracy, critic_loss, generator_loss, leave_out
from selfsup3d.models.modules.facing import face_forward, facing_cost
from selfsup3d.models.modules.mlp import ResidualMLP
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.models.system import Update
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import uniform_noise
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["AdversarialDepth"]


class AdversarialDepth(Lifter):
    """Depth network and critic of three equal layers; the critic sees real 2D poses and rotated ones.

    Args:
        settings: `facing` is the anatomical heuristic that separates people from their mirror images: "face" (paper; needs
            a nose ahead of the neck), "knees" **[ours]**, or "none". Outside `accuracy_range` one of the players rests
            (see `modules.critic.leave_out`).
    """

    requires = ("joints_2d", "seeds")

    def __init__(self, settings: AdversarialDepthConfig) -> None:
        super().__init__(Normalizer("head", distance=1.0))
        self.network = ResidualMLP(
            2 * NUM_JOINTS, NUM_JOINTS, settings.width, blocks=1, activation="leaky_relu", skip=False
        )
        self.critic = Critic(2 * NUM_JOINTS, settings.width, blocks=1, skip=False)
        self.settings = settings

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """The two players."""
        return {"lifter": self.network.parameters(), "critic": self.critic.parameters()}

    def updates(self, step: int, progress: float) -> list[Update]:
        """The critic, then the lifter."""
        return [Update("critic", ("critic",), "critic"), Update("lifter", ("lifter",), "lifter")]

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) in head lengths, orthographic."""
        return self._lifted(observed.values)

    def _lifted(self, points: Tensor) -> Tensor:
        depth = self.network(points.flatten(1))
        return inverse_orthographic(points, depth - depth[:, :1])

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Softplus GAN; the player that is too strong rests."""
        assert batch.seeds is not None
        points = self.observe(batch).values
        with torch.set_grad_enabled(update == "lifter" and torch.is_grad_enabled()):
            lifted = self._lifted(points)
            rotations = random_axis_rotation(uniform_noise(batch.seeds, ()), "y")
            view = orthographic(rotate(rotations, lifted))
        real, fake = self.critic(points), self.critic(view)
        correct = accuracy(real, fake)
        critic_works, lifter_works = leave_out(correct, *self.settings.accuracy_range)
        if update == "critic":
            return {
                "adversarial": critic_works * critic_loss(real, fake, "softplus").mean(),
                "_accuracy": correct,
            }
        terms = {"adversarial": lifter_works * generator_loss(fake, "softplus").mean()}
        if self.settings.facing != "none":
            wrong = (-face_forward(lifted)).clamp(min=0.0) if self.settings.facing == "face" else facing_cost(lifted)
            terms["facing"] = self.settings.facing_weight * wrong.mean()
        return terms
