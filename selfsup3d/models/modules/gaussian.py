"""Diagonal Gaussians: reparameterised samples, divergences with a named reduction, products and mixtures of experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from selfsup3d.structures.batch import TensorFields

__all__ = ["Gaussian", "Reduction", "product_of_experts"]

Reduction = Literal["sum", "mean", "per_element"]


@dataclass(frozen=True)
class Gaussian(TensorFields):
    """N(mean, diag(exp(log_variance))).

    Attributes:
        mean, log_variance: (..., D).
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, differentiable in both (Kingma & Welling 2014).

        Args:
            noise: (..., D) standard normal, from `draws.gaussian_noise`; further leading dimensions give more samples.
        """
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def kl(self, reduction: Reduction, elements: int | None = None) -> Tensor:
        """KL(self || N(0, I)) for each sample.

        The reduction decides what a weight beside it means: with "per_element" the same beta weighs 4096 times more
        for a pose of 48 numbers than for an image of 256 * 256 * 3.

        Args:
            reduction: "sum" over latent dimensions; "mean" over them; "per_element" = the sum divided by the number of
                reconstructed elements.
            elements: that number, for "per_element".

        Returns:
            (...).
        """
        terms = 0.5 * (self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance)
        if reduction == "mean":
            return terms.mean(-1)
        if reduction == "sum":
            return terms.sum(-1)
        if reduction != "per_element" or not elements or elements < 1:
            raise ValueError(f"reduction {reduction!r} with elements {elements}: per_element needs a count above 0")
        return terms.sum(-1) / elements

    def log_density(self, z: Tensor) -> Tensor:
        """log N(z) (...) of points (..., D)."""
        squared = (z - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (squared + self.log_variance + _LOG_2_PI).sum(-1)


_LOG_2_PI = 1.8378770664093453


def product_of_experts(experts: Sequence[Gaussian], prior: bool = True) -> Gaussian:
    """The normalised product of Gaussians: precisions add, means are weighted by them (Wu & Goodman 2018, MVAE).

    Args:
        experts: of equal shape, at least one unless `prior`.
        prior: N(0, I) is an expert too, so that the product exists with no other.

    Raises:
        ValueError: nothing to multiply.
    """
    if not experts:
        raise ValueError("a product of experts needs at least one")
    precisions = [(-expert.log_variance).exp() for expert in experts]
    total = torch.stack(precisions).sum(0) + (1.0 if prior else 0.0)
    mean = torch.stack([p * expert.mean for p, expert in zip(precisions, experts, strict=True)]).sum(0) / total
    return Gaussian(mean, -total.log())
