"""What is costly to render and serves several samples, renewed as training goes on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from selfsup3d.structures.random import RandomStreams

__all__ = ["RenewedPool"]

Item = TypeVar("Item")


class RenewedPool(Generic[Item]):
    """Things by number; which of them a sample gets depends on its own stream alone, whatever was made before.

    Args:
        size: kept at a time. reuse: samples that get each, on average, before the pool is renewed.
        make: the things of N numbers, in their order.
    """

    def __init__(self, size: int, reuse: float, make: Callable[[np.ndarray], list[Item]]) -> None:
        self._size, self._life, self._make = size, round(size * reuse), make
        self._kept: OrderedDict[int, Item] = OrderedDict()

    def draw(self, streams: RandomStreams) -> tuple[np.ndarray, list[Item]]:
        """The numbers and the things of B samples."""
        which = streams.indices // self._life * self._size + streams.integers(self._size)
        missing = np.array([i for i in dict.fromkeys(which.tolist()) if i not in self._kept], dtype=np.int64)
        if len(missing):
            self._kept.update(zip(missing.tolist(), self._make(missing), strict=True))
        found = [self._kept[i] for i in which.tolist()]
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return which, found
