"""32 views of one person painted together beside 32 calls.

The bound supposes that the views' FLOPs ran at the measured GEMM peak, and nothing else took time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, check, measure
from selfsup3d.benchmarks.machine import gemm_peak, peak_memory_mb
from selfsup3d.benchmarks.training_step import count_flops, made_up_batch, make_system
from selfsup3d.geometry.camera import orbit_rotation
from selfsup3d.models.part_guided.network import Appearance

__all__ = ["BENCHMARK", "run"]

VIEWS, SIZE = 32, 64
TOLERANCE = 1e-3  # of an image in [0, 1]: other kernels for other batches


@torch.inference_mode()
def run(settings: Settings) -> Result:
    """See the module."""
    views, size = (4, 32) if settings.quick else (VIEWS, SIZE)
    system = make_system("tiny").to(settings.device).eval()
    batch = made_up_batch(size, 1).to(settings.device)
    assert batch.source is not None
    assert batch.unpaired is not None
    assert batch.unpaired_camera is not None
    assert batch.K is not None
    appearance = Appearance(system.encode(batch.source, batch.K).appearance)
    turns = torch.stack([orbit_rotation(2 * math.pi * view / views, 0.2) for view in range(views)]).to(settings.device)
    joints = batch.unpaired @ turns.mT + batch.unpaired_camera.translation[:, None]  # (views, 17, 3)
    K = batch.K.expand(views, 3, 3)
    many = appearance.map(lambda values: values.expand(views, -1, -1))

    def together() -> Tensor:
        return system.synthesize(many, joints, K, (size, size)).image

    def one_by_one() -> Tensor:
        calls = (system.synthesize(appearance, joints[v : v + 1], K[v : v + 1], (size, size)) for v in range(views))
        return torch.cat([painted.image for painted in calls])

    error = check(together(), one_by_one(), TOLERANCE, "views")
    work = count_flops(together)
    times = measure({"together": together, "calls": one_by_one}, settings)
    least_ms = 1e3 * work / gemm_peak(torch.float32, settings)
    return Result(
        ours_ms=times["together"].median_ms,
        peer_ms=times["calls"].median_ms,
        peer=f"{views} calls",
        bound=times["calls"].median_ms / least_ms,
        dtype="float32",
        max_error=error,
        peak_mb=peak_memory_mb(together, settings),
        notes={"images_per_s": 1e3 * views / times["together"].median_ms, "gflop": work / 1e9},
    )


BENCHMARK = Benchmark(run, f"{VIEWS} views of one person painted together, beside {VIEWS} calls", ">= 2.5")
