"""The released weights give the number that stands beside them."""

import json
from pathlib import Path

import pytest

from selfsup3d.builders.systems import load_system
from selfsup3d.cli import run

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "assets" / "synth-v1" / "model"


@pytest.fixture
def stated():
    """What launch/evaluate.py --data.preset tiny-test --split test --json gave when they were released."""
    return json.loads((MODEL / "check.json").read_text(encoding="utf-8"))


def test_the_released_weights_give_the_stated_errors(stated, tmp_path, monkeypatch, load_script):
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path / "cache"))
    flags = ["--checkpoint", str(MODEL), "--data.preset", "tiny-test", "--split", "test", "--device", "cpu"]
    assert run(load_script("evaluate").main, [*flags, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["frames"] == stated["frames"]
    for name in ("mpjpe", "pa_mpjpe"):
        assert found["metrics"][name] == pytest.approx(stated["metrics"][name], abs=0.1), name
    for name in ("miou_fg", "miou_parts", "pck_150"):
        assert found["metrics"][name] == pytest.approx(stated["metrics"][name], abs=0.01), name


def test_the_released_folder_is_small_and_tells_what_it_is():
    assert sum(file.stat().st_size for file in MODEL.iterdir()) < 20e6
    _, config = load_system(MODEL)
    assert (config.output_dir, config.weights, config.system.teacher) == (None, None, None)
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    for title in ("Training data and assumptions", "Limits", "Intended use, and misuse", "Results"):
        assert f"## {title}" in card
