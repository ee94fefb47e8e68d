"""All benchmarks by name, in the order in which they run and are printed. How one is written: `harness`."""

from __future__ import annotations

from selfsup3d.benchmarks import crops, kinematics, metrics_35k, pa_mpjpe, part_maps, render
from selfsup3d.benchmarks.harness import Benchmark

__all__ = ["BENCHMARKS"]

BENCHMARKS: dict[str, Benchmark] = {
    "kinematics": kinematics.BENCHMARK,
    "part_maps": part_maps.BENCHMARK,
    "pa_mpjpe": pa_mpjpe.BENCHMARK,
    "render": render.BENCHMARK,
    "crops": crops.BENCHMARK,
    "metrics_35k": metrics_35k.BENCHMARK,
}
