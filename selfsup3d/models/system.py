"""The interface of anything trainable: the part-guided system and every head.

A system is one `nn.Module` whose `forward(batch, update, progress)` returns the update's loss terms, so that Accelerate
can wrap it as a whole. The training loop reads only what stands here:

    for update in system.updates(step, progress):
        clear all gradients
        terms = system(batch, update.name, progress)
        sum(terms).backward()
        clip, and step the update's optimizer over the update's parameters

Algorithm 1 of the paper is one update per loss, the fused mode is a single update, a GAN has two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from selfsup3d.structures.batch import Batch, PoseOutput

__all__ = ["System", "Student", "Update"]


@dataclass(frozen=True)
class Update:
    """One forward, backward and optimizer step.

    Attributes:
        name: given back to `System.losses`.
        parameters: names of the parameter groups that this update updates; all others are left as they are, bit for bit.
        optimizer: which of the run's optimizers steps; each keeps its own state.
        span: the part of the run, as progress from and to, over which its learning-rate schedule runs its course.
    """

    name: str
    parameters: tuple[str, ...]
    optimizer: str
    span: tuple[float, float] = (0.0, 1.0)

    def progress(self, run: float) -> float:
        """Progress within the span, in [0, 1], at a progress of the run."""
        begin, end = self.span
        return min(max((run - begin) / max(end - begin, 1e-9), 0.0), 1.0)


class System(nn.Module, ABC):
    """Anything that trains through `training.loop` and evaluates through `evaluation.evaluator`.

    Class attributes:
        requires: fields of `Batch` needed to train.
        predict_requires: fields of `Batch` needed by `predict`; never a label of what is predicted.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    predict_requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Disjoint groups of parameters by name; updates refer to them."""

    @abstractmethod
    def updates(self, step: int, progress: float) -> list[Update]:
        """The updates of a step. A function of step and progress only, so that all ranks agree."""

    @abstractmethod
    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Loss terms of an update by name, each already weighted and a mean over samples of a per-sample value.

        Names that start with "_" are logged, not optimised (detach them).
        """

    @abstractmethod
    def predict(self, batch: Batch, samples: int = 1) -> PoseOutput:
        """Poses from `predict_requires` alone; `samples` hypotheses where the system is probabilistic, else 1."""

    def fit(self, batches: Iterable[Batch]) -> None:
        """Collect statistics of the training data into buffers, before the first step (default: nothing)."""

    def panels(self, batch: Batch) -> dict[str, Tensor]:
        """Images for the log and `grid.png`: title -> (N, 3, H, W) in [0, 1], the same N for all (default: none)."""
        return {}

    def forward(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """`losses`, with the batch checked for what the system needs."""
        batch.require(self.requires, by=type(self).__name__)
        return self.losses(batch, update, progress)


class Student(System):
    """A system that learns from a trained one. The teacher stands still, and is no part of the system's parameters or
    checkpoints; it is not needed to predict.
    """

    _teachers: tuple[System, ...] = ()  # in a tuple, a module is no submodule

    @property
    def teacher(self) -> System | None:
        """The teacher, if there is one."""
        return self._teachers[0] if self._teachers else None

    def learn_from(self, teacher: System) -> None:
        """Set the teacher."""
        self._teachers = (teacher.eval().requires_grad_(False),)

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> Self:
        for teacher in self._teachers:  # moves along to the device, though it is no submodule
            teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)
