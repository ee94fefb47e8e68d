"""Rendered people for pre-training: images a second of one process at 96 and 128 px, and of two processes at once.

Measured is what training asks of `PeopleSource`: cut-outs rendered at the rate at which its pool is renewed, then turned,
cropped, lit and laid over procedural backgrounds. The row is of 96 px; its ratio is that of two processes to one.
"""

from __future__ import annotations

import multiprocessing
import time

import numpy as np
import torch

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings
from selfsup3d.benchmarks.machine import resident_mb
from selfsup3d.cli import keep_freed_memory
from selfsup3d.data.synthetic.people_images import PeopleSource
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.structures.random import RandomStreams

__all__ = ["BENCHMARK", "run"]

SIZES = (96, 128)
BATCH = 32
POOL = 256  # small, so that renewal is at its steady rate after a few seconds


def _images_per_s(size: int, seconds: float, first: int, reuse: float = 5.0) -> tuple[float, float]:
    """Of one process, whose samples begin at number `first`; and the megabytes that it grew by in the second half."""
    keep_freed_memory()
    torch.set_num_threads(1)
    source = PeopleSource(ProceduralPrior(motions=8), size, pool=POOL, reuse=reuse)
    if reuse > POOL:  # nothing is renewed: every cut-out is made before the clock starts
        source.batch(RandomStreams(0, 0, np.arange(first, first + 8 * POOL)))
    number, begin, made, half = first, time.perf_counter(), 0, 0.0
    source.batch(RandomStreams(0, 0, np.arange(number, number + BATCH)))  # the first renders what later ones share
    begin = time.perf_counter()
    cpu = torch.device("cpu")
    while made < 2 * BATCH or time.perf_counter() - begin < seconds:
        number += BATCH
        source.batch(RandomStreams(0, 0, np.arange(number, number + BATCH)))
        made += BATCH
        if not half and time.perf_counter() - begin > seconds / 2:
            half = resident_mb("now", cpu)
    return made / (time.perf_counter() - begin), resident_mb("now", cpu) - half if half else 0.0


def run(settings: Settings) -> Result:
    """See the module."""
    seconds = 0.5 if settings.quick else max(4 * settings.seconds, 8.0)
    notes: dict[str, float | str] = {}
    speed: dict[tuple[int, int], float] = {}
    with multiprocessing.get_context("spawn").Pool(2) as pool:  # no threads, kernels or caches of this process
        for size in (32,) if settings.quick else SIZES:
            for processes in (1, 2):
                jobs = [(size, seconds, 10_000_000 * n) for n in range(processes)]
                found = pool.starmap(_images_per_s, jobs, chunksize=1)
                speed[size, processes] = sum(rate for rate, _ in found)
                notes[f"images_per_s_{size}_{processes}_processes"] = speed[size, processes]
                notes[f"grown_mb_{size}_{processes}_processes"] = max(grown for _, grown in found)
            filled, _ = pool.apply(_images_per_s, (size, seconds, 0, 1e6))
            notes[f"images_per_s_{size}_from_a_filled_pool"] = filled
    first = next(iter(speed))[0]
    return Result(
        ours_ms=1e3 / speed[first, 1], ratio=speed[first, 2] / speed[first, 1], bound=2.0, dtype="float32", notes=notes
    )


BENCHMARK = Benchmark(run, "an image of rendered people at 96 px, two processes beside one", ">= 1.9")
