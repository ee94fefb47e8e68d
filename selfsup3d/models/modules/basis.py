"""Poses as a mean shape plus a few basis shapes: the low-rank prior of non-rigid structure from motion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["ShapeBasis"]


class ShapeBasis(nn.Module):
    """coefficients (..., K) -> canonical pose (..., 17, 3), root at 0: mean + sum_k c_k B_k.

    Args:
        count: K.
        spread: standard deviation of the first basis; the mean starts at 0.
    """

    def __init__(self, count: int, spread: float = 0.1) -> None:
        super().__init__()
        self.count = count
        self.atoms = nn.Parameter(spread * torch.randn(count, NUM_JOINTS, 3))
        self.mean = nn.Parameter(spread * torch.randn(NUM_JOINTS, 3))

    def forward(self, coefficients: Tensor) -> Tensor:
        """(..., K) -> (..., 17, 3), float32."""
        shape = torch.einsum("...k,kjd->...jd", coefficients, self.atoms).float() + self.mean
        return shape - shape[..., :1, :]

    def away_from_mean(self, canonical: Tensor) -> Tensor:
        """(..., 17, 3) canonical poses -> (...) mean distance of their joints from those of the mean pose **[ours]**.

        Without a price on it, a basis may hold flattened people, one kind for every side that they are seen from, in
        place of one kind that is turned.
        """
        return (canonical - (self.mean - self.mean[:1])).norm(dim=-1).mean(-1)
