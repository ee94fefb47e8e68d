"""SIGTERM, SIGINT and SIGHUP (a closed terminal) as a wish that the loop reads between steps; so is the launcher's end.

`accelerate launch` with one process passes no signal on: whoever stops the launcher alone (`kill`, a container's end)
would leave a run behind that nobody watches.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopRequest", "ignore_stop_signals", "launched"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class StopRequest:
    """While entered, the first SIGTERM, SIGINT or SIGHUP only sets `reason`; a second one acts as usual.

    In a thread other than the main one Python delivers no signals, and entering does nothing.
    """

    def __init__(self) -> None:
        self._signal: str | None = None
        self._launcher = os.getppid() if launched() else None
        self._before: dict[int, Any] = {}

    @property
    def reason(self) -> str | None:
        """Why to stop: the signal's name, or the end of the launcher; None = go on."""
        if self._signal is None and self._launcher is not None and os.getppid() != self._launcher:
            return "the end of its launcher"
        return self._signal

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) == signal.SIG_IGN:
                    continue  # nohup: the run is to outlive its terminal
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def launched() -> bool:
    """Whether accelerate or torchrun started this process."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ or "LOCAL_WORLD_SIZE" in os.environ


def ignore_stop_signals(worker: int) -> None:
    """For data workers: terminals and schedulers signal the whole process group, and a worker that died of it would
    break the step that the loop wants to finish. Who starts workers that ignore signals must close them."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
