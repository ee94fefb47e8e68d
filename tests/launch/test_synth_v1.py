"""The sweep of results on synth-v1, from its own file, on a few clips and steps."""

import json
from pathlib import Path

import cv2
import pytest
import yaml

from selfsup3d.builders.systems import load_system
from selfsup3d.cli import run

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_recipe_and_an_ablation_run_and_resume(tmp_path, monkeypatch, capsys, load_script):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path / "cache"))
    sweep = yaml.safe_load((ROOT / "configs" / "synth_v1" / "results.yaml").read_text())
    sweep |= {"output": str(tmp_path / "out"), "seeds": [0]}
    for budget in sweep["budgets"].values():
        budget.pop("minutes", None)
        budget["steps"] = 12
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps(sweep))  # is YAML, and keeps "5e-4" a text
    small = ["--data.preset", "tiny-test", "--data.size", "32", "--trainer.batch-size", "2", "--trainer.log-every", "2",
             "--trainer.images", "0", "--trainer.evaluate-every", "3", "--trainer.device", "cpu"]  # fmt: skip
    call = load_script("sweep").main
    chosen = ["--experiments", "pretrain", "self_train_1", "no_kinematics"]
    assert (
        run(
            call,
            ["--config", str(path), *chosen, "--results", str(tmp_path / "kept"), "--curves", "mpjpe", "--", *small],
        )
        == 0
    )
    cells = json.loads((tmp_path / "kept" / "out.json").read_text())["cells"]
    assert set(cells) == {
        "pretrain | pretrain | 0", "self_train_1 | self_train_1 | 0", "no_kinematics | joint_10_minutes | 0",
    }  # fmt: skip
    assert cells["pretrain | pretrain | 0"]["course"]["samples"] == [12, 24, 36, 48], (
        "two processes with a batch of two"
    )
    table = (tmp_path / "kept" / "out.md").read_text()
    assert "| self-training | not run |" in table
    assert "126.8 / 51.7" in table
    assert cv2.imread(str(tmp_path / "kept" / "out_curves.png")) is not None
    first, _ = load_system(tmp_path / "out" / "runs" / "pretrain-pretrain-0")
    second, config = load_system(tmp_path / "out" / "runs" / "self_train_1-self_train_1-0")
    assert config.system.supervision == "teacher"
    assert (first.bone_lengths == second.bone_lengths).all(), "the skeleton comes with the weights"
    capsys.readouterr()
    assert run(call, ["--config", str(path), *chosen, "--", *small]) == 0
    assert "[" not in capsys.readouterr().err, "nothing is run twice"
