import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfsup3d.benchmarks.harness import Benchmark, Disagreement, Result, Settings
from selfsup3d.benchmarks.registry import BENCHMARKS
from selfsup3d.cli import run

SCRIPT = Path(__file__).parents[2] / "launch" / "benchmark.py"


@pytest.fixture
def script(monkeypatch):
    """The script on an idle machine, pinning nothing, with two made-up benchmarks."""
    module = importlib.import_module("selfsup3d.commands.benchmark")
    kinds = {
        "fast": type(BENCHMARKS["kinematics"])(lambda s: Result(1.0, 4.0, "peer", dtype="float32"), "a kernel", ">= 3"),
        "wrong": type(BENCHMARKS["kinematics"])(disagree, "another", ""),
    }
    monkeypatch.setattr(module, "BENCHMARKS", kinds)
    monkeypatch.setattr(module, "busy_shares", lambda: {0: 0.01, 1: 0.9, 2: 0.02})
    module.pinned = []
    monkeypatch.setattr(module, "pin", module.pinned.append)
    return module


def disagree(settings: Settings) -> Result:
    raise Disagreement("results differ by 1")


def test_table_and_json(script, tmp_path, capsys):
    path = tmp_path / "speed.json"
    assert run(script.main, ["--only", "fast", "--json", str(path)]) == 0
    assert script.pinned == [[0, 2]]
    out = capsys.readouterr().out
    assert "fast" in out
    assert "unreliable" not in out
    document = json.loads(path.read_text())
    assert set(document) == {"threads", "machine", "versions", "results"}
    assert document["threads"] == 2
    assert document["machine"]["forced"] is False
    assert document["results"]["fast"] == {
        "reach": ">= 3",
        "limit": "",
        "ours_ms": 1.0,
        "peer_ms": 4.0,
        "peer": "peer",
        "ratio": 4.0,
        "bound": None,
        "dtype": "float32",
        "max_error": None,
        "peak_mb": None,
    }


def test_a_wrong_kernel_is_reported_and_the_rest_still_runs(script, tmp_path, capsys):
    path = tmp_path / "speed.json"
    assert run(script.main, ["--json", str(path)]) == 1
    document = json.loads(path.read_text())
    assert list(document["results"]) == ["fast", "wrong"]
    assert document["results"]["wrong"]["ours_ms"] is None
    assert "results differ by 1" in document["results"]["wrong"]["reason"]
    assert "wrong: results differ" in capsys.readouterr().err


def test_others_are_met_before_freed_memory_is_kept(script, monkeypatch, tmp_path):
    order = []
    for name in ("own", "beside"):
        kernel = Benchmark(lambda s, name=name: order.append(name) or Result(1.0), name, beside_others=name == "beside")
        monkeypatch.setitem(script.BENCHMARKS, name, kernel)
    monkeypatch.setattr(script, "keep_freed_memory", lambda: order.append("kept"))
    path = tmp_path / "speed.json"
    assert run(script.main, ["--only", "own", "--only", "beside", "--json", str(path)]) == 0
    assert order == ["beside", "kept", "own"]
    assert list(json.loads(path.read_text())["results"]) == ["own", "beside"], "in the order asked for"


def test_growth_writes_its_page_and_says_when_the_machine_was_busy(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(script, "grow", lambda settings: f"# Page of {settings.threads} threads\n")
    path = tmp_path / "speed.md"
    assert run(script.main, ["--growth", str(path)]) == 0
    assert path.read_text() == "# Page of 2 threads\n"
    assert run(script.main, ["--growth", str(path), "--threads", "3", "--force"]) == 0
    assert path.read_text().splitlines()[-1].endswith("unreliable")
    assert run(script.main, ["--growth", str(path), "--only", "fast"]) == 2
    assert "--growth" in capsys.readouterr().err


def test_a_long_run_writes_its_page_alone(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(script, "run_long", lambda settings: "# A long run\n")
    path = tmp_path / "long.md"
    assert run(script.main, ["--long-run", str(path)]) == 0
    assert path.read_text() == "# A long run\n"
    assert run(script.main, ["--long-run", str(path), "--growth", str(tmp_path / "speed.md")]) == 2
    assert "run the other pages" in capsys.readouterr().err


def test_a_busy_machine_is_refused_unless_forced(script, tmp_path, capsys):
    path = tmp_path / "speed.json"
    assert run(script.main, ["--threads", "3", "--json", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("the machine is busy")
    assert "cpu 1 90%" in error
    assert not path.exists()
    assert run(script.main, ["--threads", "3", "--force", "--only", "fast", "--json", str(path)]) == 0
    assert "unreliable" in capsys.readouterr().out
    machine = json.loads(path.read_text())["machine"]
    assert (machine["forced"], machine["busy_before"]) == (True, 0.9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "fasst"], "did you mean 'fast'"),
        (["--threads", "0"], "--threads 0"),
        (["--threads", "9"], "only 3 CPUs"),
        (["--seconds", "-1"], "--seconds"),
        (["--thread", "1"], "--help"),
        (["--device", "tpu"], "--help"),
    ],
)
def test_bad_arguments_end_with_code_two_and_a_reason(script, arguments, message, capsys):
    assert run(script.main, arguments) == 2
    assert message in capsys.readouterr().err


def test_list_names_all(script, capsys):
    assert run(script.main, ["--list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["fast   a kernel  (>= 3)", "wrong  another"]


def test_the_command_itself(tmp_path):
    path = tmp_path / "speed.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--force", "--threads", "1"]
    only = ["--only", "kinematics", "--only", "lifter_inference", "--json", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run([*command, *only], capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "these figures mean nothing" in done.stdout
    assert set(json.loads(path.read_text())["results"]) == {"kinematics", "lifter_inference"}
