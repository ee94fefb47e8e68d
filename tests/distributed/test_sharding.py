"""Sharded training (FSDP2) in two processes (gloo): the weights of plain data parallelism, and whole files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from selfsup3d.builders.systems import build_source, load_system
from tests.distributed.test_training import ROOT, finish, last_line, start, tensors

pytestmark = pytest.mark.slow

FILES = ("model.safetensors", "training.safetensors", "optimizers.safetensors")
KINDS = {
    "adamw": {"optimizer": {"kind": "adamw", "lr": 0.01}},
    "adam, amsgrad": {"optimizer": {"kind": "adam", "lr": 0.01, "amsgrad": True}},
    "adagrad": {"optimizer": {"kind": "adagrad", "lr": 0.01}},
    "rmsprop": {"optimizer": {"kind": "rmsprop", "lr": 0.01}},
    "sgd, clipped": {"optimizer": {"kind": "sgd", "lr": 0.01}, "clip": 0.05},
    "clipped": {"clip": 0.05},
    "accumulated": {"accumulation": 2},
    "averaged": {"ema": 0.9},
    "not averaged": {"ema": 0.0},
    "bf16": {"mixed_precision": "bf16"},
}


def same(a, b, within):
    assert a.keys() == b.keys()
    return all((a[name] - b[name]).norm() <= within * a[name].norm() for name in a)


def test_shards_train_as_copies_do(tmp_path):
    runs = {name: {"mode": "fused", "steps": 10, "checkpoint_every": 10, **more} for name, more in KINDS.items()}
    processes = [start(tmp_path / "ddp", 2, **runs), start(tmp_path / "fsdp", 2, sharded=True, **runs)]
    ends = [finish(process) for process in processes]
    assert [code for code, _, _ in ends] == [0, 0], ends
    for kind in KINDS:
        copied, sharded = tmp_path / "ddp" / kind, tmp_path / "fsdp" / kind
        for name in FILES:
            if name != "training.safetensors" or kind != "not averaged":
                assert same(tensors(copied, name), tensors(sharded, name), 1e-5), (kind, name)
        logged = last_line(copied)
        for name, value in last_line(sharded).items():
            if name != "samples_per_second":
                assert value == pytest.approx(logged[name], rel=1e-4), (kind, name)


def test_a_run_goes_on_exactly_and_with_any_number_of_processes(tmp_path):
    settings = {"mode": "fused", "steps": 8, "checkpoint_every": 4, "batch_size": 2}
    code, _, err = finish(start(tmp_path / "whole", 2, sharded=True, **settings))
    assert code == 0, err
    for name in ("sharded", "copied", "one"):
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        shutil.rmtree(tmp_path / name / "checkpoints" / "step-00000008")
    ends = [
        finish(start(tmp_path / "sharded", 2, sharded=True, resume="auto", **settings)),
        finish(start(tmp_path / "copied", 2, resume="auto", **settings)),
        finish(start(tmp_path / "one", 1, resume="auto", **settings | {"batch_size": 4})),
    ]
    assert [code for code, _, _ in ends] == [0, 0, 0], ends
    for name in FILES:
        expected = tensors(tmp_path / "whole", name)
        again = tensors(tmp_path / "sharded", name)
        assert all(torch.equal(expected[key], again[key]) for key in expected), name
        assert same(expected, tensors(tmp_path / "copied", name), 1e-5)
        assert same(expected, tensors(tmp_path / "one", name), 1e-5)


def test_several_turns_are_refused(tmp_path):
    code, _, err = finish(start(tmp_path, 2, sharded=True, mode="two"))
    assert code != 0
    assert err.count("FSDP is for systems that one optimizer trains") == 1
    assert not (tmp_path / "scalars.jsonl").exists()


def launch(tmp_path, name, recipe, *flags):
    """launch/train.py in two processes by a file of configs/accelerate; the run's folder."""
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", ROOT / "configs" / "accelerate" / f"{name}.yaml", "--num_processes", 2]
    command += [ROOT / "launch" / "train.py", "--config", ROOT / "configs" / recipe, "--output-dir", tmp_path / name]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        [str(part) for part in [*command, "--trainer.device", "cpu", "--trainer.threads", 1, *flags]],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path / name


def test_a_lifter_by_the_files_of_the_project(tmp_path):
    """Martinez with its max-norm, which is of whole weights; the released model works in one process."""
    flags = ["--trainer.steps", 10, "--trainer.images", 0, "--system.width", 128, "--trainer.batch-size", 8]
    copied, sharded = (launch(tmp_path, name, "lifters/martinez.yaml", *flags) for name in ("ddp", "fsdp"))
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (copied, sharded))
    # Biases before BatchNorm have no effect but rounding for a gradient, which Adam scales up; means follow them.
    real = [n for n in a if not n.endswith((".0.bias", "running_mean"))]
    assert len(real) > len(a) / 2
    assert same({n: a[n].float() for n in real}, {n: b[n].float() for n in real}, 1e-5)
    loaded = [load_system(folder / "model") for folder in (copied, sharded)]
    frames = build_source(loaded[0][1], "val").frames(np.arange(16))
    poses = [system.predict(frames).pose for system, _ in loaded]
    torch.testing.assert_close(poses[0], poses[1], atol=1e-2, rtol=0)
    told = [json.loads((folder / "metrics.json").read_text())["metrics"]["mpjpe"] for folder in (copied, sharded)]
    assert told[1] == pytest.approx(told[0], rel=1e-2)
