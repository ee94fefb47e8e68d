"""launch/train.py from the command line to what it leaves, on a benchmark of a few clips."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from safetensors.torch import load_file

from selfsup3d.builders.systems import build_source, build_system, load_system
from selfsup3d.cli import run
from selfsup3d.config.load import load_config
from selfsup3d.data.sampling.step_dataset import StepStream
from selfsup3d.data.synthetic.cache import prepare
from selfsup3d.io import pretrained
from tests.video_fixtures import make_street, write_avi

ROOT = Path(__file__).parents[2]
script = importlib.import_module("selfsup3d.commands.train")


RECIPE = """
system: {{kind: part_guided, preset: tiny, stages: {{pretrain: 0.3, decoder: 0.3, joint: 0.4}}}}
data: {{kind: synthetic, preset: tiny-test, size: 32, root: "{cache}"}}
trainer: {{steps: 3, batch_size: 2, checkpoint_every: 2, workers: 0, images: 2, device: cpu, fit_batches: 2}}
"""


MIXED = """
system: {{kind: part_guided, preset: tiny}}
data:
- {{kind: synthetic, preset: tiny-test, size: 32, root: "{cache}"}}
- {{kind: videos, root: "{videos}", size: 32}}
trainer: {{steps: 2, batch_size: 4, workers: 0, images: 0, device: cpu, fit_batches: 1}}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the clips are rendered, once for all tests here."""
    folder = tmp_path_factory.mktemp("cache")
    prepare(folder, "tiny-test", 32, ("train", "val"), workers=0, progress=False)
    return folder


@pytest.fixture
def recipe(cache, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(cache=cache))
    return path


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    """A finished run and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(RECIPE.format(cache=cache))
    command = [sys.executable, str(ROOT / "launch" / "train.py"), "--config", "tiny.yaml"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "tiny", done


def call(*argv):
    return run(script.main, [str(a) for a in argv])


def test_a_run_leaves_what_it_promises(finished):
    folder, _ = finished
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "config.yaml", "metrics.json", "grid.png", "scalars.jsonl", "checkpoints", "model", "tensorboard",
    }  # fmt: skip
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step-00000002", "step-00000003"]
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert load_config(folder / "config.yaml").trainer.steps == 3
    grid = cv2.imread(str(folder / "grid.png"))
    assert grid.shape[0] > 2 * 32
    assert grid.std() > 5


def test_progress_goes_to_stderr_and_results_to_stdout(finished):
    folder, done = finished
    assert "training" in done.stderr
    assert "MPJPE" in done.stdout
    assert "training" not in done.stdout.split("synthetic val")[0]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["frames"] > 0
    assert metrics["metrics"]["mpjpe"] > 0
    assert metrics["baselines"]["mean_pose"]["mpjpe"] > 0
    assert metrics["baselines"]["mean_canonical_pose"]["pa_mpjpe"] > 0
    assert f"{metrics['metrics']['mpjpe']:.1f}" in done.stdout


def test_every_stage_was_passed_through(finished):
    folder, _ = finished
    text = (folder / "scalars.jsonl").read_text()
    assert all(f'"grad_norm/{turn}' in text for turn in ("pretrain", "decoder", "joint"))


def test_the_released_model_is_the_averaged_one_of_the_last_checkpoint(finished):
    folder, _ = finished
    model, config = load_system(folder / "model")
    last, _ = load_system(folder / "checkpoints" / "step-00000003")
    assert config.seed == 0
    for name, value in last.state_dict().items():
        assert value.equal(model.state_dict()[name]), name
    card = (folder / "model" / "README.md").read_text()
    assert "unpaired 3D poses: the procedural prior" in card
    assert "Unsupervised" in card


def test_resumed_run_ends_as_the_uninterrupted_one(finished, recipe, tmp_path):
    whole, _ = finished
    cut = shutil.copytree(whole, tmp_path / "cut")
    for name in ("checkpoints/step-00000003", "model"):
        shutil.rmtree(cut / name)
    (cut / "metrics.json").unlink()
    assert call("--config", recipe, "--output-dir", cut, "--resume", "auto") == 0
    one, other = (json.loads((f / "metrics.json").read_text()) for f in (whole, cut))
    assert one["metrics"] == other["metrics"]
    assert one["per_joint"] == other["per_joint"]
    a, b = load_system(whole)[0].state_dict(), load_system(cut)[0].state_dict()
    assert all(a[name].equal(b[name]) for name in a)


