"""An image beside a sweep's table: what every row's model makes of the same frames."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from selfsup3d.builders.evaluation_data import DataOptions, open_evaluation_data
from selfsup3d.builders.systems import load_system
from selfsup3d.config.load import nearest
from selfsup3d.errors import InputError
from selfsup3d.experiments.sweep import Cell, Sweep
from selfsup3d.viz.sheets import sheet

__all__ = ["sweep_images"]


def sweep_images(sweep: Sweep, view: str = "3D side", frames: int = 8, split: str = "test") -> np.ndarray:
    """A column each finished row (first seed, the last budget that it was given), a row each frame.

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
    for row in sweep.config.rows:
        cells = [Cell(row, column, sweep.config.seeds[0]) for column in reversed(sweep.config.columns)]
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
            columns[row] = panels[view]
    if not known:
        raise InputError(f"{sweep.config.output}: no finished run with a model to draw; run the sweep first")
    if not columns:
        raise InputError(f"no panel {view!r}{nearest(view, known)}; there are {', '.join(known)}")
    return sheet(columns)
