"""Peak memory of a training step for each preset and batch, each in a process of its own.

A straight line is laid through a preset's batches: the notes tell what a sample takes, what a step without samples would
take, and the row how far the measured peaks are from that line.
"""

from __future__ import annotations

import numpy as np

from selfsup3d.benchmarks.apart import Cell, measure_apart
from selfsup3d.benchmarks.harness import Benchmark, Result, Settings
from selfsup3d.models.part_guided.presets import PRESETS

__all__ = ["BENCHMARK", "line", "run"]

BATCHES = {"tiny": (8, 16, 32), "small": (4, 8, 16), "paper": (2, 4, 6)}


def line(batches: tuple[int, ...], peaks: list[float]) -> tuple[float, float, float]:
    """MB at no samples, MB for each sample, and the largest deviation of a peak from that line as a share of the peak."""
    slope, start = np.polyfit(batches, peaks, 1)
    away = [abs(start + slope * batch - peak) / peak for batch, peak in zip(batches, peaks, strict=True)]
    return float(start), float(slope), max(away)


def run(settings: Settings) -> Result:
    """See the module. The row's peak is that of `tiny` and 16 samples, its ratio the largest deviation."""
    notes: dict[str, float | str] = {}
    table = {"tiny": (1, 2, 3)} if settings.quick else BATCHES
    deviation = 0.0
    for preset, batches in table.items():
        size = 32 if settings.quick else PRESETS[preset].image_size
        peaks = []
        for batch in batches:
            cell = Cell(preset, size, batch, threads=settings.threads, seconds=0.0, device=settings.device.type)
            peaks.append(measure_apart(cell).peak_mb)
            notes[f"{preset}_{batch}_mb"] = peaks[-1]
        start, slope, away = line(batches, peaks)
        notes |= {f"{preset}_mb_a_sample": slope, f"{preset}_mb_at_0": start, f"{preset}_off_the_line": away}
        deviation = max(deviation, away)
    peak = notes[f"tiny_{table['tiny'][1]}_mb"]
    return Result(ratio=deviation, dtype="float32", peak_mb=float(peak), notes=notes)


BENCHMARK = Benchmark(run, "peak of a training step by preset and batch: share off a straight line", "<= 0.1")