def test_an_earlier_run_is_not_overwritten(finished, recipe, capsys):
    folder, _ = finished
    before = (folder / "metrics.json").read_bytes()
    assert call("--config", recipe, "--output-dir", folder) == 2
    assert capsys.readouterr().err.startswith(f"{folder} holds an earlier run: add --resume auto")
    assert (folder / "metrics.json").read_bytes() == before


def test_flags_and_weights_of_another_run(finished, recipe, tmp_path, capsys):
    folder, _ = finished
    out = tmp_path / "with spaces, é"
    flags = ("--trainer.steps", 1, "--trainer.optimizer.lr", 1e-9, "--seed", 5, "--trainer.images", 0)
    assert call("--config", recipe, "--output-dir", out, "--weights", folder, *flags) == 0
    assert load_config(out / "config.yaml").seed == 5
    assert not (out / "grid.png").exists()
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}: metrics.json, model/"
    a, b = load_system(folder)[0].state_dict(), load_system(out)[0].state_dict()
    assert all((a[name] - b[name]).abs().max() < 1e-6 for name in a if a[name].is_floating_point())


def test_a_run_teaches_another_without_labels(finished, recipe, tmp_path, capsys):
    first, _ = finished
    student = ("--weights", first, "--system.teacher", first, "--trainer.images", 0)
    out = tmp_path / "student"
    assert call("--config", recipe, "--output-dir", out, *student, "--system.supervision", "teacher") == 0
    assert "what a system without labels read from the frames" in (out / "model" / "README.md").read_text()
    scalars = [json.loads(line) for line in (out / "scalars.jsonl").read_text().splitlines()]
    assert any("loss/pretrain/known_pose/pseudo_labels_posed" in line for line in scalars)
    moved = shutil.move(out, tmp_path / "elsewhere")
    load_system(moved)  # it needs no teacher any more
    capsys.readouterr()
    assert call("--config", recipe, "--output-dir", tmp_path / "a", *student) == 2
    assert "set supervision to teacher" in capsys.readouterr().err
    labelled = tmp_path / "labelled"
    assert call("--config", recipe, "--output-dir", labelled, "--trainer.steps", 1, "--system.supervision", "3d") == 0
    capsys.readouterr()
    given = ("--system.teacher", labelled, "--system.supervision", "teacher")
    assert call("--config", recipe, "--output-dir", tmp_path / "b", *given) == 2
    assert f"system.teacher: {labelled} was trained with labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "flags", "told"),
    [
        ("trainer: {stepz: 3}", (), "trainer.stepz: unknown key; did you mean 'steps'?"),
        ("", ("--trainer.stepz", "3"), "--trainer.stepz: unknown flag; did you mean '--trainer.steps'?"),
        ("data: {kind: videos}", (), "data.root: the folder of your videos is missing; add --data.root FOLDER"),
        ("data: {kind: videos, root: nowhere}", (), "no such folder"),
        ("data: {kind: synthetic, preset: hugh}", (), "synthetic preset 'hugh': expected one of"),
        ("", ("--resume", "atuo"), "--resume atuo: no such file or folder"),
        ("", ("--weights", "nowhere"), "nowhere: no such file or folder"),
        ("trainer: {mixed_precision: fp16, device: cpu}", (), "trainer.mixed_precision: fp16 needs a GPU"),
        (
            "trainer: {steps: 4, optimizers: {joint: {lr: 1}}}",
            ("--system.stages.pretrain", "0.98", "--system.stages.decoder", "0.01", "--system.stages.joint", "0.01"),
            "trainer.optimizers.joint: in a run of 4 steps no step uses it, its stage is shorter than one",
        ),
        ("trainer: {optimizers: {critic: {lr: 1}}}", (), "trainer.optimizers.critic: no update of the system uses it"),
    ],
)
def test_bad_input_is_one_line_and_code_2(cache, tmp_path, capsys, monkeypatch, text, flags, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    kept = [line for line in RECIPE.format(cache=cache).splitlines() if line.split(":")[0] != text.split(":")[0]]
    path.write_text("\n".join([text, *kept]))
    assert call("--config", path, *flags) == 2
    printed = capsys.readouterr()
    assert told in printed.err.splitlines()[0]
    assert "Traceback" not in printed.err
    assert printed.out == ""


@pytest.mark.slow
def test_a_run_on_two_datasets_ends_with_numbers_of_each(cache, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path / "cache"))
    (tmp_path / "videos").mkdir()
    write_avi(tmp_path / "videos" / "street.avi", make_street(24))
    (tmp_path / "mixed.yaml").write_text(MIXED.format(cache=cache, videos=tmp_path / "videos"))
    assert call("--config", tmp_path / "mixed.yaml", "--output-dir", tmp_path / "run") == 0
    told = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert told["dataset"] == "synthetic"
    assert list(told["per_dataset"]) == ["synthetic", "videos"]
    assert told["per_dataset"]["synthetic"]["metrics"] == told["metrics"]
    assert told["per_dataset"]["videos"]["metrics"]["psnr"] > 0
    assert "on videos" in capsys.readouterr().out


