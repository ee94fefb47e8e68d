"""A run's folder: claimed once, never overwritten silently.

config.yaml  checkpoints/  scalars.jsonl  tensorboard/  model/  metrics.json  grid.png; run.lock while it is at work
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from selfsup3d.config.load import read_yaml, validate
from selfsup3d.config.run import Config
from selfsup3d.config.upgrade import upgrade
from selfsup3d.errors import InputError
from selfsup3d.io.files import no_trace, remove_partial
from selfsup3d.io.locks import locked
from selfsup3d.training.checkpoint import find_checkpoint, set_aside
from selfsup3d.training.monitor import EVENTS, SCALARS

__all__ = ["CHECKPOINTS", "CONFIG", "GRID", "METRICS", "MODEL", "begin", "claim", "claimed"]

CONFIG, CHECKPOINTS, MODEL, METRICS, GRID = "config.yaml", "checkpoints", "model", "metrics.json", "grid.png"


@contextmanager
def claimed(config: Config, accelerator: Accelerator) -> Iterator[None]:
    """`claim`, given up at the end; where the run ends before its first step, as bad input does, nothing is left behind.

    Raises:
        InputError: as `claim`, and whatever the body raises.
    """
    folder = config.folder
    stood = _holds_run(folder)
    with no_trace(folder) if accelerator.is_main_process else nullcontext(), ExitStack() as held:
        claim(config, accelerator, held)
        try:
            yield
        except BaseException:
            if accelerator.is_main_process and not stood:
                _withdraw(folder)
            raise


def _withdraw(folder: Path) -> None:
    """Remove what a run wrote that did not come to its first step."""
    begun = (folder / SCALARS).exists() or ((folder / CHECKPOINTS).exists() and any((folder / CHECKPOINTS).iterdir()))
    if not begun:
        for name in (CONFIG, CHECKPOINTS, EVENTS):
            _remove(folder / name)


def claim(config: Config, accelerator: Accelerator, held: ExitStack) -> None:
    """Lock the run's folder and refuse what cannot go on there. Nothing in it is changed: `begin` does that.

    All processes call it; the main one acts, and its error is raised in all.

    Args:
        held: gives the lock up when it is closed.

    Raises:
        InputError: another run is at work in it; it holds a run and neither --resume nor --overwrite was given; it
            cannot be written; the system to resume was configured otherwise; all of its checkpoints are damaged.
    """
    message: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            _claim(config, held)
        except InputError as error:
            message = [str(error)]
    broadcast_object_list(message)
    if message[0] is not None:
        raise InputError(*message[0].split("\n"))


def _claim(config: Config, held: ExitStack) -> None:
    folder = config.folder
    if _holds_run(folder) and config.resume == "never" and not config.overwrite:
        raise InputError(
            f"{folder} holds an earlier run: add --resume auto to go on with it, --output-dir DIR to keep both, "
            "or --overwrite to replace it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(folder))
    except OSError as error:
        raise InputError(f"--output-dir {folder}: cannot be written: {error.strerror or error}") from None
    if config.resume != "never" and (folder / CONFIG).exists():
        _check_settings(config)
    find_checkpoint(config.resume, folder, complain=lambda message: None)


def begin(config: Config, resumed: Path | None) -> None:
    """Change the run's folder, now that the run can start: the config is saved, an earlier run removed (--overwrite)
    or its unusable checkpoints set aside.

    Args:
        resumed: the checkpoint that the run goes on from, or None.

    Raises:
        InputError: it cannot be written.
    """
    folder = config.folder
    try:
        if config.overwrite and config.resume == "never":
            for name in (CONFIG, CHECKPOINTS, MODEL, METRICS, GRID, SCALARS, EVENTS):
                _remove(folder / name)
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        remove_partial(folder)
        remove_partial(folder / CHECKPOINTS)
        set_aside(folder / CHECKPOINTS, resumed)
        config.save(folder / CONFIG)
    except OSError as error:
        raise InputError(f"--output-dir {folder}: cannot be written: {error.strerror or error}") from None


def _holds_run(folder: Path) -> bool:
    return (folder / CONFIG).exists() or any(folder.glob(f"{CHECKPOINTS}/*-*"))


def _check_settings(config: Config) -> None:
    """Weights fit the system that they were trained in; other settings may change between resumptions, which is printed."""
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
    changes = [f"{k} {before.get(k)} -> {now.get(k)}" for k in changed if k.startswith(("data", "trainer", "seed"))]
    if changes:
        print(f"{config.folder}: resumed with other settings: {', '.join(changes)}", file=sys.stderr)


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
