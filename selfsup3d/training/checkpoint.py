"""Checkpoints that are whole or not there, and the exact state of training that they keep.

    checkpoints/step-00000200/
      model.safetensors, config.json   the evaluated (averaged) weights, in the form that `io.pretrained` loads
      training.safetensors             the weights being trained (absent without averaging: they are the same)
      optimizers.safetensors           state of every optimizer
      state.json                       step and other plain numbers
      manifest.json                    size and SHA-256 of every file, so that a damaged one is noticed

A checkpoint is written under another name, brought to disk and renamed. A damaged one is set aside as damaged-NNNNNNNN
when a run goes on from an older one, and newer ones than that as later-NNNNNNNN; neither is ever removed or read. No
random state is kept: the loop seeds its generators from (seed, step) anew at every step. Any number of processes goes on
from a checkpoint.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.amp.grad_scaler import GradScaler

from selfsup3d.config.upgrade import upgrade_tensors
from selfsup3d.errors import InputError
from selfsup3d.io import pretrained
from selfsup3d.io.files import atomic_folder, remove_folder, write_json
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import DOCUMENT, read_within
from selfsup3d.io.names import clean_component
from selfsup3d.io.pretrained import nonfinite
from selfsup3d.io.stored_arrays import file_digest
from selfsup3d.models.system import System
from selfsup3d.training.ema import AveragedWeights
from selfsup3d.training.optimizers import UpdateOptimizers

__all__ = ["TrainingState", "check", "find_checkpoint", "newest", "rotate", "set_aside"]

_TRAINING, _OPTIMIZERS, _STATE, _MANIFEST = (
    "training.safetensors",
    "optimizers.safetensors",
    "state.json",
    "manifest.json",
)


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@dataclass
class TrainingState:
    """Everything that a run changes.

    Attributes:
        system: not wrapped. averaged: follows it. optimizers: of its updates. scaler: of fp16 training.
        step: steps taken. bad_steps: steps skipped for NaN or Inf.
    """

    system: System
    averaged: AveragedWeights
    optimizers: UpdateOptimizers
    scaler: GradScaler | None = None
    step: int = 0
    bad_steps: int = 0

    def save(self, checkpoints: Path, config: dict[str, Any], keep: int, main: bool = True) -> Path:
        """Write checkpoints/step-NNNNNNNN and remove all but the `keep` newest; `config` is stored beside it.

        All processes call it; the `main` one writes.

        Raises:
            FloatingPointError: a tensor holds NaN or Inf, so this is no state to go on from; nothing is written.
            OSError: it cannot be written whole; nothing of it is left, and older checkpoints stay.
        """
        folder = checkpoints / f"step-{self.step:08d}"
        if not main:
            return folder
        averaged = self.averaged.system.state_dict()
        trained = None if self.averaged.system is self.system else self.system.state_dict()
        optimizers = self.optimizers.state_dict()
        bad = next((name for part in (averaged, trained or {}, optimizers) for name in nonfinite(part)), None)
        if bad is not None:
            raise FloatingPointError(f"step {self.step}: {bad} holds NaN or Inf; this state is not saved")
        with atomic_folder(folder) as temporary:
            pretrained.write_model(temporary, averaged, config)
            if trained is not None:
                pretrained.write_tensors(temporary / _TRAINING, trained)
            pretrained.write_tensors(temporary / _OPTIMIZERS, optimizers)
            scaler = None if self.scaler is None else self.scaler.state_dict()
            write_json(temporary / _STATE, {"step": self.step, "bad_steps": self.bad_steps, "scaler": scaler})
            files = {p.name: {"size": p.stat().st_size, "sha256": file_digest(p)} for p in sorted(temporary.iterdir())}
            write_json(temporary / _MANIFEST, files)
        rotate(checkpoints, keep, folder)
        return folder

    def load(self, folder: Path) -> None:
        """Take over a checkpoint that `check` found whole.

        Raises:
            InputError: it is of another architecture, or holds NaN or Inf.
        """
        averaged = folder / pretrained.WEIGHTS
        trained = folder / _TRAINING
        _fill(self.averaged.system, averaged)
        if self.averaged.system is not self.system:
            _fill(self.system, trained if trained.exists() else averaged)
        try:
            states = pretrained.read_tensors(folder / _OPTIMIZERS)
            pretrained.refuse_nonfinite(states, folder / _OPTIMIZERS)
            self.optimizers.load_state_dict(states)
        except InputError:
            raise
        except (KeyError, ValueError) as error:
            raise InputError(f"{folder / _OPTIMIZERS}: does not fit this system: {error}") from None
        try:
            state = parse_json(read_within(folder / _STATE, DOCUMENT).decode())
            self.step, self.bad_steps, scaler = int(state["step"]), int(state["bad_steps"]), state["scaler"]
        except (OSError, ValueError, TypeError, KeyError):
            raise InputError(f"{folder / _STATE}: damaged, or not the state of a run") from None
        if self.scaler is not None and scaler is not None:
            self.scaler.load_state_dict(scaler)


def _fill(system: System, path: Path) -> None:
    tensors = upgrade_tensors(pretrained.read_tensors(path))
    pretrained.fill(system, tensors, path)


def find_checkpoint(resume: str, run: Path, complain: Callable[[str], None] = _print) -> Path | None:
    """The checkpoint that `--resume` means: the newest whole one of `run` ("auto"), or of a given run, or a given one.

    "never" means none; "auto" none where there is no checkpoint yet. Damaged ones are named and passed over.

    Raises:
        InputError: a given path holds no whole checkpoint; or there are checkpoints and all are damaged: whether to
            start over is the person's to say.
    """
    if resume == "never":
        return None
    if resume == "auto":
        return _newest_or_refuse(run / "checkpoints", complain)
    given = Path(resume)
    if not given.exists():
        raise InputError(
            f"--resume {resume}: no such file or folder (auto = the newest checkpoint of the output folder)"
        )
    if (given / _STATE).is_file() or given.name.startswith("step-"):
        damage = check(given)
        if damage:
            raise InputError(f"--resume {resume}: damaged: {damage}")
        return given
    found = _newest_or_refuse(given if given.name == "checkpoints" else given / "checkpoints", complain)
    if found is None:
        raise InputError(f"--resume {resume}: holds no checkpoint")
    return found


def _newest_or_refuse(checkpoints: Path, complain: Callable[[str], None]) -> Path | None:
    damages: list[str] = []
    found = newest(checkpoints, damages.append)
    if found is None and (damages or any(checkpoints.glob("damaged-*"))):
        first = f" ({damages[0]})" if damages else ""
        raise InputError(
            f"{checkpoints}: all checkpoints are damaged{first}; bring back whole ones, or start over: --overwrite "
            "without --resume, or another --output-dir"
        )
    for damage in damages:
        complain(f"{damage}; trying the one before")
    return found


def newest(checkpoints: Path, complain: Callable[[str], None] = _print) -> Path | None:
    """The newest whole checkpoint in a folder, or None; damaged ones are named through `complain`."""
    for folder in sorted(checkpoints.glob("step-*"), reverse=True):
        damage = check(folder)
        if damage is None:
            return folder
        complain(f"{folder} is damaged ({damage})")
    return None


def set_aside(checkpoints: Path, resumed: Path | None) -> None:
    """Rename the checkpoints that a run passed over when it went on from `resumed`, so that its own come to stand where
    they are looked for: damaged ones to damaged-*, whole ones of later steps to later-*."""
    if resumed is None or resumed.parent.resolve() != checkpoints.resolve():
        return
    for folder in sorted(checkpoints.glob("step-*")):
        if folder.name > resumed.name:
            _rename(folder, "later" if check(folder) is None else "damaged")


def _rename(folder: Path, word: str) -> None:
    place = folder.with_name(folder.name.replace("step", word, 1))
    number = 1
    while place.exists():
        number += 1
        place = folder.with_name(f"{folder.name.replace('step', word, 1)}-{number}")
    os.replace(folder, place)


def check(folder: Path, contents: bool = True) -> str | None:
    """What is wrong with a checkpoint's files, or None; without `contents` their names and sizes alone are compared."""
    try:
        files = parse_json(read_within(folder / _MANIFEST, DOCUMENT).decode())
        expected = {clean_component(n, _MANIFEST): (entry["size"], entry["sha256"]) for n, entry in files.items()}
    except FileNotFoundError:
        return f"{_MANIFEST} is missing"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{_MANIFEST} cannot be read"
    for name, (size, digest) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, expected {size}"
        if contents and file_digest(path) != digest:
            return f"{name} was altered after it was written"
    return None


def rotate(checkpoints: Path, keep: int, written: Path | None = None) -> None:
    """Remove all but the `keep` newest whole checkpoints, and never the one just `written`; damaged ones are set aside
    and do not count."""
    whole = []
    for folder in sorted(checkpoints.glob("step-*"), reverse=True):
        if check(folder, contents=False) is None:
            whole.append(folder)
        else:
            _rename(folder, "damaged")
    for folder in whole[keep:]:
        if folder != written:
            remove_folder(folder)
