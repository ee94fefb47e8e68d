"""`RandomStreams` computed on the device where the data live: the same bits, as torch tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from selfsup3d.structures.random import RandomStreams

__all__ = ["DeviceDraws"]


def _signed(value: int) -> int:
    """The int64 with the bits of a uint64: torch multiplies and adds those modulo 2^64."""
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST, _SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right (torch's is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64, as in `streams`."""
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


class DeviceDraws:
    """The streams of a `RandomStreams`, from their beginning, as tensors on a device.

    Args:
        draws: whose samples these are; it is not advanced.
        device: of the results.
    """

    def __init__(self, streams: RandomStreams, device: torch.device | str = "cpu") -> None:
        self._keys = torch.from_numpy(streams.keys.view(np.int64)).to(device)
        self._used = 0

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def seeds(self) -> Tensor:
        """(B,) `RandomStreams.seeds`."""
        return _shifted(self._keys, 1)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) float32 in [low, high), but for the rounding to float32."""
        return self._unit(shape).mul_(high - low).add_(low).float()

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) standard normal float32 (Box-Muller)."""
        radius = torch.sqrt(-2.0 * torch.log1p(-self._unit(shape)))
        return (radius * torch.cos(2.0 * math.pi * self._unit(shape))).float()

    def integers(self, high: int | Tensor, *shape: int) -> Tensor:
        """(B, *shape) int64 in [0, high); `high` is a number or broadcasts against (B, *shape)."""
        drawn = (self._unit(shape) * high).floor().long()
        return torch.minimum(drawn, torch.as_tensor(high, device=drawn.device) - 1)

    def _unit(self, shape: tuple[int, ...]) -> Tensor:
        """(B, *shape) float64 in [0, 1)."""
        count = math.prod(shape)
        counters = torch.arange(self._used + 1, self._used + count + 1, device=self._keys.device) * _GOLDEN
        values = _mix(self._keys[:, None] + counters[None, :])
        self._used += count
        return (_shifted(values, 11).double() * 2.0**-53).view(len(self), *shape)
