"""How the cost of a training step grows: time and memory over resolution, batch, parts and processes.

Every row is a fused joint step of the `tiny` networks in processes of their own (`apart`), one thing changed at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from selfsup3d.benchmarks.apart import Cell, Figures, measure_apart
from selfsup3d.benchmarks.harness import Settings
from selfsup3d.benchmarks.machine import describe, versions

__all__ = ["axes", "grow", "page"]


def axes(settings: Settings) -> dict[str, list[Cell]]:
    """The cells of each axis; the first axis' first cell is where all start from."""
    base = Cell(threads=settings.threads, seconds=settings.seconds, device=settings.device.type)
    if settings.quick:
        base = replace(base, size=32, batch=2, seconds=0.0)
        return {"resolution": [base], "processes": [replace(base, processes=2, threads=1)]}
    few = replace(base, batch=8)
    table = {
        "resolution": [replace(few, size=size) for size in (64, 96, 128, 192, 256)],
        "batch": [replace(base, batch=batch) for batch in (4, 8, 16, 32, 64)],
        "parts": [replace(base, parts=parts) for parts in (2, 6, 10, 18)],
        "precision": [replace(base, bf16=bf16) for bf16 in (False, True)],
    }
    if settings.device.type == "cpu":
        one = replace(base, threads=1)
        table["processes"] = [one, replace(one, processes=2), replace(base, threads=2)]
    return table


def grow(settings: Settings) -> str:
    """Measure everything and give the page."""
    measured: dict[str, list[tuple[Cell, Figures]]] = {}
    known: dict[Cell, Figures] = {}
    for axis, cells in axes(settings).items():
        measured[axis] = []
        for cell in cells:
            if cell not in known:
                print(f"{axis}: {cell}", file=sys.stderr, flush=True)
                known[cell] = measure_apart(cell)
            measured[axis].append((cell, known[cell]))
    return page(measured, settings)


def page(measured: Mapping[str, Sequence[tuple[Cell, Figures]]], settings: Settings) -> str:
    """Markdown of the measured table."""
    machine, packages = describe(settings.device), versions()
    where = machine.get("gpu", f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB")
    lines = [
        "# How the cost of a training step grows",
        "",
        f"A fused joint step of the `tiny` networks on {where}; torch {packages['torch']}. Medians; each row in processes "
        "of its own; MB is the resident peak of the largest process, Python and torch included.",
        "",
        f"    selfsup3d benchmark --growth assets/results/speed.md --threads {settings.threads}",
        "",
    ]
    for axis, rows in measured.items():
        lines += [
            f"## {axis.capitalize()}",
            "",
            "| px | batch | parts | processes x threads | precision | step ms | samples/s | peak MB | GFLOP/sample "
            "| time relative to the first |",
            "|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|",
            *(_row(cell, figures, rows[0][1]) for cell, figures in rows),
            "",
            _remark(axis, rows),
            "",
        ]
    return "\n".join(lines)


def _row(cell: Cell, figures: Figures, first: Figures) -> str:
    rate = 1e3 * cell.batch * cell.processes / figures.step_ms
    cells = (
        str(cell.size),
        f"{cell.batch} each" if cell.processes > 1 else str(cell.batch),
        str(cell.parts),
        f"{cell.processes} x {cell.threads}",
        "bf16" if cell.bf16 else "fp32",
        f"{figures.step_ms:.0f}",
        f"{rate:.1f}",
        f"{figures.peak_mb:.0f}",
        f"{figures.gflop / cell.batch:.2f}",
        f"{figures.step_ms / first.step_ms:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


def _remark(axis: str, rows: Sequence[tuple[Cell, Figures]]) -> str:
    """One sentence that the figures themselves write."""
    (low, first), (high, last) = rows[0], rows[-1]
    time, memory = last.step_ms / first.step_ms, last.peak_mb - first.peak_mb
    if axis == "resolution":
        return f"{(high.size / low.size) ** 2:.0f} times the pixels: {time:.1f} times the time, {memory:.0f} MB more."
    if axis == "batch":
        each = memory / max(high.batch - low.batch, 1)
        return f"{high.batch / low.batch:.0f} times the batch: {time:.1f} times the time; {each:.0f} MB a sample."
    if axis == "parts":
        return f"{high.parts / low.parts:.0f} times the parts: {time:.2f} times the time, {memory:.0f} MB more."
    if axis == "precision":
        return f"bf16 takes {time:.2f} times the time of fp32 and {memory:+.0f} MB."
    if len(rows) < 2:
        return ""
    two = rows[1][1]
    share = first.step_ms / two.step_ms
    return (
        f"Two processes of one thread take twice the samples in {1 / share:.2f} times one's time: {2 * share:.2f} times "
        f"the samples a second; one process of two threads gains {first.step_ms / last.step_ms:.2f}."
    )
