"""Two processes on one machine (gloo): the same result as one with the doubled batch, and clean ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "distributed" / "run_toy.py"

pytestmark = pytest.mark.slow


def start(folder, processes, **settings):
    """The toy run in a process group of its own."""
    command = [sys.executable, str(SCRIPT), str(folder), json.dumps(settings)]
    if processes > 1:
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def finish(process, timeout=240):
    """Exit code, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


def tensors(folder, name="training.safetensors"):
    return load_file(sorted((folder / "checkpoints").glob("step-*"))[-1] / name)


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    kinds = [(mode, optimizer) for mode in ("two", "fused", "shared") for optimizer in ("adamw", "adagrad")]

    def runs(**more):
        settings = {"steps": 20, "checkpoint_every": 20} | more
        return {f"{m}-{o}": settings | {"mode": m, "optimizer": {"kind": o, "lr": 0.01}} for m, o in kinds}

    processes = [
        start(tmp_path / "one", 1, **runs(batch_size=8)),
        start(tmp_path / "two", 2, **runs(batch_size=4)),
        start(tmp_path / "accumulated", 2, **runs(batch_size=2, accumulation=2, workers=1)),
    ]
    ends = [finish(process) for process in processes]
    assert [code for code, _, _ in ends] == [0, 0, 0], ends
    assert ends[1][1] == "2 processes, step 20, stopped None\n" * len(kinds)
    for kind in runs():
        one, logged = tensors(tmp_path / "one" / kind), last_line(tmp_path / "one" / kind)
        for other in ("two", "accumulated"):
            for name, value in tensors(tmp_path / other / kind).items():
                assert (value - one[name]).norm() <= 1e-5 * one[name].norm(), (kind, other, name)
            for name, value in last_line(tmp_path / other / kind).items():
                if name != "samples_per_second" and "/_" not in name:  # a maximum over samples is no mean
                    assert value == pytest.approx(logged[name], rel=1e-4), (kind, other, name)


def last_line(folder):
    return json.loads((folder / "scalars.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGINT), (2, signal.SIGTERM)])
def test_a_signal_to_the_whole_group_saves_and_exits_cleanly(tmp_path, processes, number):
    settings = {"steps": 60, "pause": 0.05, "dropout": 0.3, "workers": 1, "checkpoint_every": 1000}
    whole = start(tmp_path / "whole", processes, **settings)
    run = start(tmp_path / "cut", processes, **settings)
    deadline = time.monotonic() + 120
    log = tmp_path / "cut" / "scalars.jsonl"
    while not (log.exists() and log.read_text().count("\n") > 5):
        assert time.monotonic() < deadline
        assert run.poll() is None, finish(run)
        time.sleep(0.05)
    os.killpg(run.pid, number)  # the group: processes and their data workers, as a terminal or a scheduler does
    code, out, err = finish(run)
    if processes == 1:  # torchrun reports the signal that it passed on in its own exit code
        assert code == 0, err
    assert f"stopped {number.name}" in out or "stopped signal to another process" in out, (out, err)
    assert len(list((tmp_path / "cut" / "checkpoints").glob("step-*"))) == 1
    assert finish(start(tmp_path / "cut", processes, resume="auto", **settings))[0] == 0
    assert finish(whole)[0] == 0
    for name in ("training.safetensors", "model.safetensors", "optimizers.safetensors"):
        a, b = tensors(tmp_path / "whole", name), tensors(tmp_path / "cut", name)
        assert all(torch.equal(a[key], b[key]) for key in a), name


@pytest.mark.parametrize("how", ["fail", "die"])
def test_a_rank_that_ends_takes_the_others_with_it(tmp_path, how):
    code, _, err = finish(start(tmp_path, 2, steps=50, **{how: 4}))
    assert code != 0
    assert "rank      : 1" in err
    if how == "fail":
        assert "rank 1 broke" in err


def test_a_rank_that_hangs_is_waited_for_no_longer_than_told(tmp_path):
    code, _, err = finish(start(tmp_path, 2, steps=50, hang=4, patience=5))
    assert code != 0
    assert "imed out" in err  # as torch says of whoever waited
    assert "rank      : 0" in err


def test_nan_in_one_process_skips_the_step_in_all(tmp_path):
    code, _, err = finish(start(tmp_path, 2, steps=6, batch_size=2, broken=[[3, 2]]))
    assert code == 0, err
    assert "step 3, update 'encode': input 'target' is not finite in sample 14" in err
    steps = [json.loads(line)["step"] for line in (tmp_path / "scalars.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 5, 6]
    assert all(torch.isfinite(value).all() for value in tensors(tmp_path).values())


def test_a_loss_without_end_in_one_process_is_traced_to_its_samples(tmp_path):
    """Looking for the samples, one process runs the system alone: it must wait for nobody."""
    code, _, err = finish(start(tmp_path, 2, mode="fused", steps=6, batch_size=2, bright=3))
    assert code == 0, err
    assert "step 3, update 'all': loss term 'image' is inf in sample 14 (dataset noise, file image14.png)" in err
    steps = [json.loads(line)["step"] for line in (tmp_path / "scalars.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 5, 6]


def test_all_processes_evaluate_what_is_saved(tmp_path):
    """Also the running statistics of BatchNorm, which every process gathers from its own samples."""
    code, _, err = finish(start(tmp_path, 2, mode="fused", norm=True))
    assert code == 0, err
    saved = tensors(tmp_path, "model.safetensors")
    for rank in range(2):
        held = load((tmp_path / f"held-{rank}").read_bytes())
        assert held.keys() == saved.keys()
        assert all(torch.equal(held[name], saved[name]) for name in saved), rank


def test_bad_input_is_told_once(tmp_path):
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    code, _, err = finish(start(tmp_path, 2))
    assert code != 0
    assert err.count("holds an earlier run") == 1
