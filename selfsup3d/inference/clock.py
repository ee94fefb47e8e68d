"""Time spent in each stage of a pipeline."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["Clock"]

Item = TypeVar("Item")


class Clock:
    """Seconds by stage; a stage inside another one counts for itself alone.

    Attributes:
        seconds: by name. watched: items that came through `watch`.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.watched = 0
        self._start = self._since = time.perf_counter()
        self._open: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a block."""
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def _count(self) -> None:
        """Give the time since the last change to the innermost open stage."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def watch(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; the time that it takes to get them counts."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            self.watched += 1
            yield item

    def report(self, frames: int) -> str:
        """One line: frames per second in all, milliseconds per frame by stage."""
        total = time.perf_counter() - self._start
        parts = ", ".join(f"{name} {1000 * s / max(frames, 1):.1f}" for name, s in self.seconds.items())
        return f"{frames} frames in {total:.1f} s: {frames / max(total, 1e-9):.1f} frames/s; ms per frame: {parts}"
