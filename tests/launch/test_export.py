import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup3d.builders.systems import build_system, load_system
from selfsup3d.cli import run
from selfsup3d.config.run import Config
from selfsup3d.data.mocap.convert import read_recording
from selfsup3d.inference.records import PoseRecord, load_record
from selfsup3d.io import pretrained


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("export")


@pytest.fixture
def poses(tmp_path, motion_poses):
    joints = motion_poses.numpy()[:, :, [1, 2, 0]] * np.array([1, -1, -1])
    count = len(joints)
    record = PoseRecord(
        joints.astype(np.float32), np.zeros((count, 17, 2)), np.full((count, 3), np.nan), np.arange(count),
        np.zeros((count, 3), int), fps=24.0,
    )  # fmt: skip
    record.save(tmp_path / "poses.npz")
    return tmp_path / "poses.npz"


def test_gaps_of_poses_stay_gaps_in_animations(script, poses, tmp_path, capsys):
    given = load_record(poses)
    numbers = np.array([*range(6), *range(36, 42)])  # nobody for 30 frames, then the rest
    replace(given, frames=numbers, times=numbers / 24.0).save(tmp_path / "gap.npz")
    command = ["--poses", str(tmp_path / "gap.npz"), "--output", str(tmp_path / "out"), "--formats", "bvh", "angles"]
    assert run(script.main, command) == 0
    recording = read_recording(tmp_path / "out" / "pose.bvh")
    assert (len(recording), recording.fps) == (42, pytest.approx(24.0))
    assert "frames 6-35" in capsys.readouterr().out
    rows = (tmp_path / "out" / "angles.csv").read_text().splitlines()[1:]
    assert [k for k, row in enumerate(rows) if row.split(",")[1] == ""] == list(range(6, 36))


def test_poses_become_bvh_and_glb(script, poses, tmp_path, capsys):
    assert run(script.main, ["--poses", str(poses), "--output", str(tmp_path / "out")]) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"pose.bvh", "pose.glb"}
    assert read_recording(tmp_path / "out" / "pose.bvh").fps == pytest.approx(24.0)
    assert (tmp_path / "out" / "pose.glb").read_bytes()[:4] == b"glTF"
    assert run(script.main, ["--poses", str(poses), "--output", str(tmp_path / "out"), "--formats", "bvh"]) == 2
    assert "pose.bvh exists already" in capsys.readouterr().err


def test_a_model_to_give_away_has_no_paths_and_tells_its_results(script, model, tmp_path, capsys):
    result = tmp_path / "test.json"
    result.write_text(json.dumps({"dataset": "synthetic", "split": "test", "protocol": "strict", "frames": 3, "skipped": 0,
                                  "flags": {}, "metrics": {"mpjpe": 123.4}, "reasons": {}, "baselines": {}}))  # fmt: skip
    given = ["--checkpoint", str(model), "--output", str(tmp_path / "out"), "--formats", "model"]
    assert run(script.main, [*given, "--results", str(result), "--about", "The last of two runs."]) == 0
    told = json.loads((tmp_path / "out" / "model" / "config.json").read_text())["config"]
    assert (told["output_dir"], told["weights"], told["system"]["teacher"]) == (None, None, None)
    assert str(tmp_path.parent) not in json.dumps(told)
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "123.4" in card
    assert "The last of two runs." in card
    assert "## Intended use, and misuse" in card
    kept, _ = load_system(tmp_path / "out" / "model")
    before, _ = load_system(model)
    for name, value in before.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], value, rtol=1e-3, atol=1e-6)
    assert run(script.main, given) == 2
    assert "model exists already" in capsys.readouterr().err
    assert run(script.main, [*given, "--overwrite", "--results", str(model)]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_becomes_a_program(script, model, tmp_path):
    assert run(script.main, ["--checkpoint", str(model), "--output", str(tmp_path), "--formats", "pt2"]) == 0
    program = torch.export.load(tmp_path / "prediction.pt2").module()
    K = torch.tensor([[120.0, 0, 32], [0, 120, 32], [0, 0, 1]])
    outputs = program(torch.rand(1, 3, 64, 64), K[None])
    assert outputs[0].shape == (1, 17, 3)
    assert outputs[-2].shape == (1, 3, 64, 64)


@pytest.mark.slow
def test_a_model_becomes_onnx_that_agrees(script, model, tmp_path, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra: export)")
    assert run(script.main, ["--checkpoint", str(model), "--output", str(tmp_path), "--formats", "onnx"]) == 0
    printed = capsys.readouterr().out
    assert "encoder.onnx: onnxruntime differs by canonical" in printed
    assert "decoder.onnx: onnxruntime differs by image" in printed


def test_results_that_differ_are_an_error(script, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "check_libraries", lambda: None)
    monkeypatch.setattr(script, "export_onnx", lambda *_: None)
    monkeypatch.setattr(script, "onnx_difference", lambda *_: {"image": float("nan")})
    assert run(script.main, ["--checkpoint", str(model), "--output", str(tmp_path), "--formats", "onnx"]) == 1
    assert "differ by more than 1e-04" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either --checkpoint"),
        (["--checkpoint", "x", "--poses", "b"], "give either --checkpoint"),
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--poses", "nowhere.npz"], "nowhere.npz: no such file"),
        (["--poses", "a.npz", "--formats", "onnx"], "--formats onnx: comes from --checkpoint"),
        (["--poses", "a.npz", "--formats", "fbx"], "--formats"),
        (["--poses", "a.npz", "--fps", "0"], "--fps 0.0: must be more than 0"),
        (["--poses", "a.npz", "--fps", "inf"], "--fps inf: must be more than 0"),
    ],
)
@pytest.mark.usefixtures("x")
def test_bad_input_is_one_line_and_exit_code_2(script, tmp_path, capsys, arguments, words):
    assert run(script.main, [*arguments, "--output", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert words in err.splitlines()[0]
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_is_told_before_anything_is_written(script, model, tmp_path, capsys, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert run(script.main, ["--checkpoint", str(model), "--output", str(tmp_path / "out")]) == 2
    assert "pip install -e '.[export]'" in capsys.readouterr().err.splitlines()[0]
    assert not (tmp_path / "out").exists()


def test_a_lifter_is_refused(script, tmp_path, capsys):
    config = Config.model_validate({"system": {"kind": "martinez"}})
    pretrained.save_pretrained(tmp_path / "lifter", build_system(config), config.to_dict(), "random weights")
    assert run(script.main, ["--checkpoint", str(tmp_path / "lifter"), "--output", str(tmp_path / "out")]) == 2
    assert "a martinez cannot be exported" in capsys.readouterr().err