def test_missing_config_is_said(capsys):
    assert call() == 2
    assert capsys.readouterr().err.startswith("--config is missing")


def test_help(capsys):
    assert call("--help") == 0
    told = capsys.readouterr().out
    assert "selfsup3d train --config quickstart" in told
    assert "--trainer.checkpoint-every" in told


@pytest.fixture(scope="module")
def moved(cache, tmp_path_factory):
    """Networks whose weights were moved off their start at random. At the start a decoder paints the background's colour,
    which is the kink of an absolute difference, and whether a limb is the left one is undecided: rounding would tell."""
    folder = tmp_path_factory.mktemp("moved")
    (folder / "tiny.yaml").write_text(RECIPE.format(cache=cache))
    config = load_config(folder / "tiny.yaml")
    torch.manual_seed(0)
    system = build_system(config)
    stream = StepStream(build_source(config, "train"), config.seed, 4)
    system.fit(stream[step][0] for step in range(2))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    pretrained.save_pretrained(folder / "model", system, config.to_dict(), "moved")
    return folder / "model"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fused", "per_loss"])
def test_two_processes_equal_one_with_the_doubled_batch(recipe, moved, tmp_path, mode):
    """The whole system through every stage, by SGD. Adam and AdaGrad divide by the size of a gradient, which turns the
    rounding of a sum in two parts into steps of full length wherever the true gradient is zero; the toy system of
    tests/distributed is compared with these too."""
    runs = []
    for processes in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes,
                   ROOT / "launch" / "train.py", "--config", recipe, "--output-dir", tmp_path / str(processes),
                   "--system.optimizers", mode, "--trainer.batch-size", 4 // processes, "--trainer.steps", 20,
                   "--trainer.mixed-precision", "no", "--trainer.optimizer.kind", "sgd", "--trainer.images", 0,
                   "--trainer.optimizer.lr", 0.0003, "--trainer.log-every", 1, "--weights", moved]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        runs.append(
            subprocess.Popen(
                [str(part) for part in command],
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    for process in runs:
        _, err = process.communicate()
        assert process.returncode == 0, err
    one, two = (load_file(tmp_path / n / "checkpoints" / "step-00000020" / "training.safetensors") for n in ("1", "2"))
    start = load_file(moved / "model.safetensors")
    difference, update = 0.0, 0.0
    for name, value in one.items():
        assert (two[name] - value).norm() <= 1e-5 * value.norm(), name
        difference += (two[name] - value).double().square().sum().item()
        update += (value - start[name]).double().square().sum().item()
    assert update > 0
    assert difference < 1e-4 * update  # 1 % of what was learned, in norm: no rank or sample counts twice
    logs = [[json.loads(x) for x in (tmp_path / n / "scalars.jsonl").read_text().splitlines()] for n in ("1", "2")]
    for first, second in zip(*logs, strict=True):
        for name, value in first.items():
            if name != "samples_per_second" and not name.startswith("grad_norm"):  # kinks turn signs of some pixels
                assert second[name] == pytest.approx(value, rel=1e-4, abs=1e-6), (first["step"], name)
    told = [json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("1", "2")]
    assert told[0]["frames"] == told[1]["frames"]
    assert told[1]["metrics"]["mpjpe"] == pytest.approx(told[0]["metrics"]["mpjpe"], rel=1e-4)
