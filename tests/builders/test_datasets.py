"""From a config to samples of the datasets that people bring, and whole runs on generated trees."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup3d.builders.datasets import open_indexed
from selfsup3d.builders.systems import build_labelled, build_source
from selfsup3d.config.load import validate
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.preparation.datasets import fit_backgrounds, shard_index
from selfsup3d.structures.random import RandomStreams
from tests.data.generators import h36m as generate_h36m
from tests.data.generators import mpi_inf_3dhp as generate_3dhp

for package in ("h5py", "scipy", "webdataset"):
    pytest.importorskip(package)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    base = tmp_path_factory.mktemp("trees")
    os.environ["SELFSUP3D_CACHE"] = str(base / "cache")
    scene = generate_h36m.Scene(subjects=("S1", "S8", "S9"), trials=("Walking 1",), frames=6, speed=8)
    generate_h36m.fetch(base / "h36m", scene)
    generate_3dhp.write_train_sequence(base / "3dhp", cameras=(0, 1), frames=6, images="frames", scale=0.25)
    generate_3dhp.write_test_sequence(base / "3dhp", 1, frames=6, size=(512, 512))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfsup3d.data.datasets.backgrounds._LONGER_SIDE", 120)
        yield base
    del os.environ["SELFSUP3D_CACHE"]


def config(data, **system):
    return validate({"system": {"kind": "part_guided", **system}, "data": data}, "test")


def h36m(trees, **more):
    return {"kind": "h36m", "root": str(trees / "h36m"), "size": 32, "every": 1, "evaluate_every": 2} | more


def mpi(trees, **more):
    views = {"views": [0, 1], "every": 1, "evaluate_every": 2}
    return {"kind": "mpi_inf_3dhp", "root": str(trees / "3dhp"), "size": 32, **views} | more


DRAWS = RandomStreams(0, 0, np.arange(6))


@pytest.mark.parametrize("dataset", [h36m, mpi])
def test_unsupervised(trees, dataset):
    settings = config(dataset(trees))
    batch = build_source(settings, "train").batch(DRAWS)
    assert batch.joints_3d is None
    assert batch.joints_2d is None
    for name in (
        "source",
        "target",
        "source_saliency",
        "target_background",
        "unpaired",
        "unpaired_camera",
        "unpaired_background",
    ):
        assert getattr(batch, name) is not None, name
    validation = build_source(settings, "val")
    assert 0 < len(validation) < len(build_source(settings, "test"))
    assert validation.frames(np.arange(2)).joints_3d is not None
    assert build_labelled(settings).frames(np.arange(2)).joints_3d.shape == (2, 17, 3)


def test_supervised_and_lifters(trees):
    batch = build_source(config(h36m(trees), supervision="3d"), "train").batch(DRAWS)
    assert batch.joints_3d.shape == (6, 17, 3)
    lifter = validate({"system": {"kind": "temporal"}, "data": h36m(trees, frames=27)}, "test")
    batch = build_source(lifter, "train").batch(DRAWS)
    assert batch.target is None
    assert batch.joints_2d.shape == (6, 27, 17, 2)


def test_held_out_subjects(trees):
    settings = config(h36m(trees, validation=["S8"]))
    subjects = {
        split: set(build_source(settings, split).index.of_takes("subject")) for split in ("train", "val", "test")
    }
    assert subjects == {"train": {"S1"}, "val": {"S8"}, "test": {"S9"}}
    with pytest.raises(InputError, match="no such subject"):
        build_source(config(h36m(trees, validation=["S77"])), "train")


def test_universal_annotation_is_another_index(trees):
    metric, universal = (open_indexed(config(mpi(trees, annotation=a)).data)[0] for a in ("metric", "universal"))
    assert np.abs(metric.joints_3d - universal.joints_3d).max() > 0.02
    np.testing.assert_array_equal(metric.joints_2d, universal.joints_2d)


def test_mixtures_keep_each_samples_dataset(trees):
    settings = Config.model_validate({"data": [h36m(trees, weight=3), mpi(trees)]})
    batch = build_source(settings, "train").batch(RandomStreams(0, 0, np.arange(60)))
    names = [m["dataset"] for m in batch.meta]
    assert 25 < names.count("h36m") < 58
    assert batch.target_saliency.shape == (60, 1, 32, 32)
    assert build_source(settings, "val").name == "h36m"


def test_shards_train_like_the_dataset(trees, tmp_path):
    from selfsup3d.data.datasets.backgrounds import Backgrounds
    from selfsup3d.data.datasets.frame_index import save_index

    index, _ = open_indexed(config(h36m(trees)).data)
    save_index(tmp_path / "i.npz", index)
    count, failed = fit_backgrounds(tmp_path / "i.npz", tmp_path / "backgrounds", progress=False)
    assert (count, failed) == (12, {})
    written = shard_index(
        index, tmp_path / "s", 32, Backgrounds(tmp_path / "backgrounds", index), per_shard=6, progress=False
    )
    assert written == {"test": 24, "train": 48}
    settings = config({"kind": "shards", "root": str(tmp_path / "s"), "size": 32})
    source = build_source(settings, "train")
    batch = source.batch(DRAWS)
    own = build_source(config(h36m(trees)), "train").batch(DRAWS)
    for name, value in vars(own).items():
        if isinstance(value, torch.Tensor) and name != "bbox":  # of the full image, which is far away
            assert getattr(batch, name).shape == value.shape, name
    assert build_source(settings, "val").frames(np.arange(2)).joints_3d is not None


def test_missing_roots(trees):
    for kind in ("h36m", "mpi_inf_3dhp", "shards"):
        with pytest.raises(InputError, match=r"data\.root"):
            build_source(config({"kind": kind}), "train")
    with pytest.raises(InputError, match=r"frames must be odd"):
        config(h36m(trees, frames=4))


SHIPPED = {
    "h36m": ("--data.root", "{h36m}", "--data.every", "1", "--data.evaluate-every", "2", "--data.size", "64"),
    "h36m_supervised": (
        "--data.root",
        "{h36m}",
        "--data.every",
        "1",
        "--data.evaluate-every",
        "2",
        "--data.size",
        "64",
    ),
    "mpi_inf_3dhp": ("--data.root", "{3dhp}", "--data.every", "1", "--data.evaluate-every", "2", "--data.size", "64"),
    "lifters/h36m_martinez": ("--data.root", "{h36m}", "--data.evaluate-every", "2"),
    "shards": ("--data.root", "{shards}", "--data.size", "64"),
    "h36m_and_videos": (
        *("--data.parts.0.root", "{h36m}", "--data.parts.0.every", "1", "--data.parts.0.evaluate-every", "2"),
        *("--data.parts.0.size", "64", "--data.parts.1.root", "{videos}", "--data.parts.1.size", "64"),
    ),
}
SMALL = ("--trainer.steps", "3", "--trainer.batch-size", "2", "--trainer.fit-batches", "1", "--trainer.images", "2")


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_train_and_evaluate_on_generated_trees(trees, tmp_path, name):
    """As people call them: launch/prepare_data.py where the config asks for it, launch/train.py, launch/evaluate.py."""
    places = {"h36m": trees / "h36m", "3dhp": trees / "3dhp", "videos": tmp_path / "v", "shards": tmp_path / "s"}
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}

    def call(script, *arguments):
        command = [sys.executable, REPOSITORY / "launch" / script, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    if name == "h36m_and_videos":
        generate_h36m.official(tmp_path / "o", generate_h36m.Scene(("S1",), ("Walking 1",), 24, speed=4))
        (tmp_path / "v").mkdir()
        for video in sorted((tmp_path / "o/S1/Videos").glob("*.mp4"))[:2]:
            video.rename(tmp_path / "v" / video.name.replace(" ", "_"))
    if name == "shards":
        where = ("--shards", tmp_path / "s", "--size", 64, "--per-shard", 8, "--output", tmp_path / "i.npz")
        call("prepare_data.py", "--dataset", "h36m", "--root", trees / "h36m", "--backgrounds", "--quiet", *where)
    flags = [flag.format(**places) for flag in SHIPPED[name]]
    small = SMALL if name.startswith("lifters") else (*SMALL, "--system.preset", "tiny")
    config = REPOSITORY / "configs" / f"{name}.yaml"
    call("train.py", "--config", config, "--output-dir", tmp_path / "run", "--trainer.workers", 0, *flags, *small)
    kind = "mpi_inf_3dhp" if name == "mpi_inf_3dhp" else "h36m"
    root = places["3dhp"] if kind == "mpi_inf_3dhp" else places["h36m"]
    told = call("evaluate.py", "--checkpoint", tmp_path / "run", "--dataset", kind, "--data.root", root)
    assert f"{kind} test:" in told
