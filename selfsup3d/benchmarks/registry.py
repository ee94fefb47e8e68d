"""All benchmarks by name, in the order in which they run and are printed. How one is written: `harness`."""

from __future__ import annotations

from selfsup3d.benchmarks import (
    backbones,
    crops,
    gemm_share,
    inference,
    kinematics,
    lifter,
    loader_share,
    memory,
    metrics_35k,
    n_views,
    part_maps,
    people,
    render,
    shared_machine,
    start,
    train_step,
    training_images,
    video_to_3d,
)
from selfsup3d.benchmarks.harness import Benchmark

__all__ = ["BENCHMARKS"]

BENCHMARKS: dict[str, Benchmark] = {
    "kinematics": kinematics.BENCHMARK,
    "part_maps": part_maps.BENCHMARK,
    "train_step": train_step.BENCHMARK,
    "gemm_share": gemm_share.BENCHMARK,
    "backbones": backbones.BENCHMARK,
    "loader_share": loader_share.BENCHMARK,
    "training_images": training_images.BENCHMARK,
    "render": render.BENCHMARK,
    "people": people.BENCHMARK,
    "shared_machine": shared_machine.BENCHMARK,
    "start": start.BENCHMARK,
    "n_views": n_views.BENCHMARK,
    "inference": inference.BENCHMARK,
    "memory": memory.BENCHMARK,
    "crops": crops.BENCHMARK,
    "metrics_35k": metrics_35k.BENCHMARK,
    "lifter_inference": lifter.INFERENCE,
    "lifter_training": lifter.TRAINING,
    "lifter_small_batch": lifter.SMALL_BATCH,
    "video_to_3d": video_to_3d.BENCHMARK,
}
