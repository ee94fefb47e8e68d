"""What is minimised: the misses of decoded modalities and the weighted divergence, with its reduction named."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from selfsup3d.config.cross_modal import KLConfig
from selfsup3d.models import schedules
from selfsup3d.models.cross_modal.fusion import View
from selfsup3d.models.modules.gaussian import Reduction

__all__ = ["beta_at", "divergence_factor", "terms_of"]


def beta_at(settings: KLConfig, progress: float) -> float:
    """The weight of the divergence at a progress of the run; every schedule reaches its maximum within the run.

    "annealed" is 0 until `hold`, then a straight line to the maximum at `reach`; "cyclical" is `cycles` times a straight
    line over `ramp` of the cycle, then held (Fu et al. 2019).
    """
    s = settings
    if s.schedule == "constant":
        return schedules.constant(progress, s.maximum)
    if s.schedule == "cyclical":
        return schedules.cyclical(progress, s.cycles, s.ramp, s.maximum)
    return schedules.warmup(max(progress - s.hold, 0.0), s.reach - s.hold, s.maximum)


def divergence_factor(view: View, reduction: Reduction, elements: Mapping[str, int]) -> float:
    """What a view's divergence (nats) is multiplied by besides beta.

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
