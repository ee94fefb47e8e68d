"""Training beside a busy process of another login session: the share of the quiet speed that is left.

The neighbour spins on one core in a session of its own, where the kernel gives it a full share however nice it is. The
step is the quickstart's joint stage; the run's own `ThreadWatch` may take threads away, as it does in training.
"""

from __future__ import annotations

import subprocess
import sys
import time

import torch

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, synchronize
from selfsup3d.benchmarks.training_step import TrainingStep, made_up_batch, make_system
from selfsup3d.training.shared_machine import ThreadWatch

__all__ = ["BENCHMARK", "run"]


def run(settings: Settings) -> Result:
    """See the module."""
    size, count = (32, 2) if settings.quick else (64, 16)
    step = TrainingStep(make_system("tiny"), made_up_batch(size, count), "joint", device=settings.device)
    threads = torch.get_num_threads()
    said: list[str] = []
    try:
        quiet = _step_ms(step, settings, None)
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
        try:
            plain = _step_ms(step, settings, None)
            watched = _step_ms(step, settings, ThreadWatch(said.append, 0.2 if settings.quick else 2.0))
        finally:
            neighbour.kill()
            neighbour.wait()
        left = torch.get_num_threads()
    finally:
        torch.set_num_threads(threads)
    notes: dict[str, float | str] = {"beside_ms": watched, "beside_all_threads_ms": plain, "threads": left}
    return Result(ours_ms=quiet, ratio=quiet / watched, dtype="float32", notes=notes)


def _step_ms(step: TrainingStep, settings: Settings, watch: ThreadWatch | None) -> float:
    """Median milliseconds of a step in the second half of the time."""
    seconds = 1.0 if settings.quick else max(settings.seconds * 2, 10.0)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 4 or time.perf_counter() - begin < seconds:
        since = time.perf_counter()
        step.take(len(times))
        synchronize(settings.device)
        times.append(time.perf_counter() - since)
        if watch is not None:
            watch.look()
    late = sorted(times[len(times) // 2 :])
    return 1e3 * late[len(late) // 2]


BENCHMARK = Benchmark(run, "training beside a busy process of another session, of the quiet speed", ">= 0.4")
