"""Fewer threads where other processes use the same cores.

A parallel region waits for its slowest thread. Where the kernel puts one of them aside for another process, all wait,
and a step can take ten times as long; with one thread less it goes on at nearly the speed that the cores left over
allow. The kernel counts for each thread how long it ran and how long it was ready and waited for a core: their ratio
says whether the machine is shared, and does not mistake waiting for data for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["ThreadWatch", "run_and_wait_seconds"]

_TASKS = Path("/proc/self/task")
_SHARED = 0.25
"""Waiting for a core, relative to running and waiting, from which the machine counts as shared."""


def run_and_wait_seconds() -> tuple[float, float] | None:
    """Seconds that this process's threads ran, and waited for a core, since they began; None where the kernel does not say."""
    ran = waited = 0
    try:
        for task in _TASKS.iterdir():
            try:
                run, wait, _ = (task / "schedstat").read_text().split()
            except FileNotFoundError:  # the thread has ended
                continue
            ran, waited = ran + int(run), waited + int(wait)
    except (OSError, ValueError):
        return None
    return ran / 1e9, waited / 1e9


class ThreadWatch:
    """Takes one thread less each time that two intervals in a row were spent on a shared machine, down to one.

    Sums of floating-point numbers depend on the number of threads by rounding only.

    Args:
        say: told of each change, in one line.
        interval: seconds between looks.
        read: gives (ran, waited) seconds; None = nothing is known, nothing is changed.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        interval: float = 20.0,
        read: Callable[[], tuple[float, float] | None] = run_and_wait_seconds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._interval, self._read, self._clock = say, interval, read, clock
        self._since, self._before = clock(), read()
        self._shared = 0

    def look(self) -> None:
        """Call after every step: cheap until an interval is over."""
        if self._before is None or torch.get_num_threads() == 1 or self._clock() - self._since < self._interval:
            return
        now = self._read()
        if now is None:
            return
        ran, waited = now[0] - self._before[0], now[1] - self._before[1]
        self._since, self._before = self._clock(), now
        share = waited / max(ran + waited, 1e-9)
        self._shared = self._shared + 1 if share > _SHARED else 0
        if self._shared >= 2:
            threads = torch.get_num_threads() - 1
            torch.set_num_threads(threads)
            self._shared = 0
            self._say(
                f"other processes use these cores (threads waited for one {100 * share:.0f} % of their time): "
                f"going on with {threads} {'thread' if threads == 1 else 'threads'}; --trainer.threads sets it for good"
            )
