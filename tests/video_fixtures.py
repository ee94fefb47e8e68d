"""Toy clips: a coloured blob with two moving limbs before a textured, still background."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest


def make_toy_clip(frames: int = 24, size: int = 64, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(T, S, S, 3) uint8 frames and (T, S, S) bool true masks of a figure that walks from left to right."""
    random = np.random.default_rng(seed)
    coarse = random.integers(60, 200, (8, 8, 3), dtype=np.uint8)
    background = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    shirt, legs = random.integers(0, 256, (2, 3))
    images, masks = [], []
    for t in range(frames):
        x = size * (0.25 + 0.5 * t / max(frames - 1, 1))
        mask = np.zeros((size, size), dtype=np.uint8)
        swing = 0.12 * size * np.sin(0.7 * t)
        cv2.ellipse(mask, (int(x), int(0.42 * size)), (int(0.09 * size), int(0.17 * size)), 0, 0, 360, 1, -1)
        cv2.circle(mask, (int(x), int(0.18 * size)), int(0.07 * size), 1, -1)
        for side in (-1, 1):
            hip, foot = (int(x), int(0.55 * size)), (int(x + side * swing), int(0.88 * size))
            cv2.line(mask, hip, foot, 2, max(int(0.07 * size), 1))
        image = background.astype(np.float32)
        image[mask == 1] = shirt
        image[mask == 2] = legs
        image += random.normal(0, noise, image.shape)
        images.append(np.clip(image, 0, 255).astype(np.uint8))
        masks.append(mask > 0)
    return np.stack(images), np.stack(masks)


@pytest.fixture
def toy_clip() -> tuple[np.ndarray, np.ndarray]:
    return make_toy_clip()


@pytest.fixture
def toy_clips() -> list[tuple[np.ndarray, np.ndarray]]:
    return [make_toy_clip(frames=length, size=32, seed=seed) for seed, length in enumerate((12, 20, 7))]


@pytest.fixture
def write_toy_mocap(tmp_path: Path):
    """A function that writes a small motion-capture npz, with any of its arrays replaced."""

    def write(name: str = "mocap.npz", **changes: object) -> Path:
        # A standing body, y up, facing +z, left hand at +x.
        body = {
            "pelvis": (0, 1.0, 0), "r_hip": (-0.1, 1.0, 0), "r_knee": (-0.1, 0.55, 0.02), "r_ankle": (-0.1, 0.1, 0),
            "l_hip": (0.1, 1.0, 0), "l_knee": (0.1, 0.55, 0.02), "l_ankle": (0.1, 0.1, 0), "spine": (0, 1.25, 0),
            "thorax": (0, 1.5, 0), "neck_nose": (0, 1.6, 0.05), "head": (0, 1.72, 0.02), "l_shoulder": (0.18, 1.45, 0),
            "l_elbow": (0.2, 1.15, 0), "l_wrist": (0.2, 0.9, 0.05), "r_shoulder": (-0.18, 1.45, 0),
            "r_elbow": (-0.2, 1.15, 0), "r_wrist": (-0.2, 0.9, 0.05),
        }  # fmt: skip
        pose = np.array(list(body.values()), dtype=np.float32)
        subjects = ["cmu001", "cmu001", "cmu005", "cmu002", "someone"]
        counts = [40, 3, 5, 6, 4]
        positions = np.repeat(pose[None], sum(counts), axis=0)
        positions = positions + 0.01 * np.arange(sum(counts), dtype=np.float32)[:, None, None] * [[[0, 0, 1]]]
        arrays: dict[str, object] = {
            "positions": positions.astype(np.float32),
            "offsets": np.cumsum([0, *counts]),
            "names": np.array([f"{s}_{i:02d}" for i, s in enumerate(subjects)]),
            "subjects": np.array(subjects),
            "actions": np.array(["walk"] * len(subjects)),
            "joint_names": np.array(list(body)),
            "fps": np.float32(20),
            "up_axis": np.array("y"),
            "units": np.array("m"),
        }
        arrays.update(changes)
        path = tmp_path / name
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return write


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("SELFSUP3D_DATA")
    if not folder:
        pytest.skip("SELFSUP3D_DATA is not set: no folder with real clips and motion capture")
    return Path(folder)


def make_street(frames: int = 40, size: tuple[int, int] = (400, 120), seed: int = 0) -> np.ndarray:
    """(T, H, W, 3) uint8: two figures, in red and in blue, who walk towards each other on a textured, still street."""
    width, height = size
    random = np.random.default_rng(seed)
    coarse = random.integers(70, 190, (6, 20, 3), dtype=np.uint8)
    background = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    images = []
    for t in range(frames):
        image = background + random.normal(0, 1, background.shape)
        for x, colour in ((0.05 + 0.0105 * t, (230, 40, 40)), (0.95 - 0.0105 * t, (30, 40, 230))):
            centre, swing = int(x * width), int(0.05 * height * np.sin(0.9 * t))
            cv2.ellipse(image, (centre, int(0.45 * height)), (8, 18), 0, 0, 360, colour, -1)
            cv2.circle(image, (centre, int(0.24 * height)), 7, (200, 160, 130), -1)
            for side in (-1, 1):
                foot = (centre + side * swing, int(0.9 * height))
                cv2.line(image, (centre, int(0.55 * height)), foot, (40, 40, 40), 6)
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return np.stack(images)


def write_avi(path: Path, frames: np.ndarray, fps: float = 10.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, frames.shape[2:0:-1])
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


@pytest.fixture
def street_video(tmp_path: Path) -> Path:
    """A video of `make_street`, 400 x 120, 40 frames at 10 a second."""
    return write_avi(tmp_path / "street.avi", make_street())


@pytest.fixture
def save_video():
    """The function that writes (T, H, W, 3) frames to an avi."""
    return write_avi


@pytest.fixture
def street():
    """The function that makes frames of a street."""
    return make_street
