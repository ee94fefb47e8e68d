"""Random draws that depend on (seed, step, global sample index) and on nothing else.

A rank, a worker or a resumed run that asks for the same sample gets the same numbers, so that a run has the same samples
for any number of processes and workers, and interruptions leave it unchanged. (Sums over more processes are rounded in
another order: see assets/results/reliability.md for how far weights drift apart.) Values are hashes of counters (splitmix64: Steele, Lea & Flood 2014,
"Fast splittable pseudorandom number generators"), computed for a whole batch at once.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["RandomStreams", "gaussian_noise", "uniform_noise"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64, on uint64 arrays (arithmetic modulo 2^64)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _keys(seed: int, step: int, indices: np.ndarray) -> np.ndarray:
    """One well-mixed uint64 key per sample."""
    with np.errstate(over="ignore"):
        base = _mix(np.asarray(seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64) + _GOLDEN)
        base = _mix(base + np.uint64(step) * _GOLDEN + np.uint64(1))
        return _mix(base + np.asarray(indices, dtype=np.uint64) * _GOLDEN)


class RandomStreams:
    """A stream of draws for each sample of a batch; every call advances all streams alike.

    Args:
        seed: of the run.
        step: of the training loop.
        indices: (B,) global sample indices.
    """

    def __init__(self, seed: int, step: int, indices: np.ndarray) -> None:
        self.indices = np.asarray(indices, dtype=np.int64)
        self.step = step
        self._keys = _keys(seed, step, self.indices)
        self._used = 0

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def keys(self) -> np.ndarray:
        """(B,) uint64, the root of each sample's stream (`data.device_draws` computes the same streams on a device)."""
        return self._keys

    @property
    def seeds(self) -> np.ndarray:
        """(B,) non-negative int64, the root of later draws for each sample (`Batch.seeds`)."""
        return (self._keys >> np.uint64(1)).astype(np.int64)

    def select(self, rows: np.ndarray) -> RandomStreams:
        """The streams of some samples, going on from where they are; the others' are left alone.

        Args:
            rows: (N,) positions in this batch.
        """
        chosen = RandomStreams.__new__(RandomStreams)
        chosen.indices, chosen.step = self.indices[rows], self.step
        chosen._keys, chosen._used = self._keys[rows], self._used
        return chosen

    def bits(self, *shape: int) -> np.ndarray:
        """(B, *shape) uniform uint64."""
        count = int(np.prod(shape, dtype=np.int64))
        with np.errstate(over="ignore"):
            counters = (np.arange(self._used, self._used + count, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
            values = _mix(self._keys[:, None] + counters[None, :])
        self._used += count
        return values.reshape(len(self), *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """(B, *shape) float64 in [low, high)."""
        unit = (self.bits(*shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return low + (high - low) * unit

    def normal(self, *shape: int) -> np.ndarray:
        """(B, *shape) standard normal float64 (Box-Muller)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(*shape)))
        return radius * np.cos(2.0 * np.pi * self.uniform(*shape))

    def integers(self, high: int | np.ndarray, *shape: int) -> np.ndarray:
        """(B, *shape) int64 in [0, high); `high` is a number or broadcasts against (B, *shape)."""
        drawn = np.floor(self.uniform(*shape) * high).astype(np.int64)
        return np.minimum(drawn, np.asarray(high, dtype=np.int64) - 1)


def gaussian_noise(seeds: Tensor, shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """(B, *shape) float32 standard normal noise that depends on each sample's seed alone, on the seeds' device.

    `stream` tells several draws for one sample apart.
    """
    streams = RandomStreams(0x5EED, stream, seeds.detach().cpu().numpy())
    return torch.from_numpy(streams.normal(*shape).astype(np.float32)).to(seeds.device)


def uniform_noise(seeds: Tensor, shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """(B, *shape) float32 uniform in [0, 1) that depends on each sample's seed alone, on the seeds' device."""
    streams = RandomStreams(0x5EED, stream, seeds.detach().cpu().numpy())
    return torch.from_numpy(streams.uniform(*shape).astype(np.float32)).to(seeds.device)
