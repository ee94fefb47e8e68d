"""How near a fused training step comes to the machine's own matrix product: its FLOP/s over the measured GEMM peak.

Counted are convolutions and matrix products alone, so that time in everything else (normalisation, activations, part
maps, kinematics, optimizer) lowers the share.
"""

from __future__ import annotations

import torch

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, measure
from selfsup3d.benchmarks.machine import gemm_peak
from selfsup3d.benchmarks.training_step import Stage, TrainingStep, count_flops, made_up_batch, make_system
from selfsup3d.training.device import cpu_has_bf16

__all__ = ["BENCHMARK", "run"]

BATCH, SIZE = 16, 64
STAGES: tuple[Stage, ...] = ("pretrain", "decoder", "joint")


def run(settings: Settings) -> Result:
    """See the module. The row is of the joint stage in float32; stages and bf16 stand in the notes."""
    count, size = (2, 32) if settings.quick else (BATCH, SIZE)
    batch = made_up_batch(size, count)
    kinds = [torch.float32]
    if settings.device.type == "cuda" or cpu_has_bf16() or settings.quick:
        kinds.append(torch.bfloat16)
    steps = {
        (stage, kind): TrainingStep(make_system("tiny"), batch, stage, kind, settings.device)
        for kind in kinds
        for stage in STAGES
    }
    work = {stage: count_flops(steps[stage, torch.float32].pair) for stage in STAGES}
    names = {f"{stage}_{kind}": (stage, kind) for stage, kind in steps}
    times = measure({name: steps[key].pair for name, key in names.items()}, settings, warmup=2)
    notes: dict[str, float | str] = {}
    for kind in kinds:
        peak, short = gemm_peak(kind, settings), "fp32" if kind is torch.float32 else "bf16"
        notes[f"peak_{short}_gflops"] = peak / 1e9
        for stage in STAGES:
            seconds = 1e-3 * times[f"{stage}_{kind}"].median_ms
            notes[f"share_{stage}_{short}"] = work[stage] / seconds / peak
    return Result(
        ours_ms=times["joint_torch.float32"].median_ms / 2,
        ratio=float(notes["share_joint_fp32"]),
        bound=1.0,
        dtype="float32",
        notes=notes,
    )


BENCHMARK = Benchmark(
    run,
    "FLOP/s of the fused step over the measured GEMM peak",
    ">= 0.5",
    "half of a step is convolutions of few channels, the rest normalisation, copies and joins (the profile of train_step)",
)
