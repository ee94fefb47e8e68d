import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfsup3d.builders.evaluation_data import EvaluationData, ScenePoses
from selfsup3d.builders.mixtures import parts_of
from selfsup3d.builders.systems import build_system, load_system
from selfsup3d.cli import run
from selfsup3d.config.datasets import SyntheticConfig
from selfsup3d.config.run import Config
from selfsup3d.data.synthetic.cache import prepare
from selfsup3d.data.synthetic.dataset import SyntheticTruth
from selfsup3d.data.synthetic.spec import preset_named
from selfsup3d.evaluation.baselines import labelled_baselines
from selfsup3d.evaluation.evaluator import frame_indices
from selfsup3d.evaluation.metrics import mpjpe
from selfsup3d.io import pretrained
from selfsup3d.structures.batch import Batch
from tests.evaluation.fakes import Painter, Source

pytestmark = pytest.mark.usefixtures("x")  # a folder that --checkpoint accepts

SCRIPT = Path(__file__).parents[2] / "launch" / "evaluate.py"


@pytest.fixture
def script():
    return importlib.import_module("selfsup3d.commands.evaluate")


@pytest.fixture
def faked(script, monkeypatch, noise):
    """The script with a system whose errors are known and a dataset that needs no rendering."""
    source = Source()

    def open_data(config, needs, options):
        name, split = options.dataset or "synthetic", options.split or "val"
        return EvaluationData(name, split, source, Source(seed=9), {"bone_floor": "no bones"})

    scale = {"factor": 1.0}
    monkeypatch.setattr(script, "load_system", lambda *_: (Painter(source, noise * scale["factor"]).eval(), Config()))
    monkeypatch.setattr(script, "open_evaluation_data", open_data)
    script.scale = scale
    return script


@pytest.fixture
def noise():
    import torch

    return torch.from_numpy(np.random.default_rng(1).normal(size=(20, 5, 17, 3)) * 0.06).float()


def test_tables_go_to_stdout_and_the_result_to_json(faked, tmp_path, capsys):
    code = run(faked.main, ["--checkpoint", "x", "--json", str(tmp_path / "r.json"), "--device", "cpu"])
    out, err = capsys.readouterr()
    assert code == 0
    assert "protocol=strict reflection=no flip_best=no gt_scale=no count_root=no" in out
    assert "mean training pose" in out
    assert "20/20" in err
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["checkpoint"] == "x"
    assert result["config_hash"] == Config().hash
    assert result["reasons"]["baselines.bone_floor"] == "no bones"
    assert result["baselines"]["mean_canonical_pose"]["pa_mpjpe"] > 0


def test_what_learned_from_several_datasets_is_measured_on_each(faked, monkeypatch, tmp_path, capsys):
    mixed = Config.model_validate({"data": [{"kind": "h36m", "root": "a"}, {"kind": "mpi_inf_3dhp", "root": "b"}]})
    system, _ = faked.load_system()
    opened = []

    def open_data(config, needs, options):
        name = options.dataset or parts_of(config)[0].data.kind
        opened.append((name, options.split))
        return EvaluationData(name, options.split or "test", Source(), None, {"mean_pose": "no labels"})

    monkeypatch.setattr(faked, "load_system", lambda *_: (system, mixed))
    monkeypatch.setattr(faked, "open_evaluation_data", open_data)
    arguments = ["--checkpoint", "x", "--device", "cpu", "--json", str(tmp_path / "r.json")]
    assert run(faked.main, arguments) == 0
    assert opened == [("h36m", None), ("mpi_inf_3dhp", None)]
    printed = capsys.readouterr().out
    assert "on h36m (20 frames)" in printed
    assert "on mpi_inf_3dhp (20 frames)" in printed
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["dataset"] == "synthetic"  # as the frames call themselves
    assert list(told["per_dataset"]) == ["h36m", "mpi_inf_3dhp"]
    assert told["per_dataset"]["mpi_inf_3dhp"]["metrics"]["mpjpe"] > 0
    assert run(faked.main, [*arguments, "--dataset", "mpi_inf_3dhp"]) == 0
    assert len(opened) == 3
    assert "on mpi_inf_3dhp" not in capsys.readouterr().out


def test_a_preset_changes_the_rules_and_says_so(faked, capsys):
    assert run(faked.main, ["--checkpoint", "x", "--dataset", "3dpw", "--protocol", "elepose", "--device", "cpu"]) == 0
    assert "protocol=elepose reflection=yes flip_best=no gt_scale=yes count_root=no root=mid_hips joints=limbs_12" in (
        capsys.readouterr().out
    )


def test_a_report_holds_tables_images_and_frames(faked, tmp_path):
    arguments = ["--checkpoint", "x", "--report", str(tmp_path / "r"), "--rows", "3", "--device", "cpu"]
    assert run(faked.main, arguments) == 0
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names == {"result.json", "result.md", "frames.npz", "typical.png", "worst.png"}
    assert cv2.imread(str(tmp_path / "r" / "worst.png")).shape[0] > 3 * 160
    assert "By joint" in (tmp_path / "r" / "result.md").read_text()


