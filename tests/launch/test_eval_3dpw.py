"""launch/eval_3dpw.py: image models and lifters, both joint sources, table, JSON and sheet."""

import importlib
import json

import cv2
import numpy as np
import pytest
import torch

from selfsup3d.cli import run
from selfsup3d.config.run import Config
from selfsup3d.evaluation.baselines import Baselines
from selfsup3d.evaluation.gallery import spread_rows
from selfsup3d.models.system import System
from selfsup3d.structures.batch import PoseOutput
from tests.data.generators import threedpw as generate

script = importlib.import_module("selfsup3d.commands.eval_3dpw")
body = importlib.import_module("selfsup3d.commands.evaluate")

pytestmark = pytest.mark.usefixtures("x")  # a folder that --checkpoint accepts


class Known(System):
    """Predicts the truth turned by a little, so that its errors are known; reads images or 2D joints."""

    def __init__(self, needs):
        super().__init__()
        self.predict_requires = needs
        self.seen = []

    def parameter_groups(self):
        return {}

    def updates(self, step, progress):
        return []

    def losses(self, batch, turn, progress):
        return {}

    def predict(self, batch, samples=1):
        self.seen.append(batch)
        pose = (batch.joints_3d - batch.joints_3d[:, :1]).nan_to_num(0.0)
        pose = pose + 0.1 * (torch.arange(17) % 2)[:, None]  # every second joint is 173 mm off
        pose[:, 0] = 0.0
        return PoseOutput(pose=pose[:, None])


@pytest.fixture
def root(tmp_path):
    generate.write_sequence(tmp_path / "3dpw", "a_walk_00", frames=6, size=(270, 480))
    generate.write_sequence(tmp_path / "3dpw", "b_walk_00", split="train", frames=4, size=(270, 480))
    return tmp_path / "3dpw"


@pytest.fixture
def system(monkeypatch, tmp_path):
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(body, "run_baselines", lambda *_: Baselines())
    holder = {}

    def make(*needs):
        holder["system"] = Known(needs).eval()
        monkeypatch.setattr(body, "load_system", lambda *_: (holder["system"], Config()))
        return holder["system"]

    return make


def call(*arguments):
    return run(script.main, ["--checkpoint", "x", "--device", "cpu", *map(str, arguments)])


def test_image_model(root, system, tmp_path, capsys, monkeypatch):
    known = system("target", "K")
    kinds = []
    drawn = body.error_sheet
    monkeypatch.setattr(body, "error_sheet", lambda *given: kinds.extend(given[-1]) or drawn(*given))
    assert call("--data.root", root, "--report", tmp_path / "r", "--rows", 2) == 0
    out = capsys.readouterr().out
    assert "3dpw test: 10 frames, 2 skipped" in out
    assert "root=mid_hips" in out
    assert "limbs_12" in out
    assert "lsp_14 joints" in out
    assert "jointPositions (SMPL, 24)" in out
    result = json.loads((tmp_path / "r/result.json").read_text())
    # Of the 12 limb joints six are odd-numbered; the hips' middle moves by half of (0.1, 0.1, 0.1) too.
    shift = 100 * np.sqrt(3)
    assert result["metrics"]["mpjpe"] == pytest.approx(shift / 2, rel=1e-3)
    assert result["flags"]["root"] == "mid_hips"
    assert known.seen[0].target.shape[-2:] == (64, 64)
    sheet = cv2.imread(str(tmp_path / "r/sheet.png"))
    assert sheet.shape[0] > 6 * 150
    assert kinds == ["best", "best", "median", "median", "worst", "worst"]
    assert (tmp_path / "r/frames.npz").is_file()


@pytest.mark.parametrize("keypoints", ["projected", "detected"])
def test_lifters_see_joints_alone(root, system, tmp_path, capsys, keypoints):
    known = system("joints_2d")
    code = call("--data.root", root, "--keypoints", keypoints, "--split", "all", "--json", tmp_path / "r.json")
    assert code == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["frames"] == 16
    assert result["notes"]["keypoints"] == f"2D joints: {keypoints}"
    batch = known.seen[0]
    assert batch.target is None
    assert float(batch.joints_2d.max()) > 200  # full pixels
    assert bool((batch.confidence[:, 7] == 0).all()) is (keypoints == "detected")
    capsys.readouterr()


def test_regressed_joints(root, system, tmp_path, capsys):
    system("joints_2d")
    rng = np.random.default_rng(0)
    joints = {f"a_walk_00_{p}": rng.normal(size=(6, 14, 3)) * 0.3 for p in range(2)}
    joints |= {f"b_walk_00_{p}": rng.normal(size=(4, 14, 3)) * 0.3 for p in range(2)}
    np.savez(tmp_path / "j.npz", **joints)
    arguments = ("--data.root", root, "--joints", "h36m_14", "--regressed", tmp_path / "j.npz")
    assert call(*arguments, "--json", tmp_path / "r.json") == 0
    assert "regressed from the body surface" in capsys.readouterr().out


def test_best_median_worst():
    errors = np.array([5.0, np.nan, 1, 9, 3, 7, 2])
    rows = spread_rows(errors, 2)
    assert rows["best"].tolist() == [2, 6]
    assert rows["median"].tolist() == [4, 0]
    assert rows["worst"].tolist() == [3, 5]
    assert spread_rows(np.array([4.0]), 3)["median"].tolist() == [0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data.root", "absent"), "absent: no such folder"),
        ((), "--data.root"),
        (("--data.root", ".", "--protocol", "martinez"), "did you mean 'martinez17'"),
        (("--data.root", ".", "--rows", "0"), "--rows 0"),
        (("--data.root", "."), "not a usable 3DPW folder"),
    ],
)
def test_bad_input(system, tmp_path, monkeypatch, capsys, arguments, words):
    system("joints_2d")
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 2
    assert words in capsys.readouterr().err
