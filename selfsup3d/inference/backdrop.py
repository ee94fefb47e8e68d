"""What is laid behind painted people: the background of their own images, or another image."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.saliency.background_model import fill_from_surroundings
from selfsup3d.data.saliency.saliency import grow, video_saliency
from selfsup3d.errors import InputError
from selfsup3d.inference.windows import cut, whole_frame
from selfsup3d.io.images import read_image

__all__ = ["named_background", "background_of"]

_FEWEST_FRAMES = 5  # from which a background can be told from a person who moves


def background_of(images: np.ndarray, size: int, silhouette: np.ndarray | None = None) -> Tensor:
    """(3, size, size) in [0, 1] the background behind the person in (H, W, 3) or (T, H, W, 3) uint8 images.

    Several images by a still camera show it. One image's is a guess: the person is filled in from the surroundings
    (`data.saliency`), and what was not found of them stays.

    Args:
        images: square. size: of the result.
        silhouette: (S, S) in [0, 1] where a model takes the person to be in the first image; it is filled in, too.
    """
    frames = images[None] if images.ndim == 3 else images
    frames = frames if len(frames) >= _FEWEST_FRAMES else frames[:1]
    work = np.stack([cut(frame, whole_frame(frame), max(size, 128)) for frame in frames])
    found = video_saliency(work)
    background = found.background
    if background.ndim == 4:
        person = found.saliency[0] > 64
        if silhouette is not None:
            large = cv2.resize(silhouette.astype(np.float32), person.shape[::-1], interpolation=cv2.INTER_LINEAR)
            person = person | (large > 0.5)
        background = fill_from_surroundings(work[0], grow(person, 0.03))
    how = cv2.INTER_AREA if background.shape[0] > size else cv2.INTER_LINEAR
    background = background if background.shape[0] == size else cv2.resize(background, (size, size), interpolation=how)
    return torch.from_numpy(np.ascontiguousarray(background)).permute(2, 0, 1).float() / 255.0


def named_background(name: str, crop: np.ndarray, size: int, silhouette: np.ndarray | None = None) -> Tensor | None:
    """What a script's --background names: None = the system's constant colour, else (3,) or (3, size, size).

    Args:
        name: "constant", a colour "#rrggbb", "background" (behind the person of `crop`), or an image's file.
        crop: (S, S, 3), or (T, S, S, 3) of a still camera. size: of the result. silhouette: see `background_of`.
    """
    if name == "constant":
        return None
    if re.fullmatch("#[0-9a-fA-F]{6}", name):
        return torch.tensor([int(name[k : k + 2], 16) / 255.0 for k in (1, 3, 5)])
    if name == "background":
        return background_of(crop, size, silhouette)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"--background {name}: neither constant, #rrggbb, background nor an image's file")
    image = read_image(path)
    side = min(image.shape[:2])
    corner = ((image.shape[1] - side) // 2, (image.shape[0] - side) // 2)
    middle = cut(image, np.array([*corner, side]), size)
    return torch.from_numpy(middle).permute(2, 0, 1).float() / 255.0