def test_two_systems_are_compared_on_the_same_frames(faked, tmp_path, capsys):
    first = str(tmp_path / "first.npz")
    assert run(faked.main, ["--checkpoint", "x", "--per-frame", first, "--device", "cpu"]) == 0
    faked.scale["factor"] = 0.5
    capsys.readouterr()
    assert run(faked.main, ["--checkpoint", "x", "--compare", first, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.strip().startswith("MPJPE [mm]") and "95% interval" in line)
    assert "-" in line.split()[2]
    assert "no difference" not in line
    assert "4 people" in line


def test_the_supervised_bound_of_another_run_stands_beside(faked, tmp_path, capsys):
    run(faked.main, ["--checkpoint", "x", "--json", str(tmp_path / "metrics.json"), "--device", "cpu"])
    bound = json.loads((tmp_path / "metrics.json").read_text())
    faked.scale["factor"] = 2.0
    capsys.readouterr()
    json_file = str(tmp_path / "r.json")
    arguments = ["--checkpoint", "x", "--upper-bound", str(tmp_path), "--json", json_file, "--device", "cpu"]
    assert run(faked.main, arguments) == 0
    assert "supervised, same network" in capsys.readouterr().out
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["baselines"]["supervised"]["mpjpe"] == bound["metrics"]["mpjpe"] < result["metrics"]["mpjpe"]
    capsys.readouterr()
    assert run(faked.main, [*arguments, "--protocol", "repnet"]) == 2
    assert "taken otherwise (flags" in capsys.readouterr().err.splitlines()[0]
    (tmp_path / "metrics.json").write_text("{}")
    assert run(faked.main, arguments) == 2
    assert "metrics.json: no result" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--checkpoint"),
        (["--checkpoint", "nowhere"], "nowhere: no such file or folder"),
        (["--checkpoint", "x", "--chekpoint", "y"], "--chekpoint"),
        (["--checkpoint", "x", "--limit", "0"], "--limit 0: must be at least 1"),
        (["--checkpoint", "x", "--batch-size", "many"], "--batch-size"),
        (["--checkpoint", "x", "--compare", "missing.npz"], "missing.npz"),
        (["--checkpoint", "x", "--lpips", "missing.pth"], "missing.pth"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(script, arguments, words, capsys):
    assert run(script.main, arguments) == 2
    err = capsys.readouterr().err
    assert words in err.splitlines()[0]
    assert "Traceback" not in err


def test_wrong_names_are_told_before_anything_is_rendered(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "load_system", lambda *_: (Painter(Source()), Config()))
    for arguments, words in (
        (["--protocol", "martinez"], "did you mean 'martinez17'"),
        (["--dataset", "h36"], "--dataset h36: no such dataset"),
        (["--dataset", "synth-mocap"], "--data.root is missing"),
        (["--dataset", "videos", "--data.root", "nowhere"], "nowhere: no such folder"),
        (["--split", "holiday"], "--split holiday: synthetic has the splits val, test, train"),
    ):
        assert run(script.main, ["--checkpoint", "x", "--device", "cpu", *arguments]) == 2
        assert words in capsys.readouterr().err.splitlines()[0]


def test_poses_without_images_are_those_of_the_rendered_split(tmp_path):
    from selfsup3d.data.synthetic.dataset import SyntheticTruth
    from selfsup3d.data.synthetic.spec import preset_named

    preset = preset_named("tiny-test")
    prepare(tmp_path, preset, 16, ("val",), workers=0, progress=False)
    rendered, bare = SyntheticTruth(tmp_path, preset, 16, "val"), ScenePoses(preset, "val")
    assert len(rendered) == len(bare)
    rows = np.arange(len(bare))[::3]
    np.testing.assert_allclose(rendered.frames(rows).joints_3d, bare.frames(rows).joints_3d, atol=1e-6)
    np.testing.assert_allclose(labelled_baselines(rendered)[0], labelled_baselines(bare)[0], atol=1e-6)
    assert labelled_baselines(bare)[1] is None


@pytest.fixture
def rendered(tmp_path, model, monkeypatch):
    """Flags that evaluate on a small rendered dataset, and folders of a trained model and of a lifter."""
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path / "cache"))
    prepare(None, preset_named("tiny-test"), 64, ("val",), workers=0, progress=False)
    config = Config.model_validate({"system": {"kind": "martinez", "width": 16}})
    pretrained.save_pretrained(tmp_path / "lifter", build_system(config), config.to_dict(), "random weights")
    flags = ["--dataset", "synthetic", "--data.preset", "tiny-test", "--split", "val", "--device", "cpu"]
    return flags, model, tmp_path / "lifter"


