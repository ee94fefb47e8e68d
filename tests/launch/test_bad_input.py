"""A table of what people hand over by mistake: exit code 2, what is wrong in the first line, nothing written.

Damage that is told apart further stands with its readers: configs in tests/test_config_file.py, released models in
tests/test_hub.py, checkpoints in tests/training/test_checkpoint.py, pickles in tests/data/test_safe_pickle.py.
"""

import errno
import json
import os
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from selfsup3d.cli import run
from selfsup3d.data.synthetic.cache import prepare
from selfsup3d.io import pretrained
from selfsup3d.structures.skeleton import H36M_17
from tests.video_fixtures import make_street, write_avi

RECIPE = """
system: {{kind: part_guided, preset: tiny}}
data: {{kind: synthetic, preset: tiny-test, size: 32, root: "{cache}"}}
trainer: {{steps: 1, batch_size: 2, workers: 0, images: 0, device: cpu, fit_batches: 1, threads: 1}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    prepare(folder / "cache", "tiny-test", 32, ("train", "val"), workers=0, progress=False)
    (folder / "tiny.yaml").write_text(RECIPE.format(cache=folder / "cache"))
    return folder / "tiny.yaml"


@pytest.fixture
def refused(load_script, tmp_path, capfd):
    """A function that calls a script, which must refuse: the first line that it prints on stderr."""

    def call(script, *arguments, code=2):
        before = standing(tmp_path)
        capfd.readouterr()
        assert run(load_script(script).main, [str(a) for a in arguments]) == code
        printed = capfd.readouterr()
        assert "Traceback" not in printed.err
        assert standing(tmp_path) == before, "something was written"
        return printed.err.splitlines()[0]

    return call


def standing(folder):
    return {path: path.stat().st_mtime_ns if path.is_file() else 0 for path in folder.rglob("*")}


# ---- training: configs, folders, checkpoints ----


def train(refused, recipe, tmp_path, *flags, **more):
    return refused("train", "--config", recipe, "--output-dir", tmp_path / "new" / "run", *flags, **more)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trainer: {stepz: 3}", "mine.yaml: trainer.stepz: unknown key; did you mean 'steps'?"),
        ("trainer: {steps: many}", "mine.yaml: trainer.steps: input should be a valid integer"),
        ("trainer: [", "mine.yaml: not valid YAML: line 1"),
        (None, "mine.yaml: no such file"),
        ("system: {kind: part_guided, backbone: resnet19}", "'resnet19': no network of timm; did you mean 'resnet18'?"),
        ("data: {kind: videos, root: empty, size: 100}", "data.size is 100"),
        ("data: {kind: videos, root: nowhere}", "nowhere: no such folder"),
        ("data: {kind: videos, root: empty}", "empty: neither videos (.mp4,"),
    ],
)
def test_configs(refused, tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path))
    (tmp_path / "empty").mkdir()
    if text is not None:
        (tmp_path / "mine.yaml").write_text(text)
    assert told in refused("train", "--config", "mine.yaml", "--output-dir", "runs/new")


def released(folder, **changes):
    """A model of one tensor; `changes` of its config.json."""
    from torch import nn

    pretrained.save_pretrained(folder, nn.Linear(2, 2), {"system": {"kind": "part_guided"}}, "a line")
    told = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(told))
    return folder


def test_weights_of_another_architecture(refused, recipe, tmp_path):
    told = train(refused, recipe, tmp_path, "--weights", released(tmp_path / "other"))
    assert "model.safetensors: of another architecture than its config or yours" in told


def test_weights_that_are_truncated(refused, recipe, tmp_path):
    path = released(tmp_path / "other") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    assert "model.safetensors: damaged or truncated" in train(refused, recipe, tmp_path, "--weights", path.parent)


def test_a_model_of_a_newer_version(refused, scenes, tmp_path):
    model = released(tmp_path / "newer", format=99, selfsup3d="9.0.0")
    told = refused("predict", "--checkpoint", model, "--input", scenes / "a.png", "--output", tmp_path / "out")
    assert "format 99, written by selfsup3d 9.0.0" in told


def test_a_checkpoint_that_is_truncated(refused, recipe, tmp_path):
    step = tmp_path / "old" / "checkpoints" / "step-00000003"
    step.mkdir(parents=True)
    (step / "state.json").write_text('{"step": 3')
    (step / "manifest.json").write_text('{"state.json": {"size": 12, "sha256": ""}}')
    told = train(refused, recipe, tmp_path, "--resume", step)
    assert told.startswith(f"--resume {step}: damaged: state.json has 10 bytes, expected 12")


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_launchers_that_ask_for_sharding_are_refused(refused, recipe, tmp_path, monkeypatch, kind):
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    assert train(refused, recipe, tmp_path).startswith(f"accelerate launch asks for {kind}, which is not supported")


def test_an_output_folder_that_is_a_file(refused, recipe, tmp_path):
    (tmp_path / "new").write_text("a file")
    assert train(refused, recipe, tmp_path).startswith(f"--output-dir {tmp_path / 'new' / 'run'}: cannot be written")


def refuse_writing(monkeypatch, number, below):
    """Every folder and file below `below` that is opened for writing or made meets an error of the system."""
    real_open, real_mkdir = os.open, os.mkdir

    def refuse(path):
        if str(path).startswith(str(below)):
            raise OSError(number, os.strerror(number), str(path))

    def opens(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refuse(path)
        return real_open(path, flags, *args, **kwargs)

    def makes(path, *args, **kwargs):
        refuse(path)
        return real_mkdir(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", opens)
    monkeypatch.setattr(os, "mkdir", makes)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_an_output_that_cannot_be_written(refused, recipe, model, scenes, tmp_path, monkeypatch, number):
    refuse_writing(monkeypatch, number, tmp_path / "new")
    assert os.strerror(number) in train(refused, recipe, tmp_path)
    told = refused(
        "predict", "--checkpoint", model, "--input", scenes / "a.png", "--output", tmp_path / "new", "--device", "cpu"
    )
    assert os.strerror(number) in told


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_folder(refused, recipe, tmp_path):
    (tmp_path / "new").mkdir(mode=0o555)
    assert "Permission denied" in train(refused, recipe, tmp_path)


def test_a_cache_that_cannot_be_written(refused, tmp_path):
    """Told before any progress, and the run that did not begin takes its claim back."""
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(cache=tmp_path / "file" / "cache"))
    assert train(refused, tmp_path / "tiny.yaml", tmp_path).startswith(f"{tmp_path / 'file'}")


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 256 KiB without room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip() if mounted else 'no mount command'}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_becomes_full(load_script, recipe, full_disk, capsys):
    """Room for the config, none for a checkpoint: nothing half there stays behind, and the error is named."""
    code = run(load_script("train").main, ["--config", str(recipe), "--output-dir", str(full_disk / "run")])
    told = capsys.readouterr().err.splitlines()
    assert code == 2
    assert "No space left on device" in told[-1]
    assert not any("Traceback" in line for line in told)
    assert not list((full_disk / "run" / "checkpoints").iterdir())


# ---- images and videos ----

NOISE = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)


def giant(path):
    """A PNG of a few kilobytes that says it has 20,000 x 20,000 pixels."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(100)) + chunk(b"IEND", b""))


