"""A normalising flow: an invertible network with a tractable density, of poses' principal components."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Coupling", "Flow"]

_LARGEST = 1.9
"""Log-scales stay within +- this (a soft clamp), or a few steps can make the density explode."""


class Coupling(nn.Module):
    """Affine coupling: one half of the coordinates, permuted, scales and shifts the other (Dinh et al. 2017, RealNVP).

    Args:
        size: D. width: of the inner network. generator: of the fixed permutation.
    """

    order: Tensor

    def __init__(self, size: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kept = size // 2
        self.network = nn.Sequential(nn.Linear(self.kept, width), nn.ReLU(), nn.Linear(width, 2 * (size - self.kept)))
        nn.init.zeros_(self.network[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.network[-1].bias)  # type: ignore[arg-type]
        self.register_buffer("order", torch.randperm(size, generator=generator))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> (B, D) and log |det J| (B,)."""
        x = x[:, self.order]
        kept, moved = x[:, : self.kept], x[:, self.kept :]
        scale, shift = self._affine(kept)
        return torch.cat((kept, moved * scale.exp() + shift), -1), scale.sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """Undo `forward`."""
        kept, moved = z[:, : self.kept], z[:, self.kept :]
        scale, shift = self._affine(kept)
        return torch.cat((kept, (moved - shift) * (-scale).exp()), -1)[:, self.order.argsort()]

    def _affine(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.network(kept).float().chunk(2, -1)
        return _LARGEST * torch.tanh(scale / _LARGEST), shift


class Flow(nn.Module):
    """Coupling layers from data to a standard normal distribution.

    Args:
        size: D. layers: couplings. width: of their networks.
    """

    def __init__(self, size: int, layers: int = 8, width: int = 1024) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)  # the permutations are part of the architecture
        self.layers = nn.ModuleList(Coupling(size, width, generator) for _ in range(layers))
        self.size = size

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> latent (B, D) and log |det J| (B,)."""
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, logarithm = layer(x)
            total = total + logarithm
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        """Latent (B, D) -> data (B, D)."""
        for layer in reversed(self.layers):
            z = layer.inverse(z)  # type: ignore[operator]
        return z

    def negative_log_likelihood(self, x: Tensor) -> Tensor:
        """-log p(x) (B,)."""
        z, logarithm = self(x)
        return 0.5 * z.square().sum(-1) + 0.5 * self.size * math.log(2 * math.pi) - logarithm
