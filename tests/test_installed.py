"""The wheel, installed into a fresh environment away from the repository, is a whole package.

Its dependencies are those of the environment that runs the tests: nothing is downloaded.
"""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from selfsup3d.commands import COMMANDS
from selfsup3d.io.resources import shipped_configs, shipped_models

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: pip install 'selfsup3d[test]'")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs a program of a fresh environment, away from the repository; it gives its stdout."""
    folder = tmp_path_factory.mktemp("away")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, str(wheel)], check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SELFSUP3D_CACHE")}

    def run(program, *arguments):
        done = subprocess.run(
            [str(python.parent / program), *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False,
            env=kept | {"SELFSUP3D_CACHE": str(folder / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


def test_the_wheel_carries_what_is_shipped_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name.removeprefix("selfsup3d/shipped/") for name in names if name.startswith("selfsup3d/shipped/")}
    for path in (*shipped_configs().values(), *(folder / "model.safetensors" for folder in shipped_models().values())):
        assert path.relative_to(ROOT).as_posix() in shipped
    assert "selfsup3d/py.typed" in names
    assert all(name.startswith(("selfsup3d/", "selfsup3d-")) for name in names)
    assert not any(name.startswith("assets/results") for name in shipped)


def test_the_code_that_runs_is_the_installed_one(installed):
    told = installed("python", "-c", "import selfsup3d; print(selfsup3d.__file__)")
    assert told.startswith(str(installed.folder))


def test_the_console_command_has_help_for_all(installed):
    told = installed("selfsup3d", "--help")
    assert all(name in told for name in COMMANDS)
    assert "usage: selfsup3d sweep" in installed("selfsup3d", "sweep", "--help")


def test_a_shipped_person_is_predicted_by_the_shipped_model(installed):
    code = "from selfsup3d.io.resources import example_people as e; print(sorted(e().iterdir())[0])"
    person = installed("python", "-c", code).strip()
    assert person.startswith(str(installed.folder))
    installed("selfsup3d", "predict", "--checkpoint", "synth-v1", "--input", person, "--output", "out")
    poses = json.loads((installed.folder / "out" / "poses.json").read_text())["poses"]
    assert len(poses[0]["joints_3d"]) == 17


def test_a_shipped_config_trains_by_its_name(installed):
    small = ("--data.preset", "tiny-test", "--data.size", "32", "--trainer.steps", "10", "--trainer.batch-size", "2", "--trainer.workers", "0",
             "--trainer.device", "cpu", "--system.stages.pretrain", "0.4", "--system.stages.decoder", "0.3",
             "--system.stages.joint", "0.3")  # fmt: skip
    installed("selfsup3d", "train", "--config", "quickstart", *small)
    run = installed.folder / "runs" / "quickstart"
    assert (run / "model" / "model.safetensors").is_file()
    assert "mpjpe" in json.loads((run / "metrics.json").read_text())["metrics"]


def test_a_shipped_sweep_finds_its_configs(installed):
    assert "# Lifters on motion capture" in installed(
        "python", "-m", "selfsup3d", "sweep", "--config", "lifters/benchmark", "--table"
    )
