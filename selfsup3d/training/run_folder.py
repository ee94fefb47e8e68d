"""A run's folder: claimed once, never overwritten silently.

config.yaml  checkpoints/  scalars.jsonl  tensorboard/  model/  metrics.json  grid.png
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from selfsup3d.config.load import read_yaml, validate
from selfsup3d.config.run import Config
from selfsup3d.config.upgrade import upgrade
from selfsup3d.errors import InputError
from selfsup3d.io.files import no_trace, remove_partial
from selfsup3d.training.monitor import EVENTS, SCALARS

__all__ = ["CHECKPOINTS", "CONFIG", "GRID", "METRICS", "MODEL", "claim", "claimed"]

CONFIG, CHECKPOINTS, MODEL, METRICS, GRID = "config.yaml", "checkpoints", "model", "metrics.json", "grid.png"


@contextmanager
def claimed(config: Config, accelerator: Accelerator) -> Iterator[None]:
    """`claim`, withdrawn where the run ends before its first step, as bad input does: nothing is left behind then.

    Raises:
        InputError: as `claim`, and whatever the body raises.
    """
    folder = config.folder
    stood = any((folder / name).exists() for name in (CONFIG, CHECKPOINTS))
    with no_trace(folder) if accelerator.is_main_process else nullcontext():
        claim(config, accelerator)
        try:
            yield
        except BaseException:
            if accelerator.is_main_process and not stood:
                _withdraw(folder)
            raise


def _withdraw(folder: Path) -> None:
    """Remove the claim of a run that did not begin."""
    if not (folder / SCALARS).exists() and not any((folder / CHECKPOINTS).iterdir()):
        for name in (CONFIG, CHECKPOINTS, EVENTS):
            _remove(folder / name)


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
        _check_settings(config)
    try:
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        remove_partial(folder)
        remove_partial(folder / CHECKPOINTS)
        config.save(folder / CONFIG)
    except OSError as error:
        raise InputError(f"--output-dir {folder}: cannot be written: {error.strerror or error}") from None


def _check_settings(config: Config) -> None:
    """Weights fit the system that they were trained in; other settings may change between resumptions, and are told."""
    path = config.folder / CONFIG
    stored = validate(upgrade(read_yaml(path), 1), str(path))  # written by this version or an older one
    before, now = dict(_flat("", stored.to_dict())), dict(_flat("", config.to_dict()))
    changed = sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key))
    system = [key for key in changed if key.startswith("system")]
    if system:
        raise InputError(
            f"{path}: the run to resume was started with another {system[0]} ({before.get(system[0])}, now "
            f"{now.get(system[0])}); use the same config, or another --output-dir"
        )
    told = [f"{k} {before.get(k)} -> {now.get(k)}" for k in changed if k.startswith(("data", "trainer", "seed"))]
    if told:
        print(f"{config.folder}: resumed with other settings: {', '.join(told)}", file=sys.stderr)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all settings."""
    if not isinstance(value, dict):
        yield prefix, value
        return
    for name, inner in value.items():
        yield from _flat(f"{prefix}.{name}" if prefix else str(name), inner)


def _remove(path: os.PathLike[str]) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
