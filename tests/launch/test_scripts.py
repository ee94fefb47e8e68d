"""Every command in a process of its own, as people start it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from selfsup3d.commands import COMMANDS

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "launch").glob("*.py"))
HEAVY = {
    "torch", "timm", "torchvision", "kornia", "lpips", "gradio", "accelerate", "torchmetrics", "tensorboard", "cv2",
    "onnx", "scipy", "matplotlib",
}  # fmt: skip

REPORT = """
import os, runpy, sys
import atexit
atexit.register(lambda: print("LOADED", *sorted(sys.modules)))
atexit.register(lambda: print("OMP", os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT")))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run python from a folder that has nothing to do with the project."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment = inherited | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def reported(script: str, *arguments: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """What a launch script did, and the packages that it had loaded at its end."""
    done = start("-c", REPORT, str(ROOT / "launch" / script), *arguments, folder=folder)
    loaded = next(line for line in done.stdout.splitlines() if line.startswith("LOADED"))
    return done, {name.split(".")[0] for name in loaded.split()}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_loads_nothing_heavy(script, tmp_path):
    done, loaded = reported(script, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout.lower()
    assert not loaded & HEAVY


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_slip_is_refused_in_a_line_and_loads_nothing_heavy(script, tmp_path):
    done, loaded = reported(script, "--no-such-option", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr + done.stdout
    assert not list(tmp_path.iterdir())
    assert not loaded & HEAVY
    assert "OMP PASSIVE 1000" in done.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "told"),
    [
        ("train.py", ["--config", "quickstrt"], "quickstrt: no such file; did you mean 'quickstart'?"),
        ("train.py", ["--config", "quickstart", "--trainer.steps", "many"], "--trainer.steps: input should be a valid"),
        ("sweep.py", ["--config", "absent.yaml", "--table", "--minutes", "0"], "--minutes 0.0: must be more than 0"),
        ("predict.py", ["--checkpoint", "synth-v2", "--input", ".", "--output", "o"], "shipped model 'synth-v1'"),
        ("predict.py", ["--checkpoint", "synth-v1", "--input", "absent.png", "--output", "o"], "absent.png: no such"),
        ("evaluate.py", ["--checkpoint", "synth-v1", "--dataset", "h36"], "did you mean 'h36m'?"),
        ("evaluate.py", ["--checkpoint", "synth-v1", "--protocol", "martinez"], "did you mean 'martinez17'?"),
    ],
)
def test_wrong_names_are_refused_before_torch_is_loaded(script, arguments, told, tmp_path):
    done, loaded = reported(script, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[0]
    assert not loaded & HEAVY


def test_building_a_model_loads_no_compiler(tmp_path):
    done = start("-c", "import sys, selfsup3d.builders.systems; print('torch._dynamo' in sys.modules)", folder=tmp_path)
    assert done.stdout.split() == ["False"], done.stderr


def test_a_prediction_loads_no_compiler(tmp_path):
    person = ROOT / "assets" / "synth-v1" / "people" / "person-2.png"
    given = ("--checkpoint", "synth-v1", "--input", str(person), "--output", "poses", "--device", "cpu")
    done, loaded = reported("predict.py", *given, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torch" in loaded
    assert "sympy" not in loaded


FAULTS = """
import resource, sys
from selfsup3d.cli import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
import numpy
def fill():
    numpy.ones(10_000_000)  # 80 MB: more than GNU's allocator ever keeps by itself
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="GNU's allocator")
def test_freed_memory_is_taken_again(tmp_path):
    def faults(how: str, **environment: str) -> int:
        return int(start("-c", FAULTS, how, folder=tmp_path, **environment).stdout)

    kept, usual = faults("keep"), faults("usual")
    assert kept < 100
    assert usual > 100
    assert faults("keep", MALLOC_ARENA_MAX="1") > 100, "what a person has set up stays"


def test_the_console_lists_all_commands_and_loads_nothing(tmp_path):
    done = start("-X", "importtime", "-m", "selfsup3d", "--help", folder=tmp_path)
    assert done.returncode == 0
    for name, what in COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, what] for line in done.stdout.splitlines())
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if line.count("|") == 2}
    assert "selfsup3d" in loaded
    assert not loaded & (HEAVY | {"numpy", "pydantic", "yaml"})


def test_every_command_has_its_launch_script_and_its_options(tmp_path):
    names = {name.replace("-", "_") for name in COMMANDS}
    assert {script.removesuffix(".py") for script in SCRIPTS} == names
    commands = ROOT / "selfsup3d" / "commands"
    for folder in (commands, commands / "options"):
        assert names <= {path.stem for path in folder.glob("*.py")}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["predct", "--help"], 2, "predct: there is no such command; did you mean 'predict'?"),
        ([], 2, "usage: selfsup3d COMMAND"),
        (["--version"], 0, ""),
        (["sweep", "--help"], 0, "usage: selfsup3d sweep"),
    ],
)
def test_the_console_command(arguments, code, told, tmp_path):
    done = start("-m", "selfsup3d", *arguments, folder=tmp_path)
    assert done.returncode == code
    assert told in done.stdout + done.stderr


def test_a_wait_policy_that_is_set_stays(tmp_path):
    command = ("-c", REPORT, str(ROOT / "launch" / "sweep.py"), "--help")
    assert "OMP ACTIVE None" in start(*command, folder=tmp_path, OMP_WAIT_POLICY="ACTIVE").stdout
