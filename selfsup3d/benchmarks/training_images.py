"""Training images a second by stage and resolution, beside the machine's own matrix product.

Steps of the part-guided system (`tiny`) on made-up samples, as in `train_step`; the share is that of the measured GEMM
peak, convolutions and matrix products counted alone. The row is of the joint stage at 64 px.
"""

from __future__ import annotations

import torch

from selfsup3d.benchmarks import gemm_share
from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, measure
from selfsup3d.benchmarks.machine import gemm_peak
from selfsup3d.benchmarks.training_step import Stage, TrainingStep, count_flops, made_up_batch, make_system

__all__ = ["BENCHMARK", "run"]

SIZES = (64, 96, 128)
STAGES: tuple[Stage, ...] = ("pretrain", "decoder", "joint")
BATCH = 16


def run(settings: Settings) -> Result:
    """See the module."""
    sizes, count = ((32,), 2) if settings.quick else (SIZES, BATCH)
    peak = gemm_peak(torch.float32, settings)
    notes: dict[str, float | str] = {"peak_fp32_gflops": peak / 1e9}
    row: tuple[float, float] | None = None
    for size in sizes:
        batch = made_up_batch(size, count)
        for stage in reversed(STAGES):
            step = TrainingStep(make_system("tiny"), batch, stage, device=settings.device)
            work = count_flops(step.pair) / 2
            seconds = 1e-3 * measure({"step": step.pair}, settings, warmup=1)["step"].median_ms / 2
            share = work / seconds / peak
            row = row or (1e3 * seconds, share)
            notes[f"{stage}_{size}_images_per_s"] = count / seconds
            notes[f"{stage}_{size}_share"] = share
    assert row is not None
    return Result(ours_ms=row[0], ratio=row[1], bound=1.0, dtype="float32", notes=notes)


BENCHMARK = Benchmark(
    run,
    "training images a second by stage at 64, 96 and 128 px, beside the GEMM peak",
    ">= 0.5",
    gemm_share.BENCHMARK.limit,
)
