"""The share of a step that is spent waiting for data: the quickstart's own stream and loader, one worker.

Stages take turns differently long, so each is run on its own; the row weighs them as the quickstart's run does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, synchronize
from selfsup3d.benchmarks.training_step import Stage, TrainingStep, make_system
from selfsup3d.builders.systems import build_source
from selfsup3d.config.datasets import SyntheticConfig
from selfsup3d.config.run import Config
from selfsup3d.config.trainer import TrainerConfig
from selfsup3d.data.sampling.step_dataset import StepStream
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams

__all__ = ["BENCHMARK", "quickstart_stream", "run", "sample_ms"]

STAGES: dict[Stage, float] = {"pretrain": 0.92, "decoder": 0.06, "joint": 0.02}
"""Shares of the quickstart's steps (configs/quickstart.yaml)."""

BATCH, SIZE = 32, 64
WARM = 4  # steps before the clock starts: the worker starts, kernels are chosen


def quickstart_stream(settings: Settings, root: Path | None = None) -> StepStream:
    """Training samples of the quickstart; its clips are rendered where they are missing from `root`."""
    preset, size, count = ("tiny-test", 16, 2) if settings.quick else ("quickstart", SIZE, BATCH)
    data = SyntheticConfig(preset=preset, size=size, root=root)  # type: ignore[arg-type]
    config = Config(data=data, trainer=TrainerConfig(batch_size=count))
    return StepStream(cast(Any, build_source(config, "train")), config.seed, count)


def sample_ms(stream: StepStream, steps: int = 20) -> float:
    """Milliseconds of one core that a sample costs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        stream[0]
        begin = time.perf_counter()
        for step in range(1, steps + 1):
            stream.source.batch(RandomStreams(0, step, stream.indices(step, 0)))
        return 1e3 * (time.perf_counter() - begin) / (steps * stream.batch_size)
    finally:
        torch.set_num_threads(threads)


def _waits(stream: StepStream, stage: Stage, settings: Settings) -> tuple[float, float, int]:
    """Seconds of waiting and of work, and how many steps."""
    batches: Iterator[list[Batch]] = iter(
        DataLoader(stream, batch_size=None, sampler=range(1_000_000), num_workers=1)  # type: ignore[arg-type]
    )
    step = TrainingStep(make_system("tiny"), next(batches)[0], stage, device=settings.device)
    waited = worked = 0.0
    least, number = (2 if settings.quick else 20), -WARM
    try:
        while number < least or (not settings.quick and waited + worked < settings.seconds):
            begin = time.perf_counter()
            batch = next(batches)[0]
            got = time.perf_counter()
            step.take(number % 2, batch.to(settings.device))
            synchronize(settings.device)
            if number >= 0:
                waited, worked = waited + got - begin, worked + time.perf_counter() - got
            number += 1
    finally:
        cast(Any, batches)._shutdown_workers()
    return waited / number, worked / number, number


def run(settings: Settings, root: Path | None = None) -> Result:
    """See the module.

    Args:
        root: of the rendered clips; None = where training keeps them. They are rendered where they are missing.
    """
    stream = quickstart_stream(settings, root)
    notes: dict[str, float | str] = {"sample_ms": sample_ms(stream, 2 if settings.quick else 20)}
    wait = work = 0.0
    for stage, weight in STAGES.items():
        waited, worked, _ = _waits(stream, stage, settings)
        notes[f"share_{stage}"] = waited / (waited + worked)
        notes[f"step_{stage}_ms"] = 1e3 * (waited + worked)
        wait, work = wait + weight * waited, work + weight * worked
    return Result(ours_ms=1e3 * wait, ratio=wait / (wait + work), dtype="float32", notes=notes)


BENCHMARK = Benchmark(run, "time a step of the quickstart waits for data", "<= 0.10")
