"""What is minimised: the misses of decoded modalities and the weighted divergence, with its reduction named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from selfsup3d.models import schedules
from selfsup3d.models.cross_modal.fusion import View
from selfsup3d.models.modules.gaussian import Reduction

__all__ = ["Beta", "BetaSchedule", "divergence_factor", "terms_of"]

BetaSchedule = Literal["constant", "annealed", "cyclical"]


@dataclass(frozen=True)
class Beta:
    """The weight of the divergence over a run.

    Attributes:
        schedule: "constant"; "annealed" = 0 until `hold`, then a straight line to `maximum` at `reach`; "cyclical" =
            `cycles` times a straight line over `ramp` of the cycle, then held (Fu et al. 2019).
        maximum: that every schedule reaches within the run, whatever its number of steps.
        hold, reach: progress.
        cycles, ramp: of the cyclical schedule.
    """

    schedule: BetaSchedule = "constant"
    maximum: float = 1e-3
    hold: float = 0.1
    reach: float = 0.8
    cycles: int = 4
    ramp: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.hold < self.reach < 1.0:
            raise ValueError(f"beta: hold {self.hold} and reach {self.reach} must be 0 <= hold < reach < 1")
        if self.cycles < 1 or not 0.0 < self.ramp < 1.0:
            raise ValueError(f"beta: cycles {self.cycles} must be at least 1 and ramp {self.ramp} between 0 and 1")

    def __call__(self, progress: float) -> float:
        """Beta at a progress of the run."""
        if self.schedule == "constant":
            return schedules.constant(progress, self.maximum)
        if self.schedule == "cyclical":
            return schedules.cyclical(progress, self.cycles, self.ramp, self.maximum)
        return schedules.warmup(max(progress - self.hold, 0.0), self.reach - self.hold, self.maximum)


def divergence_factor(view: View, reduction: Reduction, elements: Mapping[str, int]) -> float:
    """What a view's divergence (nats) is multiplied by beside beta.

    "per_element" divides by the number of reconstructed elements, for each target by itself: 1/48 for a pose, 1/12288
    for an image of 64 px. The same beta then weighs 4096 times more for a pose than for an image of 256 px. "mean"
    divides by the latent's dimensions; "sum" leaves nats, once for each bound.
    """
    if reduction == "per_element":
        return sum(1.0 / elements[target] for target in view.targets)
    return view.bounds / (view.z.shape[-1] if reduction == "mean" else 1)


def terms_of(
    view: View,
    misses: Mapping[str, Tensor],
    beta: float,
    weights: Mapping[str, float],
    elements: Mapping[str, int],
    reduction: Reduction,
) -> dict[str, Tensor]:
    """The loss terms of a view, each a mean over samples; with "sum" the misses too are sums over elements.

    Args:
        misses: target -> (B,) mean cost of an element.
        beta: weight of the divergence. weights: of each target. elements: of each target.
    """
    scale = {target: elements[target] if reduction == "sum" else 1 for target in misses}
    terms = {
        f"{view.name}_to_{target}": view.weight * weights[target] * scale[target] * miss.mean()
        for target, miss in misses.items()
    }
    factor = view.weight * beta * divergence_factor(view, reduction, elements)
    terms[f"kl_{view.name}"] = factor * view.divergence.mean()
    return terms
