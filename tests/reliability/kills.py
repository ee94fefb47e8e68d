"""Runs that are killed by SIGKILL, and what their checkpoints and their resumption are worth."""

import importlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfsup3d.io import pretrained
from selfsup3d.io.files import write_json
from selfsup3d.structures.random import RandomStreams
from selfsup3d.training.checkpoint import check
from selfsup3d.training.loop import train
from selfsup3d.training.monitor import SCALARS
from selfsup3d.training.run_folder import METRICS
from tests.training.toy import Autoencoder, Noise, config

__all__ = ["WRITING", "assert_same_end", "kill_at_random", "kill_while_writing", "processes", "whole_run"]

STEPS = 160
SETTINGS = {"steps": STEPS, "checkpoint_every": 1, "evaluate_every": 7, "threads": 1, "optimizer": {"lr": 0.01}}

WRITING = [
    ("selfsup3d.io.pretrained", "write_tensors", call) for call in (5, 6, 8, 9)
] + [
    ("selfsup3d.training.checkpoint", "write_json", call) for call in (3, 4, 5)
] + [
    ("os", "fsync", call) for call in (9, 12, 14, 16)
] + [
    ("os", "replace", call) for call in (10, 11, 14, 15)
] + [
    ("shutil", "rmtree", call) for call in (9, 10)
]  # fmt: skip
"""Module, function and which of its calls: moments at which a checkpoint is being written, and older ones removed."""


def measured(system: Any) -> dict[str, float]:
    """How well a system does, on images of its own."""
    batch = Noise().batch(RandomStreams(9, 0, np.arange(16)))
    return {name: float(value) for name, value in system(batch, "encode", 0.0).items()}


def learn(folder: Path) -> None:
    """A whole run, or what is left of it; in a process of its own."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    result = train(config(folder, resume="auto", **SETTINGS), Autoencoder(dropout=0.3), Noise(), evaluate=measured)
    with torch.no_grad():
        write_json(folder / METRICS, measured(result.system))


def kill_in(module: str, name: str, call: int, folder: Path) -> None:
    """`learn`, killed at the start of the n-th call of a function that writes checkpoints."""
    place = importlib.import_module(module)
    original, calls = getattr(place, name), []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(place, name, counted)
    learn(folder)


def processes() -> Any:
    """A maker of processes that start in a tenth of a second: forked from a server that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    # torch imports dynamo at the first step of an optimizer, which takes longer than all these runs.
    context.set_forkserver_preload(
        ["tests.reliability.kills", "tests.reliability.measure", "torch._dynamo", "timm", "h5py", "webdataset"]
    )
    return context


def finish(context: Any, folder: Path) -> None:
    """Let a run go on to its end."""
    process = context.Process(target=learn, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0, f"{folder}: exit {process.exitcode}"


def whole_run(context: Any, folder: Path) -> Path:
    """An undisturbed run."""
    finish(context, folder)
    return folder


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("step-*"))


def newest(folder: Path) -> str:
    return max((path.name for path in checkpoints(folder)), default="")


def assert_whole(folder: Path) -> None:
    """Whatever stands under the name of a checkpoint is one."""
    assert [check(path) for path in checkpoints(folder)] == [None] * len(checkpoints(folder))


def kill_at_random(context: Any, folder: Path, kills: int, seed: int = 3) -> None:
    """Kill a run so often, each time up to 20 ms after its next checkpoint appeared, and let it go on to its end."""
    moments = random.Random(seed)
    for _ in range(kills):
        before = newest(folder)
        process = context.Process(target=learn, args=(folder,))
        process.start()
        while process.is_alive() and before == newest(folder):
            time.sleep(0.001)
        process.join(moments.uniform(0.0, 0.02))
        assert process.exitcode is None, "the run was over too soon"
        process.kill()
        process.join()
        assert_whole(folder)
    finish(context, folder)


def kill_while_writing(context: Any, folder: Path, module: str, name: str, call: int) -> None:
    """Kill a run within the writing of a checkpoint, and let it go on to its end."""
    process = context.Process(target=kill_in, args=(module, name, call, folder))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"{module}.{name} is not called {call} times"
    assert_whole(folder)
    assert 0 < len(checkpoints(folder)) < 5
    finish(context, folder)


def assert_same_end(a: Path, b: Path) -> None:
    """Two runs ended alike: weights, averages and optimizers bit for bit, log and metrics."""
    for name in ("training.safetensors", "model.safetensors", "optimizers.safetensors"):
        one, other = (pretrained.read_tensors(checkpoints(folder)[-1] / name) for folder in (a, b))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert scalars(a) == scalars(b)
    assert (a / METRICS).read_bytes() == (b / METRICS).read_bytes()


def scalars(folder: Path) -> list[dict[str, Any]]:
    """The log: one line a step and one an evaluation, without what the clock tells."""
    lines = [json.loads(line) for line in (folder / SCALARS).read_text().splitlines()]
    assert [line["step"] for line in lines if "grad_norm/encode" in line] == list(range(1, STEPS + 1))
    assert [line["step"] for line in lines if "val/image" in line] == list(range(7, STEPS, 7))
    return [{key: value for key, value in line.items() if key != "samples_per_second"} for line in lines]
