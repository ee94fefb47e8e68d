"""Figures of a sweep: learning curves of its runs, and what their models make of the same frames."""

from __future__ import annotations

import itertools

import numpy as np
from torch import Tensor

from selfsup3d.builders.evaluation_data import DataOptions, open_evaluation_data
from selfsup3d.builders.systems import load_system
from selfsup3d.config.load import nearest
from selfsup3d.config.sweep import reference
from selfsup3d.errors import InputError
from selfsup3d.experiments.sweep import Cell, Sweep
from selfsup3d.viz.charts import lines
from selfsup3d.viz.sheets import sheet, tile

__all__ = ["sweep_curves", "sweep_images"]


def sweep_images(sweep: Sweep, view: str = "3D side", frames: int = 8, split: str = "test") -> np.ndarray:
    """A column for each finished experiment (first seed, the last budget that it was given), a row for each frame.

    Args:
        sweep: with finished cells, their folders still there.
        view: the panel of each system that is drawn (see `System.panels`).
        frames: how many, spread evenly over the split.
        split: of the data that the systems were trained on.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: no finished cell has its model, or none of the systems has such a panel.
    """
    columns: dict[str, Tensor] = {}
    known: dict[str, None] = {}
    for experiment in sweep.config.experiments:
        cells = [Cell(experiment, budget, sweep.config.seeds[0]) for budget in reversed(sweep.config.budgets)]
        done = [sweep.folder(cell) for cell in cells if sweep.done(cell) and (sweep.folder(cell) / "model").is_dir()]
        if not done:
            continue
        system, config = load_system(done[0])
        source = open_evaluation_data(config, system.predict_requires, DataOptions(split=split)).source
        panels = system.panels(source.frames(np.linspace(0, len(source) - 1, frames).astype(np.int64)))
        known |= dict.fromkeys(panels)
        if view in panels:
            if not columns and "keypoints" in panels:
                columns["input"] = panels["keypoints"]
            columns[sweep.config.title_of(experiment)] = panels[view]
    if not known:
        raise InputError(f"{sweep.config.output}: no finished run with a model to draw; run the sweep first")
    if not columns:
        raise InputError(f"no panel {view!r}{nearest(view, known)}; there are {', '.join(known)}")
    return sheet(columns)


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
    several = len({seed for budget in sweep.config.budgets for seed in sweep.config.seeds_of(budget)}) > 1
    drawn: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {"samples": {}, "minutes": {}}
    for cell in sweep.cells():
        course = sweep.results["cells"].get(cell.key, {}).get("course", {})
        if not course.get(metric) or None in course[metric]:
            continue
        alone = sum(cell.experiment in sweep.config.experiments_of(budget) for budget in sweep.config.budgets) == 1
        length = "" if alone else f", {sweep.results['cells'][cell.key]['steps']:,} steps"
        name = sweep.config.title_of(cell.experiment) + length + (f", seed {cell.seed}" if several else "")
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
    flags = sweep.config.experiments[cell.experiment].flags
    for flag, value in itertools.pairwise(flags):
        if flag == "--weights" and (name := reference(value)) is not None:
            other = cell.other(name)
            course = sweep.results["cells"].get(other.key, {}).get("course")
            if course:
                return _begin(sweep, other, axis, metric)[0] + course[axis][-1], course[metric][-1]
    return 0.0, None
