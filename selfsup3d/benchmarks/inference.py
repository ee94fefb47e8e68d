"""`Synthesizer.pose`: images to poses, cameras, parts and reconstructions, at two sizes and two batches."""

from __future__ import annotations

from functools import partial

import torch

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, check, measure
from selfsup3d.benchmarks.machine import peak_memory_mb
from selfsup3d.benchmarks.training_step import made_up_batch, make_system, profile
from selfsup3d.inference.synthesizer import Synthesizer
from selfsup3d.models.part_guided.presets import PRESETS

__all__ = ["BENCHMARK", "run"]

NAMES = ("tiny", "small")
BATCHES = (1, 32)
TOLERANCE = 1e-3  # metres, between an image alone and among others


def run(settings: Settings) -> Result:
    """See the module. The row is of `tiny` and one image."""
    notes: dict[str, float | str] = {}
    calls = {}
    error = 0.0
    batches = (1, 3) if settings.quick else BATCHES
    for name in NAMES[:1] if settings.quick else NAMES:
        size = PRESETS[name].image_size
        batch = made_up_batch(size, batches[-1])
        assert batch.target is not None
        system = make_system(name).to(settings.device).eval()
        system.fit([batch])
        torch.nn.init.normal_(system.decoder.to_image.weight, std=0.02)  # a trained one's are not 0 either
        synthesizer, images = Synthesizer(system, size), batch.target.to(settings.device)
        alone, among = (synthesizer.pose(images[:count]).pose[:1] for count in batches)
        error = max(error, check(alone, among, TOLERANCE, f"poses of {name}"))
        for count in batches:
            calls[name, count] = partial(synthesizer.pose, images[:count])
    times = {}
    for (name, count), call in calls.items():  # each on its own: a cache that others have emptied is no answer's time
        timing = times[name, count] = measure({"pose": call}, settings)["pose"]
        notes[f"{name}_{count}_images_per_s"] = 1e3 * count / timing.median_ms
        if count == 1:
            notes[f"{name}_1_p95_ms"] = timing.p95_ms
    notes["profile of tiny, one image"] = profile(calls["tiny", 1], settings.device)
    return Result(
        ours_ms=times["tiny", 1].median_ms,
        dtype=str(torch.get_default_dtype()).removeprefix("torch."),
        max_error=error,
        peak_mb=peak_memory_mb(calls["tiny", batches[-1]], settings),
        notes=notes,
    )


BENCHMARK = Benchmark(
    run,
    "Synthesizer.pose, tiny and small, 1 and 32 images",
    "tiny p95 < 15 ms",
    "convolutions take a third of the time, many small operators the rest (the profile)",
)
