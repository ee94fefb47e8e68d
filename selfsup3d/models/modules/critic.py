"""Critics and adversarial losses, each a per-sample value, and the rules that keep the two players in step.

A critic gives one logit per sample: positive = "real". Losses come as (B,) values, whose mean is the term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup3d.models.modules.mlp import ResidualMLP
from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS

__all__ = [
    "Adversarial",
    "ChainCritic",
    "Critic",
    "accuracy",
    "alone",
    "across_processes",
    "critic_loss",
    "generator_loss",
    "gradient_penalty",
    "kinematic_chain",
    "leave_out",
]

Adversarial = Literal["bce", "softplus", "wasserstein"]


class Critic(nn.Module):
    """An MLP that looks at flattened poses, 2D or 3D.

    Args:
        inputs: size of a flattened pose.
        width, blocks, skip: see `ResidualMLP`.
    """

    def __init__(self, inputs: int, width: int = 1024, blocks: int = 3, skip: bool = True) -> None:
        super().__init__()
        self.network = ResidualMLP(inputs, 1, width, blocks, activation="leaky_relu", skip=skip)

    def forward(self, poses: Tensor) -> Tensor:
        """(B, ...) poses -> (B,) logits."""
        return self.network(poses.flatten(1))[:, 0]


def kinematic_chain(joints: Tensor) -> Tensor:
    """Kinematic chain space: all inner products of bone vectors, b_i . b_j (Wandt & Rosenhahn 2019, eq. 9).

    The diagonal holds squared bone lengths, the rest the angles between bones; no rotation or shift of the pose changes it.

    Args:
        joints: (..., 17, 3).

    Returns:
        (..., 16, 16), bones in the order of their child joint.
    """
    parents, children = zip(*H36M_17.bones, strict=True)
    bones = joints[..., list(children), :] - joints[..., list(parents), :]  # (..., 16, 3)
    return (bones[..., :, None, :] * bones[..., None, :, :]).sum(-1)


class ChainCritic(nn.Module):
    """RepNet's critic: one path sees the joints, one their kinematic chain space; both meet before the logit.

    Args:
        width: of both paths.
        chain: False = without the kinematic-chain path (the paper's ablation).
    """

    def __init__(self, width: int = 1000, chain: bool = True) -> None:
        super().__init__()
        bones = len(H36M_17.bones)
        self.pose = ResidualMLP(NUM_JOINTS * 3, width // 10, width, 1, activation="leaky_relu")
        self.chain = ResidualMLP(bones * bones, width, width, 1, activation="leaky_relu") if chain else None
        self.leave = nn.Linear(width // 10 + (width if chain else 0), 1)

    def forward(self, joints: Tensor) -> Tensor:
        """(B, 17, 3) root-relative -> (B,) logits."""
        seen = [self.pose(joints.flatten(1))]
        if self.chain is not None:
            seen.append(self.chain(kinematic_chain(joints).flatten(1)))
        return self.leave(torch.cat([F.leaky_relu(value) for value in seen], -1))[:, 0].float()


# --------------------------------------------------------------------------------------------------------------------
# Losses
# --------------------------------------------------------------------------------------------------------------------


def critic_loss(real: Tensor, fake: Tensor, kind: Adversarial, smoothing: float = 1.0) -> Tensor:
    """What the critic minimises, for each sample.

    "bce": -y log s(real) - (1 - y) log(1 - s(real)) - log(1 - s(fake)), with the label y = `smoothing`;
    "softplus": softplus(-real) + softplus(fake), the same at y = 1;  "wasserstein": fake - real.

    Args:
        real, fake: (B,) logits.
        smoothing: the label of real samples ("bce" only), in (0.5, 1].

    Raises:
        ValueError: a label above 1, for which the cross entropy has no minimum, or not above a half.
    """
    if not 0.5 < smoothing <= 1.0:
        raise ValueError(f"the label of real samples must lie in (0.5, 1], got {smoothing}")
    if kind == "wasserstein":
        return fake - real
    if kind == "softplus":
        return F.softplus(-real) + F.softplus(fake)
    label = torch.full_like(real, smoothing)
    true = F.binary_cross_entropy_with_logits(real, label, reduction="none")
    return true + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake), reduction="none")


def generator_loss(fake: Tensor, kind: Adversarial) -> Tensor:
    """What the generator minimises, for each sample: -log s(fake) (not saturating), or -fake ("wasserstein")."""
    return -fake if kind == "wasserstein" else F.softplus(-fake)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """(|grad critic| - 1)^2 at points between real and fake, for each sample (Gulrajani et al. 2017).

    Args:
        critic: (B, ...) -> (B,).
        real, fake: (B, ...); their graphs are not followed.
        mix: (B,) uniform in [0, 1); 0 takes the fake.

    Returns:
        (B,), differentiable in the critic's parameters.
    """
    share = mix.view(-1, *[1] * (real.dim() - 1))
    points = torch.lerp(fake.detach(), real.detach(), share).requires_grad_(True)
    with torch.enable_grad(), torch.autocast(points.device.type, enabled=False):
        (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    # The root's derivative is infinite at 0; the shift is far below any slope that matters.
    norm = (slope.flatten(1).square().sum(-1) + 1e-12).sqrt()
    return (norm - 1.0).square()


# --------------------------------------------------------------------------------------------------------------------
# Keeping the players in step
# --------------------------------------------------------------------------------------------------------------------


_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Inside, `across_processes` waits for nobody: for a pass through a system that other processes do not take."""
    before = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(before)


def across_processes(value: Tensor) -> Tensor:
    """Mean of a detached value over all processes, so that all of them take the same decision."""
    value = value.detach().clone()
    if torch.distributed.is_available() and torch.distributed.is_initialized() and not _ALONE.get():
        torch.distributed.all_reduce(value)
        value /= torch.distributed.get_world_size()
    return value


@torch.no_grad()
def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """() share of samples that the critic tells rightly, over all processes."""
    return across_processes(0.5 * ((real > 0).float().mean() + (fake <= 0).float().mean()))


def leave_out(reached: Tensor, low: float = 0.1, high: float = 0.9) -> tuple[Tensor, Tensor]:
    """Weights 0 or 1 of the critic's and the generator's update, given the critic's accuracy (Kudo et al. 2018).

    The critic rests while it tells more than `high` rightly, the generator while it tells less than `low`. Turns
    depend on the step only, so a skipped update is one whose loss is multiplied by 0 here: its gradients are 0, and
    what is left of its step is the optimizer's momentum.

    Args:
        reached: () accuracy of the critic, the same in all processes.

    Returns:
        (critic's weight (), generator's weight ()).
    """
    return (reached <= high).float(), (reached >= low).float()
