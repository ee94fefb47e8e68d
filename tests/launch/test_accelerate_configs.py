"""configs/accelerate: every file as far as one machine without GPUs can run it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig

from selfsup3d.data.synthetic.cache import prepare

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "accelerate"
TRAIN = str(ROOT / "launch" / "train.py")

RECIPE = """
system: {{kind: part_guided, preset: tiny}}
data: {{kind: synthetic, preset: tiny-test, size: 32, root: "{cache}"}}
trainer: {{steps: 3, batch_size: 2, workers: 0, images: 0, device: cpu, fit_batches: 2, threads: 1}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    prepare(folder / "cache", "tiny-test", 32, ("train", "val"), workers=0, progress=False)
    (folder / "tiny.yaml").write_text(RECIPE.format(cache=folder / "cache"))
    return folder / "tiny.yaml"


@pytest.fixture
def environment(tmp_path):
    """Of a machine on which accelerate was never configured."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HOME": str(tmp_path / "never-configured"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def accelerate(environment, *arguments):
    command = [sys.executable, "-m", "accelerate.commands.launch", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda p: p.stem)
def test_files_are_accelerates(path):
    text = path.read_text(encoding="utf-8")
    keys = yaml.safe_load(text)
    assert keys.keys() <= ClusterConfig.__dataclass_fields__.keys()
    config = ClusterConfig.from_yaml_file(str(path))
    assert config.mixed_precision == "no", "the run's own config sets the precision"
    assert f"configs/accelerate/{path.name}" in text


def test_every_file_of_the_project_is_there():
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {"cpu.yaml", "single.yaml", "ddp.yaml", "multi_node.yaml", "slurm.sh"}
    for name in ("ddp.yaml", "multi_node.yaml", "slurm.sh"):
        assert "ritten, not run" in (FOLDER / name).read_text(encoding="utf-8"), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", "single"])
def test_one_process(recipe, environment, tmp_path, name):
    out = tmp_path / "out"
    done = accelerate(
        environment, "--config_file", FOLDER / f"{name}.yaml", TRAIN, "--config", recipe, "--output-dir", out
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "metrics.json").read_text())["frames"] > 0


@pytest.mark.slow
def test_a_launcher_that_is_stopped_alone_leaves_no_run_behind(recipe, environment, tmp_path):
    """`accelerate launch` passes no signal on to its one process, which must notice and save."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", FOLDER / "cpu.yaml", TRAIN]
    command += ["--config", recipe, "--output-dir", out, "--trainer.log-every", 1, "--trainer.steps", 100_000]
    command += ["--trainer.checkpoint-every", 100_000]
    with subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True) as launcher:
        deadline = time.monotonic() + 120
        while not (out / "scalars.jsonl").exists() or not (out / "scalars.jsonl").read_text():
            assert time.monotonic() < deadline
            assert launcher.poll() is None
            time.sleep(0.05)
        launcher.terminate()
        told = launcher.stdout.read()  # until the last process that holds it has ended
    assert told.startswith("stopped by the end of its launcher after step ")
    assert len(list((out / "checkpoints").glob("step-*"))) == 1


@pytest.mark.slow
def test_two_processes_by_the_file_for_gpus(recipe, environment, tmp_path):
    """Without GPUs the same launcher starts processes that talk through gloo."""
    out = tmp_path / "out"
    done = accelerate(
        environment, "--config_file", FOLDER / "ddp.yaml", "--num_processes", 2, TRAIN, "--config", recipe,
        "--output-dir", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (out / "scalars.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 3
    assert done.stdout.count("metrics.json") == 1


@pytest.mark.slow
def test_the_slurm_script_stops_at_the_time_limit_and_is_queued_again(recipe, environment, tmp_path):
    """With stand-ins: srun runs what follows its own flags, scontrol writes down what it was asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (tools / "scontrol").write_text(
        f'#!/bin/sh\n[ "$1" = show ] && echo 127.0.0.1 || echo "$@" >> {tmp_path / "asked"}\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment |= {
        "PATH": f"{tools}:{environment['PATH']}",
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_GPUS_ON_NODE": "1",
        "SLURM_SUBMIT_DIR": str(ROOT),
    }
    out = tmp_path / "out"
    command = ["bash", FOLDER / "slurm.sh", "--config", recipe, "--output-dir", out, "--trainer.log-every", "1"]
    command = [str(part) for part in [*command, "--trainer.checkpoint-every", "1000"]]
    with open(tmp_path / "log", "w") as log:
        job = subprocess.Popen([*command, "--trainer.steps", "100000"], env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not (out / "scalars.jsonl").exists() or not (out / "scalars.jsonl").read_text():
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            assert job.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        job.send_signal(signal.SIGTERM)
        job.wait(timeout=120)
    assert "stopped by SIGTERM" in (tmp_path / "log").read_text()
    assert (tmp_path / "asked").read_text() == "requeue 12345\n"
    (saved,) = (out / "checkpoints").glob("step-*")
    steps = int(saved.name.removeprefix("step-")) + 1
    done = subprocess.run(
        [*command, "--trainer.steps", str(steps)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (out / "metrics.json").exists()
