"""SIGKILL at any moment: no checkpoint is half there, and the resumed run ends as if nothing had happened."""

import importlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time

import numpy as np
import pytest
import torch

from selfsup3d.io import pretrained
from selfsup3d.io.files import write_json
from selfsup3d.structures.random import RandomStreams
from selfsup3d.training.checkpoint import check
from selfsup3d.training.loop import train
from selfsup3d.training.monitor import SCALARS
from selfsup3d.training.run_folder import METRICS
from tests.training.toy import Autoencoder, Noise, config

pytestmark = pytest.mark.slow

SETTINGS = {"steps": 160, "checkpoint_every": 1, "evaluate_every": 7, "threads": 1, "optimizer": {"lr": 0.01}}


def measured(system):
    """How well a system does, on images of its own."""
    batch = Noise().batch(RandomStreams(9, 0, np.arange(16)))
    return {name: float(value) for name, value in system(batch, "encode", 0.0).items()}


def learn(folder, **more):
    """A whole run, or what is left of it; in a process of its own."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    settings = config(folder, resume="auto", **SETTINGS, **more)
    result = train(settings, Autoencoder(dropout=0.3), Noise(), evaluate=measured)
    with torch.no_grad():
        write_json(folder / METRICS, measured(result.system))


def kill_in(module, name, call, folder):
    """`learn`, killed at the start of the n-th call of a function that writes checkpoints."""
    module = importlib.import_module(module)
    original, calls = getattr(module, name), []

    def counted(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(module, name, counted)
    learn(folder)


@pytest.fixture(scope="module")
def processes():
    """Processes that start in a tenth of a second: forked from a server that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    # torch imports dynamo at the first step of an optimizer, which takes longer than all these runs.
    context.set_forkserver_preload(["tests.training.test_kills", "torch._dynamo"])
    return context


@pytest.fixture(scope="module")
def whole(processes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    process = processes.Process(target=learn, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return folder


def checkpoints(folder):
    return sorted((folder / "checkpoints").glob("step-*"))


def assert_same_end(a, b):
    for name in ("training.safetensors", "model.safetensors", "optimizers.safetensors"):
        one, other = (pretrained.read_tensors(checkpoints(folder)[-1] / name) for folder in (a, b))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert scalars(a) == scalars(b)
    assert (a / METRICS).read_bytes() == (b / METRICS).read_bytes()


def scalars(folder):
    """The log: one line a step and one an evaluation, without what the clock tells."""
    lines = [json.loads(line) for line in (folder / SCALARS).read_text().splitlines()]
    assert [line["step"] for line in lines if "grad_norm/encode" in line] == list(range(1, 161))
    assert [line["step"] for line in lines if "val/image" in line] == list(range(7, 160, 7))
    return [{key: value for key, value in line.items() if key != "samples_per_second"} for line in lines]


def test_twenty_kills_at_random_moments(processes, whole, tmp_path):
    moments = random.Random(3)
    kills = 0
    while kills < 20:
        before = len(checkpoints(tmp_path)) and checkpoints(tmp_path)[-1].name
        process = processes.Process(target=learn, args=(tmp_path,))
        process.start()
        while process.is_alive() and before == (len(checkpoints(tmp_path)) and checkpoints(tmp_path)[-1].name):
            time.sleep(0.001)
        process.join(moments.uniform(0.0, 0.02))
        assert process.exitcode is None, "the run was over too soon"
        process.kill()
        process.join()
        kills += 1
        assert [check(folder) for folder in checkpoints(tmp_path)] == [None] * len(checkpoints(tmp_path))
    process = processes.Process(target=learn, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert_same_end(whole, tmp_path)


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("selfsup3d.io.pretrained", "write_tensors", 5),
        ("selfsup3d.io.pretrained", "write_tensors", 6),
        ("selfsup3d.training.checkpoint", "write_json", 4),
        ("os", "fsync", 12),
        ("os", "replace", 10),
    ],
)
def test_kills_while_a_checkpoint_is_written(processes, whole, tmp_path, module, name, call):
    process = processes.Process(target=kill_in, args=(module, name, call, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [check(folder) for folder in checkpoints(tmp_path)] == [None] * len(checkpoints(tmp_path))
    assert 0 < len(checkpoints(tmp_path)) < 4
    process = processes.Process(target=learn, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert_same_end(whole, tmp_path)
