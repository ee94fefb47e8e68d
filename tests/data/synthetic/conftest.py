"""A rendered tiny-test cache for the whole session, and the inputs of one small rendering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfsup3d.data.synthetic.background import render_background
from selfsup3d.data.synthetic.body import People
from selfsup3d.data.synthetic.cache import prepare
from selfsup3d.data.synthetic.render import Cameras
from selfsup3d.data.synthetic.scene import make_scene
from selfsup3d.data.synthetic.spec import PRESETS

SIZE = 32


def rendering_inputs(size: int, clips: int = 3, frames: int = 4, preset: str = "v1") -> dict[str, Any]:
    """Keyword arguments of `render` for some frames of the first training clips."""
    scenes = [make_scene(PRESETS[preset], "train", clip, size) for clip in range(clips)]
    rows = [np.linspace(0, len(scene) - 1, frames).astype(int) for scene in scenes]
    index = np.repeat(np.arange(clips), frames)
    cameras = [scene.camera[row] for scene, row in zip(scenes, rows, strict=True)]
    return {
        "people": People.of([scene.person for scene in scenes]),
        "person": index,
        "joints": np.concatenate([scene.joints[row] for scene, row in zip(scenes, rows, strict=True)]),
        "cameras": Cameras(
            *(np.concatenate([getattr(c, part) for c in cameras]) for part in ("K", "rotation", "translation"))
        ),
        "views": [
            render_background(s.background, s.camera.K[0], s.camera.rotation[0], s.camera.translation[0], size)
            for s in scenes
        ],
        "view": index,
        "lights": [scene.background.light for scene in scenes],
        "shadows": [scene.background.shadow for scene in scenes],
    }


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a cache with all splits of tiny-test at 32 px."""
    root = tmp_path_factory.mktemp("synthetic")
    prepare(root, "tiny-test", SIZE, ("train", "val", "test"), workers=0, progress=False)
    return root


@pytest.fixture(scope="session")
def inputs() -> dict[str, Any]:
    """What `render` takes, for 12 frames at 32 px."""
    return rendering_inputs(SIZE)


@pytest.fixture(scope="session")
def make_inputs() -> Any:
    """`rendering_inputs` itself."""
    return rendering_inputs