def test_an_image_model_s_joints_are_lifted_beside_its_own_poses(rendered, script, tmp_path, capsys):
    flags, model, lifter = rendered
    out = tmp_path / "r.json"
    command = ["--checkpoint", str(model), "--lifter", str(lifter), *flags, "--limit", "6", "--json", str(out)]
    assert run(script.main, [*command, "--report", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    found = json.loads(out.read_text())["lifted"]
    assert found["checkpoint"] == str(lifter)
    for name, row in (("own_joints", "its own 2D joints"), ("given_joints", "the data's 2D joints")):
        assert found[name]["frames"] == 6
        line = next(line for line in printed.splitlines() if f"  lifted from {row}" in line)
        assert f"{found[name]['metrics']['mpjpe']:.1f}" in line
    assert "Difference to poses lifted from its own 2D joints" in printed
    assert "lifted from its own 2D joints" in (tmp_path / "report" / "result.md").read_text()

    system, lift = load_system(model)[0], load_system(lifter)[0]
    frames = SyntheticTruth(None, preset_named("tiny-test"), 64, "val")
    batch = frames.frames(frame_indices(frames, 6))
    pixels = system.predict(batch).joints_2d[:, 0]
    poses = lift.predict(Batch(joints_2d=pixels, K=batch.K)).pose[:, 0]
    own = mpjpe(poses.double(), batch.joints_3d.double()).mean().item()
    assert found["own_joints"]["metrics"]["mpjpe"] == pytest.approx(own, rel=1e-4)


def test_what_is_no_lifter_and_what_has_no_2d_joints_is_one_line(rendered, script, tmp_path, capsys):
    flags, model, lifter = rendered
    config = Config.model_validate({"system": {"kind": "image_root", "backbone": "resnet10t"}})
    pretrained.save_pretrained(tmp_path / "root", build_system(config), config.to_dict(), "random weights")
    for system, other, words in (
        (model, model, f"{model}: this system takes images; keypoints need a lifter"),
        (model, tmp_path / "nothing", "nothing: no such file or folder"),
        (tmp_path / "root", lifter, "ImageRoot predicts no 2D joints that a lifter could lift"),
    ):
        assert run(script.main, ["--checkpoint", str(system), "--lifter", str(other), *flags]) == 2
        error = capsys.readouterr().err
        assert words in error.splitlines()[0]
        assert "Traceback" not in error


@pytest.mark.slow
def test_a_saved_model_is_evaluated_end_to_end(tmp_path):
    config = Config(data=SyntheticConfig(preset="tiny-test", root=tmp_path / "cache"))
    system = build_system(config)
    system.bone_lengths.fill_(0.25)
    pretrained.save_pretrained(tmp_path / "model", system, config.to_dict(), "a test")
    results = []
    for name in ("a", "b"):
        command = [sys.executable, str(SCRIPT), "--checkpoint", str(tmp_path / "model"), "--device", "cpu"]
        command += ["--json", str(tmp_path / f"{name}.json"), "--split", "val", "--batch-size", "8"]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
        )
        assert done.returncode == 0, done.stderr
        assert "this system" in done.stdout
        results.append(json.loads((tmp_path / f"{name}.json").read_text()))
    assert results[0] == results[1]
    metrics, baselines = results[0]["metrics"], results[0]["baselines"]
    assert metrics["mpjpe"] > baselines["mean_pose"]["mpjpe"]  # it was never trained
    for name in ("miou_fg", "saliency_iou", "psnr_transfer", "ssim_novel_view", "cycle_mpjpe", "frechet"):
        assert metrics[name] is not None
    assert baselines["copy_source"]["psnr_transfer"] > 0
    assert baselines["bone_floor"]["mpjpe"] > 0
    assert results[0]["reasons"]["baselines.nearest_neighbour"] == "the training images are not rendered here"


CLIPS = ["--reference", "r.npz", "--dataset", "videos", "--root", "."]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--clips", "a"], "--clips needs --reference"),
        (["--reference", "r.npz"], "needs --dataset videos --data.root"),
        (["--reference", "r.npz", "--dataset", "videos", "--root", ".", "--limit", "3"], "--limit has no meaning"),
        (["--reference", "r.npz", "--dataset", "videos", "--root", ".", "--samples", "3"], "--protocol, --samples"),
        (["--reference", "r.npz", "--dataset", "videos", "--root", "."], "r.npz: no such file"),
        ([*CLIPS, "--pictures-before", "m"], "--pictures-before MODEL draws a row above those of --pictures"),
        ([*CLIPS, "--pictures", "a.png"], "--pictures a.png: a JPEG file is written"),
        ([*CLIPS, "--curve", "c.json"], "--curve FILE.json needs --images-seen N"),
        (["--reference", "r.npz", "--crop-factor", "0"], "--crop-factor 0.0: must be at least 0.5"),
    ],
)
def test_options_that_a_2d_reference_has_no_use_for_are_refused(script, options, told, capsys):
    assert run(script.main, ["--checkpoint", "x", *options]) == 2
    assert told in capsys.readouterr().err
