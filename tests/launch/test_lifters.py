"""Lifters through the scripts that people run: train, evaluate, sweep."""

import json
from pathlib import Path

import cv2
import pytest
import yaml

from selfsup3d.cli import run

ROOT = Path(__file__).parents[2]
TINY = ["--data.sequences", "12", "--data.stride", "20", "--trainer.steps", "6", "--trainer.batch-size", "16",
        "--trainer.fit-batches", "8", "--trainer.images", "2", "--trainer.log-every", "2"]  # fmt: skip
SMALL = {
    "martinez": ["--system.width", "16"],
    "geometric": ["--system.width", "16", "--system.blocks", "1"],
    "temporal": ["--system.channels", "16"],
    "ites_teacher": ["--system.width", "16", "--system.bottleneck", "8"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_a_lifter_is_trained_and_measured_under_several_conditions(kind, tmp_path, capsys, load_script):
    config = str(ROOT / "configs" / "lifters" / f"{kind}.yaml")
    folder = tmp_path / "run"
    train = ["--config", config, "--output-dir", str(folder), *TINY, *SMALL[kind]]
    assert run(load_script("train").main, train) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["dataset"] == "procedural"
    assert metrics["metrics"]["pa_mpjpe"] > 0
    assert metrics["baselines"]["flat"]["pa_mpjpe"] > 0
    assert metrics["baselines"]["nearest_neighbour"]["pa_mpjpe"] > 0
    assert (folder / "grid.png").is_file()
    errors = []
    for condition in ("clean", "noisy", "missing"):
        out = tmp_path / f"{condition}.json"
        flags = ["--checkpoint", str(folder), "--split", "test", "--data.preset", condition, "--json", str(out)]
        assert run(load_script("evaluate").main, flags) == 0
        errors.append(json.loads(out.read_text())["metrics"]["pa_mpjpe"])
    assert len(set(errors)) == 3
    assert "zero-depth baseline" in capsys.readouterr().out


def test_a_student_without_its_teacher_is_one_line_and_exit_code_2(tmp_path, capsys, load_script):
    config = str(ROOT / "configs" / "lifters" / "ites_student.yaml")
    flags = ["--config", config, "--output-dir", str(tmp_path / "run"), *TINY, "--system.teacher", str(tmp_path / "no")]
    assert run(load_script("train").main, flags) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_trains_measures_and_resumes(tmp_path, capsys, load_script):
    sweep = {
        "title": "Tiny",
        "output": str(tmp_path / "out"),
        "budgets": {"short": {"steps": 6, "plateau": 0.01}},
        "evaluations": {"clean": ["--split", "test", "--data.preset", "clean"]},
        "flags": [flag for flag in TINY if flag not in ("--trainer.steps", "6")],
        "experiments": {
            "teacher": {"config": str(ROOT / "configs/lifters/ites_teacher.yaml"), "flags": SMALL["ites_teacher"]},
            "student": {
                "config": str(ROOT / "configs/lifters/ites_student.yaml"),
                "flags": ["--system.teacher", "{run:teacher}", "--system.channels", "8", "--system.blocks", "1"],
            },
        },
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep, sort_keys=False))
    assert run(load_script("sweep").main, ["--config", str(path), "--experiments", "teacher"]) == 0
    first = json.loads((tmp_path / "out" / "results.json").read_text())
    assert run(load_script("sweep").main, ["--config", str(path)]) == 0
    second = json.loads((tmp_path / "out" / "results.json").read_text())
    assert second["cells"]["teacher | short | 0"] == first["cells"]["teacher | short | 0"]
    assert set(second["cells"]) == {"teacher | short | 0", "student | short | 0"}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| student" in table
    assert "poses/s" in table
    again = ["--config", str(path), "--table"]
    assert run(load_script("sweep").main, [*again, "--images", "3D side"]) == 0
    assert table in capsys.readouterr().out
    drawn = cv2.imread(str(tmp_path / "out" / "out.png"))
    assert drawn.shape[0] > 8 * 192  # frames below one another
    assert 3 * 192 < drawn.shape[1] < 4 * 192  # keypoints, teacher, student
    assert run(load_script("sweep").main, [*again, "--images", "3D sid"]) == 2
    assert "'3D side'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "missing.yaml"], "missing.yaml: no such file"),
        ([], "--config"),
        (["--config", "configs/lifters/poses.yaml", "--experiments", "martinezz"], "no experiment 'martinezz'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, words, capsys, monkeypatch, load_script):
    monkeypatch.chdir(ROOT)
    assert run(load_script("sweep").main, arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
