"""The report of a cross-modal VAE: its images, beside the tables that every system has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selfsup3d.data.sampling.dataset import Frames
from selfsup3d.evaluation.cross_modal import see
from selfsup3d.evaluation.latent_figures import (
    arithmetic_strips,
    interpolation_strips,
    latent_maps,
    predictions_sheet,
    prior_sheet,
    thumbnails,
)
from selfsup3d.experiments.learning_curves import learning_curves
from selfsup3d.models.cross_modal.system import CrossModalVAE
from selfsup3d.viz.sheets import write_png

__all__ = ["write_latent_report"]

_FRAMES = 1000


def write_latent_report(folder: Path, system: CrossModalVAE, source: Frames, checkpoint: Path) -> list[str]:
    """Write predictions, latent maps, interpolation, arithmetic, prior and curves as PNG; the names that were written.

    Args:
        folder: of the report.
        system: in evaluation mode.
        source: of the frames.
        checkpoint: a run or its model; learning curves come from the run's log, where there is one.
    """
    count = min(_FRAMES, len(source))
    indices = np.unique(np.linspace(0, len(source) - 1, count).round().astype(np.int64))
    seen = see(system, source, indices)
    images: dict[str, np.ndarray] = {"prior": prior_sheet(system)}
    if "joints_3d" in system.targets:
        images["predictions"] = predictions_sheet(system, source)
    given = next((name for name in system.predict_from if name in seen.posteriors), None)
    if given is not None and len(seen) >= 8:
        latents = seen.posteriors[given].mean
        images |= latent_maps(latents, seen.actions, thumbnails(seen))
        images["interpolation"] = interpolation_strips(system, latents)
        images["arithmetic"] = arithmetic_strips(system, latents, seen.actions)
    run = checkpoint if checkpoint.is_dir() else checkpoint.parent
    for place in (run, run.parent, run.parent.parent):
        drawn = learning_curves(place)
        if drawn is not None:
            images["curves"] = drawn
            break
    for name, image in images.items():
        write_png(folder / f"{name}.png", image)
    return [f"{name}.png" for name in images]
