import importlib

import cv2
import numpy as np
import pytest
from torch import nn

from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.io import pretrained
from selfsup3d.io.resources import CONFIG, WEIGHTS
from selfsup3d.structures.random import RandomStreams
from selfsup3d.viz.sheets import write_png


@pytest.fixture(scope="session")
def load_script():
    """A command as a module, by its name."""
    return lambda name: importlib.import_module(f"selfsup3d.commands.{name}")


@pytest.fixture
def x(tmp_path, monkeypatch):
    """The folder of today has an `x`, which looks like a model until somebody loads it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    for name in (CONFIG, WEIGHTS):
        (tmp_path / "x" / name).touch()


@pytest.fixture(scope="session")
def motion_poses():
    """(12, 17, 3) canonical poses, metres."""
    return ProceduralPrior(motions=8).sample(RandomStreams(0, 0, np.arange(12)))


@pytest.fixture(scope="session")
def model(tmp_path_factory, motion_poses):
    """Folder of a released `tiny` model with random weights and a person's bones."""
    folder = tmp_path_factory.mktemp("released") / "model"
    config = Config()
    system = build_system(config)
    system.bone_lengths.copy_(bone_lengths(motion_poses).mean(0))
    nn.init.normal_(system.decoder.to_image.weight, std=0.05)  # as if it were trained
    pretrained.save_pretrained(folder, system, config.to_dict(), "random weights")
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Folder with images a.png, b.png (72x56) and a video walk.avi (12 frames, 96x64) of a block that moves."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    for name in "ab":
        write_png(folder / f"{name}.png", cv2.resize(rng.integers(0, 255, (7, 9, 3), np.uint8), (72, 56)))
    wall = cv2.resize(rng.integers(40, 120, (8, 12, 3), np.uint8), (96, 64))
    writer = cv2.VideoWriter(str(folder / "walk.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 10, (96, 64))
    for k in range(12):
        frame = wall.copy()
        cv2.rectangle(frame, (8 + 5 * k, 16), (20 + 5 * k, 55), (230, 220, 210), -1)
        writer.write(frame)
    writer.release()
    return folder
