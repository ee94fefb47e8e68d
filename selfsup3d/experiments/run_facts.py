"""What stands beside a run's errors: batch, epochs, parameters, speed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from selfsup3d.builders.systems import build_source, load_system
from selfsup3d.config.projected import ProjectedConfig
from selfsup3d.config.run import Config
from selfsup3d.data.sampling.dataset import Dataset
from selfsup3d.models.system import System
from selfsup3d.training.run_folder import MODEL

__all__ = ["poses_per_second", "run_facts"]

_FRAMES = 512


def run_facts(folder: Path) -> dict[str, str]:
    """Column -> text, for a finished run."""
    system, config = load_system(folder / MODEL)
    trainer = config.trainer
    batch = trainer.batch_size * trainer.accumulation
    parameters = sum(parameter.numel() for parameter in system.parameters())
    return {
        "batch": f"{batch:,}",
        "epochs": _epochs(config, trainer.steps * batch),
        "parameters": f"{parameters / 1e6:.2f} M",
        "poses/s": f"{poses_per_second(system, build_source(config, 'val')):,.0f}",
    }


def _epochs(config: Config, samples: int) -> str:
    if not isinstance(config.data, ProjectedConfig):
        return "-"
    poses = getattr(build_source(config, "train"), "training_poses", 0)
    return f"{samples / poses:.1f}" if poses else "-"


def poses_per_second(system: System, source: Dataset, repeats: int = 5) -> float:
    """Speed of `predict` on one large batch, median of some repeats, on the device of the system."""
    device = next(system.parameters()).device
    batch = source.frames(np.arange(min(_FRAMES, len(source)))).to(device)
    times = []
    with torch.no_grad():
        for _ in range(repeats + 1):
            began = time.perf_counter()
            system.predict(batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - began)
    return len(batch) / float(np.median(times[1:]))
