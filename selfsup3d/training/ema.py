"""Averaged weights: the ones that are evaluated and released."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from selfsup3d.models.system import System

__all__ = ["AveragedWeights", "evaluating"]


class AveragedWeights:
    """An exponential moving average of a system's parameters; buffers are copied.

    The decay rises with the steps taken, min(decay, (1 + n) / (10 + n)), so that the random start is soon forgotten.

    Args:
        system: to follow, before Accelerate wraps it.
        decay: of the average; 0 = no average, and `system` is the followed system itself.
    """

    def __init__(self, system: System, decay: float) -> None:
        self.followed = system
        self.decay = decay
        self.system = system if decay == 0 else copy.deepcopy(system).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the followed weights into the average; `step` counts from 0."""
        if self.system is self.followed:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        own: list[Tensor] = list(self.system.parameters())
        new: list[Tensor] = list(self.followed.parameters())
        torch._foreach_lerp_(own, new, 1.0 - decay)
        for buffer, value in zip(self.system.buffers(), self.followed.buffers(), strict=True):
            buffer.copy_(value)


@contextmanager
def evaluating(system: System) -> Iterator[System]:
    """Evaluation mode without gradients; the mode before comes back."""
    was_training = system.training
    system.eval()
    try:
        with torch.no_grad():
            yield system
    finally:
        system.train(was_training)
