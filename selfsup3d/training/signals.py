"""SIGTERM and SIGINT as a wish that the loop reads between steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopRequest", "ignore_stop_signals"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """While entered, the first SIGTERM or SIGINT only sets `signal`; a second one acts as usual.

    In a thread other than the main one Python delivers no signals, and entering does nothing.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def ignore_stop_signals(worker: int) -> None:
    """For data workers: terminals and schedulers signal the whole process group, and a worker that died of it would
    break the step that the loop wants to finish. Who starts workers that ignore signals must close them."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
