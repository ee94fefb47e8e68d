"""Learning curves of a run, read from its log."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from selfsup3d.training.monitor import SCALARS
from selfsup3d.viz.charts import curves

__all__ = ["learning_curves", "read_scalars"]

_BETA = "_beta"


def read_scalars(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> steps and values of every scalar of a run; empty where it has no log."""
    path = folder / SCALARS
    if not path.is_file():
        return {}
    found: dict[str, list[tuple[int, float]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        step = values.pop("step")
        for name, value in values.items():
            found.setdefault(name, []).append((step, float("nan") if value is None else value))
    return {name: (np.array([s for s, _ in pairs]), np.array([v for _, v in pairs])) for name, pairs in found.items()}


def learning_curves(folder: Path) -> np.ndarray | None:
    """Every loss term and validation error of a run with beta through all of them; None where it has no log.

    Args:
        folder: of the run.
    """
    scalars = read_scalars(folder)
    shown = {
        name.removeprefix("loss/"): values
        for name, values in scalars.items()
        if name.startswith(("loss/", "val/mpjpe", "val/pa_mpjpe")) and not name.endswith(f"/{_BETA}")
    }
    if not shown:
        return None
    beta = next((values for name, values in scalars.items() if name.endswith(f"/{_BETA}")), None)
    return curves(shown, through_all=None if beta is None else ("beta", *beta))
