"""Learning curves beside a sweep's table: an error on the validation split against samples seen and against time."""

from __future__ import annotations

import itertools

import numpy as np

from selfsup3d.config.load import nearest
from selfsup3d.config.sweep import reference
from selfsup3d.errors import InputError
from selfsup3d.experiments.sweep import Cell, Sweep
from selfsup3d.viz.charts import lines
from selfsup3d.viz.sheets import tile

__all__ = ["sweep_curves"]


def sweep_curves(sweep: Sweep, metric: str) -> np.ndarray:
    """One curve each finished cell that was evaluated on its way, beginning where the run ended that it started from.

    Args:
        sweep: with finished cells; their folders are not needed.
        metric: one of the sweep's.

    Returns:
        (H, W, 3) uint8 RGB: against samples above, against minutes below.

    Raises:
        InputError: no such metric, or no cell that was evaluated on its way.
    """
    if metric not in sweep.config.metrics:
        raise InputError(f"no metric {metric!r}{nearest(metric, sweep.config.metrics)}")
    several = len({seed for column in sweep.config.columns for seed in sweep.config.seeds_of(column)}) > 1
    drawn: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {"samples": {}, "minutes": {}}
    for cell in sweep.cells():
        course = sweep.results["cells"].get(cell.key, {}).get("course", {})
        if not course.get(metric) or None in course[metric]:
            continue
        alone = sum(cell.row in sweep.config.rows_of(column) for column in sweep.config.columns) == 1
        length = "" if alone else f", {sweep.results['cells'][cell.key]['steps']:,} steps"
        name = cell.row + length + (f", seed {cell.seed}" if several else "")
        for axis, curves in drawn.items():
            start, value = _begin(sweep, cell, axis, metric)
            known = [] if value is None else [(start, value)]
            known += [(start + x, y) for x, y in zip(course[axis], course[metric], strict=True)]
            if len(known) < 3:
                continue  # its two ends stand in the table
            curves[name] = (np.array([x for x, _ in known]), np.array([y for _, y in known]))
    if not drawn["samples"]:
        raise InputError("no finished run was evaluated on its way; set trainer.evaluate_every")
    unit = "" if metric.startswith(("pck", "auc", "flip", "miou", "saliency")) else " [mm]"
    labels = {"samples": "samples seen", "minutes": "minutes of training"}
    return tile(
        [[lines(curves, across=labels[axis], up=f"val {metric}{unit}")] for axis, curves in drawn.items()], gap=6
    )


def _begin(sweep: Sweep, cell: Cell, axis: str, metric: str) -> tuple[float, float | None]:
    """What a cell's curve starts at: the end of the run whose weights it began with, and of those before it."""
    flags = sweep.config.rows[cell.row].flags
    for flag, value in itertools.pairwise(flags):
        if flag == "--weights" and (name := reference(value)) is not None:
            other = cell.other(name)
            course = sweep.results["cells"].get(other.key, {}).get("course")
            if course:
                return _begin(sweep, other, axis, metric)[0] + course[axis][-1], course[metric][-1]
    return 0.0, None
