"""What is laid behind painted people: the plate of their own pictures, or another picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.saliency.background_model import fill_from_surroundings
from selfsup3d.data.saliency.saliency import grow, video_saliency
from selfsup3d.errors import InputError
from selfsup3d.inference.windows import cut, whole_frame
from selfsup3d.io.video import read_image

__all__ = ["BACKGROUND_HELP", "named_background", "plate_of"]

BACKGROUND_HELP = (
    "constant, plate, or a picture's file; the plate of one picture is a guess: the person found in it is filled in "
    "from the surroundings, and what was missed of them stays; a video by a still camera shows its plate"
)
"""For --help of the scripts that paint."""

_FEWEST_FRAMES = 5  # from which a background can be told from a person who moves


def plate_of(pictures: np.ndarray, size: int, silhouette: np.ndarray | None = None) -> Tensor:
    """(3, size, size) in [0, 1] the background behind the person in (H, W, 3) or (T, H, W, 3) uint8 pictures.

    Several pictures by a still camera show it. One picture's is a guess: the person is filled in from the surroundings
    (`data.saliency`), and what was not found of them stays.

    Args:
        pictures: square. size: of the result.
        silhouette: (S, S) in [0, 1] where a model takes the person to be in the first picture; it is filled in, too.
    """
    frames = pictures[None] if pictures.ndim == 3 else pictures
    frames = frames if len(frames) >= _FEWEST_FRAMES else frames[:1]
    work = np.stack([cut(frame, whole_frame(frame), max(size, 128)) for frame in frames])
    found = video_saliency(work)
    plate = found.plate
    if plate.ndim == 4:
        person = found.saliency[0] > 64
        if silhouette is not None:
            large = cv2.resize(silhouette.astype(np.float32), person.shape[::-1], interpolation=cv2.INTER_LINEAR)
            person = person | (large > 0.5)
        plate = fill_from_surroundings(work[0], grow(person, 0.03))
    how = cv2.INTER_AREA if plate.shape[0] > size else cv2.INTER_LINEAR
    plate = plate if plate.shape[0] == size else cv2.resize(plate, (size, size), interpolation=how)
    return torch.from_numpy(np.ascontiguousarray(plate)).permute(2, 0, 1).float() / 255.0


def named_background(name: str, crop: np.ndarray, size: int, silhouette: np.ndarray | None = None) -> Tensor | None:
    """What a script's --background names: None = the system's constant colour, else (3, size, size).

    Args:
        name: "constant", "plate" (behind the person of `crop`), or a picture's file.
        crop: (S, S, 3), or (T, S, S, 3) of a still camera. size: of the result. silhouette: see `plate_of`.
    """
    if name == "constant":
        return None
    if name == "plate":
        return plate_of(crop, size, silhouette)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"--background {name}: neither constant, plate nor a picture's file")
    picture = read_image(path)
    side = min(picture.shape[:2])
    corner = ((picture.shape[1] - side) // 2, (picture.shape[0] - side) // 2)
    middle = cut(picture, np.array([*corner, side]), size)
    return torch.from_numpy(middle).permute(2, 0, 1).float() / 255.0
