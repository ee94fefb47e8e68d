"""Similar poses together, so that rare ones can be drawn as often as common ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["pose_clusters"]

_ITERATIONS = 8
_CHUNK = 4096


def pose_clusters(poses: Tensor, count: int = 400) -> np.ndarray:
    """(N,) int64 cluster of each pose (N, 17, 3) by k-means; clusters are numbered without gaps.

    The first centres are evenly spaced poses, so the result is the same on every machine and in every process.
    """
    flat = poses.flatten(1).float()
    centres = flat[torch.linspace(0, len(flat) - 1, min(count, len(flat))).round().long()].clone()
    for _ in range(_ITERATIONS):
        nearest = _nearest(flat, centres)
        sums = torch.zeros_like(centres).index_add_(0, nearest, flat)
        sizes = torch.bincount(nearest, minlength=len(centres))
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centres)
    return np.unique(_nearest(flat, centres).numpy(), return_inverse=True)[1].astype(np.int64)


def _nearest(flat: Tensor, centres: Tensor) -> Tensor:
    """(N,) index of the nearest centre."""
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in flat.split(_CHUNK)])
