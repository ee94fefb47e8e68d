"""Small pictures of synth-v1, stored in assets/synth-v1 so that a change of the drawing is noticed.

To make them anew after a change that is meant (raise `spec.RENDERING` too):

    python -m selfsup3d.data.synthetic.thumbnails assets/synth-v1/thumbnails.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from selfsup3d.data.synthetic.cache import draw_scene
from selfsup3d.data.synthetic.scene import make_scene, transfers
from selfsup3d.data.synthetic.spec import preset_named
from selfsup3d.files import atomic_path

__all__ = ["thumbnails"]

SIZE, SIDE = 64, 16


def _small(pictures: np.ndarray) -> np.ndarray:
    """(N, 64, 64, 3) -> (N, 16, 16, 3) uint8, by means over 4x4 pixels."""
    share = SIZE // SIDE
    return pictures.reshape(-1, SIDE, share, SIDE, share, 3).mean((2, 4)).round().astype(np.uint8)


def thumbnails(clips: int = 6) -> dict[str, np.ndarray]:
    """First, middle and last frame of the first clips of each split of v1, (9 * clips, 16, 16, 3) uint8 each.

    Keys: main (the clip itself), second (the other camera), transfer (another's pose).
    """
    preset = preset_named("v1")
    found: dict[str, list[np.ndarray]] = {"main": [], "second": [], "transfer": []}
    for split in ("train", "val", "test"):
        for clip in range(clips):
            scene = make_scene(preset, split, clip, SIZE)
            rows = np.array([0, len(scene) // 2, len(scene) - 1])
            joints, posed = scene.joints[rows], transfers(preset, scene).joints[rows]
            for key, pose, cameras in (
                ("main", joints, scene.camera[rows]),
                ("second", joints, scene.second[rows]),
                ("transfer", posed, scene.camera[rows]),
            ):
                found[key].append(_small(draw_scene(scene, pose, cameras, SIZE, labels=False).image))
    return {key: np.concatenate(pictures) for key, pictures in found.items()}


def main() -> None:
    """Write the file named on the command line."""
    with atomic_path(Path(sys.argv[1])) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **thumbnails())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
