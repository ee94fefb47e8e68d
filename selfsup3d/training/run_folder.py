"""A run's folder: claimed once, never overwritten silently.

config.yaml  checkpoints/  scalars.jsonl  tensorboard/  model/  metrics.json  grid.png
"""

from __future__ import annotations

import os
import shutil

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from selfsup3d.config import Config
from selfsup3d.config_file import read_yaml
from selfsup3d.errors import InputError
from selfsup3d.files import remove_partial
from selfsup3d.training.monitor import EVENTS, SCALARS

__all__ = ["CHECKPOINTS", "CONFIG", "GRID", "METRICS", "MODEL", "claim"]

CONFIG, CHECKPOINTS, MODEL, METRICS, GRID = "config.yaml", "checkpoints", "model", "metrics.json", "grid.png"


def claim(config: Config, accelerator: Accelerator) -> None:
    """Make the run's folder ready: the config saved in it, an earlier run resumed, replaced or protected.

    All processes call it; the main one acts, and its error is raised in all.

    Raises:
        InputError: it holds a run and neither --resume nor --overwrite was given; it cannot be written; the system to
            resume was configured otherwise.
    """
    told: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            _claim(config)
        except InputError as error:
            told = [str(error)]
    broadcast_object_list(told)
    if told[0] is not None:
        raise InputError(told[0])


def _claim(config: Config) -> None:
    folder = config.folder
    holds_run = (folder / CONFIG).exists() or any(folder.glob(f"{CHECKPOINTS}/step-*"))
    if holds_run and config.overwrite and config.resume == "never":
        for name in (CONFIG, CHECKPOINTS, MODEL, METRICS, GRID, SCALARS, EVENTS):
            _remove(folder / name)
    elif holds_run and config.resume == "never":
        raise InputError(
            f"{folder} holds an earlier run: add --resume auto to go on with it, --output-dir DIR to keep both, "
            "or --overwrite to replace it"
        )
    elif holds_run and (folder / CONFIG).exists():
        _check_system(config)
    try:
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        remove_partial(folder)
        remove_partial(folder / CHECKPOINTS)
        config.save(folder / CONFIG)
    except OSError as error:
        raise InputError(f"--output-dir {folder}: cannot be written: {error.strerror or error}") from None


def _check_system(config: Config) -> None:
    """Weights fit the system that they were trained in; all other settings may change between resumptions."""
    path = config.folder / CONFIG
    before = read_yaml(path).get("system")
    now = config.to_dict()["system"]
    if before != now:
        keys = sorted(k for k in now.keys() | (before or {}).keys() if now.get(k) != (before or {}).get(k))
        raise InputError(
            f"{path}: the run to resume was started with another system.{keys[0]}; "
            "use the same config, or another --output-dir"
        )


def _remove(path: os.PathLike[str]) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
