"""Cross-modal VAEs through the scripts that people run: train, evaluate with its report, 3DPW, sweep."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from selfsup3d.builders.systems import build_source, load_system
from selfsup3d.cli import run
from tests.data.generators import h36m
from tests.data.generators import threedpw as generate

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "cross_modal"
SHORT = ["--trainer.steps", "4", "--trainer.batch-size", "8", "--trainer.fit-batches", "4", "--trainer.images", "2",
         "--trainer.log-every", "1", "--system.latent", "8", "--system.width", "16"]  # fmt: skip
POSES = ["--data.sequences", "12", "--data.stride", "20", *SHORT]
IMAGES = ["--data.preset", "tiny-test", "--system.backbone", "test_resnet", *SHORT]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cached(cache, monkeypatch):
    monkeypatch.setenv("SELFSUP3D_CACHE", str(cache))


def trained(name, flags, folder, load_script):
    config = str(CONFIGS / f"{name}.yaml")
    assert run(load_script("train").main, ["--config", config, "--output-dir", str(folder), *flags]) == 0
    return folder


@pytest.mark.parametrize("name", ["pose", "adversarial", "reprojection"])
def test_pose_vaes_are_trained_and_measured(name, tmp_path, capsys, load_script):
    folder = trained(name, POSES, tmp_path / "run", load_script)
    assert (folder / "grid.png").is_file()
    lines = [json.loads(line) for line in (folder / "scalars.jsonl").read_text().splitlines()]
    trained_steps = [line for line in lines if "total_loss" in line or "loss/vae/_beta" in line]
    assert trained_steps
    assert all("loss/vae/_beta" in line for line in trained_steps)
    out = tmp_path / "result.json"
    flags = ["--checkpoint", str(folder), "--split", "test", "--samples", "3", "--json", str(out)]
    assert run(load_script("evaluate").main, flags) == 0
    result = json.loads(out.read_text())
    metric = "pa_mpjpe" if name == "reprojection" else "mpjpe"
    assert result["metrics"][f"{metric}_best_of_3"] > 0
    assert set(result["cross_modal"]["missing_joints"]) == {"0", "1", "2"}
    printed = capsys.readouterr().out
    assert f"{metric.upper().replace(chr(95), chr(45))} best of 3 [mm]" in printed
    assert "Missing 2D joints" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["image", "pose_synthetic", "two_pairs", "three_pairs", "all_pairs", "poe", "moe", "hybrid"]
)
def test_those_of_images_are_trained_measured_and_reported(name, tmp_path, load_script):
    folder = trained(name, IMAGES, tmp_path / "run", load_script)
    report = tmp_path / "report"
    flags = ["--checkpoint", str(folder), "--split", "test", "--limit", "12", "--report", str(report)]
    assert run(load_script("evaluate").main, flags) == 0
    told = json.loads((report / "result.json").read_text())["cross_modal"]
    assert told["pairs"]
    for file in (
        "predictions",
        "prior",
        "latent_by_action",
        "latent_thumbnails",
        "interpolation",
        "arithmetic",
        "curves",
    ):
        image = cv2.imread(str(report / f"{file}.png"))
        assert image is not None, file
        assert image.std() > 3
    assert "Latent factorisation" in (report / "result.md").read_text()


@pytest.mark.parametrize(
    ("name", "flags", "keypoints"),
    [
        ("pose", POSES, "projected"),
        ("pose", POSES, "detected"),
        pytest.param("image", IMAGES, "projected", marks=pytest.mark.slow),
        pytest.param("poe", IMAGES, "projected", marks=pytest.mark.slow),
    ],
)
def test_3dpw_accepts_them(name, flags, keypoints, tmp_path, capsys, load_script):
    folder = trained(name, flags, tmp_path / "run", load_script)
    generate.write_sequence(tmp_path / "3dpw", "a_walk_00", frames=6, size=(270, 480))
    out = tmp_path / "r.json"
    flags = ["--checkpoint", str(folder), "--data.root", str(tmp_path / "3dpw"), "--keypoints", keypoints,
             "--samples", "4", "--json", str(out), "--report", str(tmp_path / "report")]  # fmt: skip
    assert run(load_script("eval_3dpw").main, flags) == 0
    result = json.loads(out.read_text())
    assert result["flags"]["root"] == "mid_hips"
    assert result["metrics"]["mpjpe"] > 0
    assert result["metrics"]["mpjpe_best_of_4"] <= result["metrics"]["mpjpe"]
    assert "lsp_14 joints" in capsys.readouterr().out
    assert (tmp_path / "report" / "sheet.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["h36m_pose", "h36m_image", "thesis"])
def test_human36m_configs_run_on_a_generated_tree(name, tmp_path, load_script):
    for package in ("h5py", "scipy"):
        pytest.importorskip(package)
    scene = h36m.Scene(subjects=("S1", "S8", "S9"), trials=("Walking 1",), frames=6, speed=8)
    h36m.fetch(tmp_path / "h36m", scene)
    root = ["--data.root", str(tmp_path / "h36m")]
    flags = [*root, "--data.every", "1", "--data.evaluate-every", "2", "--data.size", "32", "--trainer.workers", "0",
             *SHORT]  # fmt: skip
    folder = trained(name, flags, tmp_path / "run", load_script)
    out = tmp_path / "r.json"
    assert run(load_script("evaluate").main, ["--checkpoint", str(folder), "--split", "test", "--json", str(out)]) == 0
    told = json.loads(out.read_text())
    assert told["dataset"] == "h36m"
    pairs = {"joints_2d->joints_3d"} if name == "h36m_pose" else {"joints_2d->joints_3d", "image->joints_3d"}
    assert pairs <= set(told["cross_modal"]["pairs"])


def test_the_last_weights_are_released_and_not_the_worst(tmp_path, load_script):
    """An earlier implementation kept the checkpoint of the largest loss."""
    folder = trained("pose", [*POSES, "--trainer.checkpoint-every", "2"], tmp_path / "run", load_script)
    released, config = load_system(folder)
    batch = build_source(config, "val").frames(np.arange(8))
    checkpoints = sorted((folder / "checkpoints").glob("step-*"))
    assert len(checkpoints) == 2
    first, last = (load_system(path)[0].predict(batch).pose for path in checkpoints)
    assert torch.equal(released.predict(batch).pose, last)
    assert not torch.equal(first, last)


@pytest.mark.slow
def test_the_questions_are_a_sweep(tmp_path, capsys, load_script):
    sweep = yaml.safe_load((CONFIGS / "questions.yaml").read_text())
    sweep |= {"output": str(tmp_path / "out"), "budgets": {"short": {"steps": 3}}, "flags": [*sweep["flags"], *POSES]}
    chosen = ("2d_root_zeroed", "beta_cyclical")
    sweep["experiments"] = {name: sweep["experiments"][name] for name in chosen}
    for experiment in sweep["experiments"].values():
        experiment["config"] = str(ROOT / experiment["config"])
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep, sort_keys=False))
    assert run(load_script("sweep").main, ["--config", str(path)]) == 0
    assert "MPJPE best of 10 [mm]" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--system.pairs", "2d->3d"], "'2d->3d' is no pair"),
        (["--system.pairs", "image->joints_3d"], "no images"),
        (["--system.adversary.smoothing", "1.2"], "smoothing"),
        (["--system.fusion", "poe"], "needs encoders and decoders"),
        (["--system.beta.ramp", "1"], "ramp"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(flags, words, tmp_path, capsys, load_script):
    arguments = ["--config", str(CONFIGS / "pose.yaml"), "--output-dir", str(tmp_path / "run"), *POSES, *flags]
    assert run(load_script("train").main, arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