def cut_png(path):
    cv2.imwrite(str(path), NOISE)
    path.write_bytes(path.read_bytes()[:30])


def wrong_filter(path):
    """Rows that name a filter which does not exist: libpng would print a line of its own."""
    data = bytearray(cv2.imencode(".png", NOISE)[1].tobytes())
    data[50:250] = b"\xff" * 200
    path.write_bytes(data)


def cut_video(path):
    write_avi(path.with_suffix(".avi"), np.stack([NOISE] * 5))
    path.write_bytes(path.with_suffix(".avi").read_bytes()[:200])


DAMAGED = {
    "corrupt.png": lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + b"junk" * 50),
    "cut.png": cut_png,
    "zero.jpg": lambda p: p.write_bytes(b""),
    "giant.png": giant,
    "text.jpg": lambda p: p.write_text("a text"),
    "corrupt.avi": lambda p: p.write_bytes(b"RIFF" + bytes(300)),
    "cut.mp4": cut_video,
    "zero.mp4": lambda p: p.write_bytes(b""),
    "text file named.mp4": lambda p: p.write_text("This is a text, whatever its name says.\n" * 20),
    "wrong filter.png": wrong_filter,
    "pipe.png": os.mkfifo,
    "pipe.mp4": os.mkfifo,
    "wrong extension.xyz": lambda p: p.write_bytes(cv2.imencode(".png", NOISE)[1].tobytes()[:40]),
    "damaged.json": lambda p: p.write_text('[{"image_id": 1, "keypoints": [1, 2'),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_images_and_videos(refused, model, tmp_path, name):
    DAMAGED[name](tmp_path / name)
    told = refused(
        "predict", "--checkpoint", model, "--input", tmp_path / name, "--output", tmp_path / "out", "--device", "cpu"
    )
    assert str(tmp_path / name) in told
    if name == "giant.png":
        assert "20000x20000" in told or "more than 100,000,000 pixels" in told


