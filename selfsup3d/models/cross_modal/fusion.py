"""How posteriors of several modalities become draws of the latent, and what each draw costs.

A *view* is one draw: what it was made from, the divergence of its distribution from the prior, what is decoded from it,
and its weight in the objective

    sum over views  weight (sum over its targets  miss(decoded(z))  +  beta * divergence)

which is Spurr et al. 2018 (pairs), MVAE (Wu & Goodman 2018: products of experts with a N(0, I) prior expert, for
subsets of the modalities) or MMVAE (Shi et al. 2019: a mixture of experts, each expert's draw decoded to every
modality). They differ in their views alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from selfsup3d.models.modules.gaussian import Gaussian, product_of_experts

__all__ = ["Fusion", "Noise", "Pair", "View", "fuse", "mixture_views", "pair_views", "parse_pair", "product_views"]

Fusion = Literal["pairs", "poe", "moe"]
Noise = Callable[[int], Tensor]
"""Stream -> (B, D) standard normal noise."""


@dataclass(frozen=True)
class Pair:
    """What is encoded, and what is decoded from it."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}->{self.target}"


def parse_pair(text: str, known: Sequence[str]) -> Pair:
    """A pair written "joints_2d->joints_3d".

    Raises:
        ValueError: another form, or a modality that is not known.
    """
    source, arrow, target = (part.strip() for part in text.partition("->"))
    if not arrow or source not in known or target not in known:
        raise ValueError(f"{text!r} is no pair; expected FROM->TO, each of {', '.join(known)}")
    return Pair(source, target)


@dataclass(frozen=True)
class View:
    """One draw of the latent.

    Attributes:
        given: modalities that it was made from.
        posterior: that it was drawn from.
        z: (B, D).
        divergence: (B,) nats, of its distribution from N(0, I).
        targets: modalities to decode.
        weight: of its terms.
        bounds: how many bounds its divergence belongs to where terms are not divided (each pair has its own).
    """

    given: tuple[str, ...]
    posterior: Gaussian
    z: Tensor
    divergence: Tensor
    targets: tuple[str, ...]
    weight: float = 1.0
    bounds: int = 1

    @property
    def name(self) -> str:
        """Of what it was made from."""
        return "+".join(self.given)


def pair_views(posteriors: Mapping[str, Gaussian], pairs: Sequence[Pair], noise: Noise) -> list[View]:
    """One view for each encoder that the pairs name; its targets share the draw (Spurr et al. 2018)."""
    views = []
    for stream, source in enumerate(dict.fromkeys(pair.source for pair in pairs)):
        posterior = posteriors[source]
        targets = tuple(pair.target for pair in pairs if pair.source == source)
        z = posterior.sample(noise(stream))
        views.append(View((source,), posterior, z, posterior.kl("sum"), targets, bounds=len(targets)))
    return views


def product_views(
    posteriors: Mapping[str, Gaussian], decoders: Sequence[str], noise: Noise, own: bool = False
) -> list[View]:
    """A view for each subset of the modalities, the whole first (MVAE's sub-sampled training, every subset taken).

    Args:
        posteriors: of each modality. decoders: modalities that can be decoded. noise: of each view.
        own: decode from a subset its own modalities only, as the paper does; False = all of them, which a modality that
            is never encoded needs **[ours]**. Subsets that would decode nothing are left out.
    """
    names = list(posteriors)
    subsets = [subset for size in range(len(names), 0, -1) for subset in combinations(names, size)]
    views = []
    for stream, subset in enumerate(subsets):
        targets = tuple(name for name in decoders if not own or name in subset)
        if targets:
            posterior = product_of_experts([posteriors[name] for name in subset])
            views.append(View(subset, posterior, posterior.sample(noise(stream)), posterior.kl("sum"), targets))
    return views


def mixture_views(posteriors: Mapping[str, Gaussian], decoders: Sequence[str], noise: Noise) -> list[View]:
    """A view for each expert, all with the same targets: the full M x M matrix of MMVAE, stratified.

    The divergence is that of the mixture q = 1/M sum_m q_m, estimated at the draw: log q(z) - log p(z).
    """
    count = len(posteriors)
    views = []
    for stream, (name, posterior) in enumerate(posteriors.items()):
        z = posterior.sample(noise(stream))
        densities = torch.stack([expert.log_density(z) for expert in posteriors.values()])
        mixture = densities.logsumexp(0) - math.log(count)
        prior = Gaussian(torch.zeros_like(z), torch.zeros_like(z)).log_density(z)
        views.append(View((name,), posterior, z, mixture - prior, tuple(decoders), weight=1.0 / count))
    return views


def fuse(posteriors: Sequence[Gaussian], fusion: Fusion) -> Gaussian:
    """One Gaussian for several modalities, to predict from.

    Products for "poe", where a single modality too is multiplied with the prior. "pairs" trains no fusion; its experts
    are multiplied without a prior, since each alone is used as it is **[ours]**. A mixture has no mean that lies where
    its mass is; the mean of its experts' means with their mean variance stands for it (as the `multivae` library does).
    """
    if fusion == "poe":
        return product_of_experts(posteriors)
    if len(posteriors) == 1:
        return posteriors[0]
    if fusion == "pairs":
        return product_of_experts(posteriors, prior=False)
    means = torch.stack([posterior.mean for posterior in posteriors])
    variances = torch.stack([posterior.log_variance.exp() for posterior in posteriors])
    return Gaussian(means.mean(0), variances.mean(0).log())
