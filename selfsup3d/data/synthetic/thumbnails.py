"""Images of synth-v1 in assets/synth-v1: thumbnails by which a change of the drawing is noticed, a sheet to look at,
and people/ to try a model on.

To make them anew after a change that is meant (raise `spec.RENDERING` too):

    python -m selfsup3d.data.synthetic.thumbnails assets/synth-v1
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from selfsup3d.data.synthetic.cache import draw_scene
from selfsup3d.data.synthetic.scene import make_scene, transfers
from selfsup3d.data.synthetic.spec import preset_named
from selfsup3d.io.files import atomic_path
from selfsup3d.puppet.puppet import default_puppet

__all__ = ["people", "sheet", "thumbnails"]

SIZE, SIDE = 64, 16
_PEOPLE = ((0, 0), (2, 0), (3, 1), (4, 2), (8, 2), (9, 2), (10, 0), (7, 3))  # clip, quarter: one pose of each kind


def _small(images: np.ndarray) -> np.ndarray:
    """(N, 64, 64, 3) -> (N, 16, 16, 3) uint8, by means over 4x4 pixels."""
    share = SIZE // SIDE
    return images.reshape(-1, SIDE, share, SIDE, share, 3).mean((2, 4)).round().astype(np.uint8)


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
    return {key: np.concatenate(images) for key, images in found.items()}


def sheet(clips: int = 8, size: int = 128) -> np.ndarray:
    """(5 * size, clips * size, 3) uint8: a column for each person.

    From above: a frame, another one, its part labels in the puppet's colours, the second view and the transfer target.
    """
    preset, puppet = preset_named("v1"), default_puppet()
    colours = np.array([part.colour for part in puppet.parts] + [(0.08, 0.08, 0.08)])
    columns = []
    for clip in range(clips):
        scene = make_scene(preset, "val", clip, size)
        rows = np.array([len(scene) // 6, 2 * len(scene) // 3])
        frames = draw_scene(scene, scene.joints[rows], scene.camera[rows], size)
        assert frames.labels is not None
        last = rows[1:]
        second = draw_scene(scene, scene.joints[last], scene.second[last], size).image
        posed = draw_scene(scene, transfers(preset, scene).joints[last], scene.camera[last], size).image
        labels = (colours[frames.labels[1:]] * 255).astype(np.uint8)
        columns.append(np.concatenate([*frames.image, *labels, *second, *posed]))
    return np.concatenate(columns, 1)


def people(size: int = 128) -> list[np.ndarray]:
    """Frames of people that no model has trained on: of the test split of v1, (size, size, 3) uint8 each."""
    preset = preset_named("v1")
    found = []
    for clip, quarter in _PEOPLE:
        scene = make_scene(preset, "test", clip, size)
        rows = np.array([quarter * len(scene) // 4])
        found.append(draw_scene(scene, scene.joints[rows], scene.camera[rows], size, labels=False).image[0])
    return found


def main() -> None:
    """Write all of them into the folder named on the command line."""
    folder = Path(sys.argv[1])
    for number, image in enumerate(people()):
        with atomic_path(folder / "people" / f"person-{number}.png") as temporary:
            cv2.imwrite(str(temporary), image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with atomic_path(folder / "thumbnails.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **thumbnails())  # type: ignore[arg-type]
    with atomic_path(folder / "sheet.jpg") as temporary:
        cv2.imwrite(str(temporary), sheet()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


if __name__ == "__main__":
    main()