GOOD = {
    "1x1.png": NOISE[:1, :1],
    "grey.png": NOISE[..., 0],
    "alpha.png": np.concatenate([NOISE, NOISE[..., :1]], -1),
    "sixteen bits.png": NOISE.astype(np.uint16) * 257,
    "odd size.png": NOISE[:37, :23],
    "UPPER.JPG": NOISE,
    "ünïcode 中文 плач.png": NOISE,
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_but_good_images(load_script, model, tmp_path, name):
    image = tmp_path / "folder with spaces é" / name
    image.parent.mkdir()
    image.write_bytes(cv2.imencode(image.suffix.lower(), GOOD[name])[1].tobytes())
    out = tmp_path / "ausgabe für 中文"
    arguments = ["--checkpoint", model, "--input", image, "--output", out, "--device", "cpu", "--crop", "whole"]
    assert run(load_script("predict").main, [str(a) for a in arguments]) == 0
    assert {path.name for path in out.iterdir()} == {"poses.npz", "poses.json", f"{image.stem}_overlay.png"}


# ---- preparation: folders of videos, motion capture ----


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda p: None, "videos: no such folder"),
        (lambda p: p.mkdir(), "videos: neither videos"),
        (lambda p: (p.mkdir(), (p / "notes.txt").write_text("x")), "videos: neither videos"),
    ],
)
def test_folders_without_videos(refused, tmp_path, make, told):
    make(tmp_path / "videos")
    arguments = ("--dataset", "videos", "--root", tmp_path / "videos", "--output", tmp_path / "clips", "--quiet")
    assert told in refused("prepare_data", *arguments)


def mocap(path, change):
    """A motion-capture npz of one standing person in training, changed."""
    from selfsup3d.data.synthetic.prior import ProceduralPrior
    from selfsup3d.structures.random import RandomStreams

    poses = ProceduralPrior(motions=2).sample(RandomStreams(0, 0, np.arange(4))).numpy().astype(np.float32)
    values = {
        "positions": poses + np.float32([0, 0, 1]), "offsets": np.array([0, 4]), "subjects": np.array(["anna"]),
        "joint_names": np.array(H36M_17.joint_names), "up_axis": np.array("z"),
    }  # fmt: skip
    np.savez(path, **(values | change(values["positions"].copy())))
    return path


def _nan(p):
    p[2, 3] = np.nan
    return {"positions": p}


def _short(p):
    p[:, 3] = p[:, 2]
    return {"positions": p}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_nan, "1 poses hold NaN, the first in sequence 0"),
        (lambda p: {"positions": p[:, :14]}, "expected floats (N, 17, 3)"),
        (_short, "the bone to right_ankle has no length"),
        (lambda p: {"positions": p * 1000}, "expected metres (0.3-0.7), this looks like millimetres"),
        (lambda p: {"subjects": np.array([{}], dtype=object)}, "without pickled objects"),
        (None, "no such file; expected a motion-capture npz"),
        (lambda p: {"offsets": np.array([0, 2, 4])}, "offsets must rise"),
        (lambda p: {"positions": p[:0], "offsets": np.array([0, 0])}, "holds no poses of split 'train'"),
    ],
)
def test_motion_capture(refused, recipe, tmp_path, change, told):
    path = tmp_path / "bad.npz" if change is None else mocap(tmp_path / "bad.npz", change)
    printed = train(refused, recipe, tmp_path, "--data.prior", path)
    assert printed.startswith(f"{path}: ")
    assert told in printed


# ---- many samples, some of them bad ----


def test_one_bad_video_among_many_is_named_and_too_many_end_it(load_script, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_avi(videos / "good.avi", make_street())
    (videos / "bad.mp4").write_text("no video")
    arguments = ["--dataset", "videos", "--root", videos, "--output", tmp_path / "clips", "--size", 32, "--quiet"]
    assert run(load_script("prepare_data").main, [str(a) for a in arguments]) == 0
    assert "bad.mp4" in capsys.readouterr().err
    (videos / "good.avi").unlink()
    shutil.rmtree(tmp_path / "clips")
    arguments[5] = tmp_path / "again"
    assert run(load_script("prepare_data").main, [str(a) for a in arguments]) == 2
    assert "bad.mp4" in capsys.readouterr().err
