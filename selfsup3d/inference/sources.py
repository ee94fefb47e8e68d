"""The images that show a person to a synthesizer: several, or frames of a video, cropped and encoded as one person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from selfsup3d.errors import InputError
from selfsup3d.inference.backdrop import named_background
from selfsup3d.inference.predictor import images_of
from selfsup3d.inference.synthesizer import Person, Synthesizer
from selfsup3d.inference.windows import WindowOptions, cut, find_windows
from selfsup3d.io.images import is_image
from selfsup3d.io.video import video_info

__all__ = ["SHOWN_FRAMES", "Shown", "person_crops", "shown_person"]

SHOWN_FRAMES = 32
"""Frames of a video that a person is taken from, evenly spaced over it."""


@dataclass(frozen=True)
class Shown:
    """One person: what was made of their images; a crop to show beside results, (side, side, 3); the background, or
    None for the system's constant colour; whether there is to be none at all."""

    person: Person
    crop: np.ndarray
    background: Tensor | None
    transparent: bool = False


def person_crops(path: Path, side: int, options: WindowOptions, limit: int) -> Iterator[np.ndarray]:
    """(side, side, 3) crops of the person in an image or video, evenly spaced over it, at most `limit`.

    Raises:
        InputError: see `find_windows`; or nobody is found.
    """
    windows = find_windows(path, options)
    frames = 1 if is_image(path) or path.is_dir() else max(video_info(path).frames, 1)
    found = 0
    for number, image in images_of(path, every=max(1, frames // limit)):
        window = windows(number, image)
        if window is not None and found < limit:
            found += 1
            yield cut(image, window, side)
    if not found:
        boxes = f"{options.boxes}: no box of a frame that lies in {path}" if options.boxes else None
        raise InputError(boxes or f"{path}: no person was found in any frame; try --crop whole")


def shown_person(synthesizer: Synthesizer, paths: Sequence[Path], options: WindowOptions, background: str) -> Shown:
    """The person whom images and videos show; the first image gives the pose, and the background unless it is a video.

    Args:
        background: "transparent", or see `named_background`.
    """
    each = max(1, SHOWN_FRAMES // len(paths))
    crops = [np.stack(list(person_crops(path, synthesizer.side, options, each))) for path in paths]
    people = synthesizer.encode(np.concatenate(crops))
    if background == "transparent":
        return Shown(people.merged(), crops[0][0], None, transparent=True)
    silhouette = synthesizer.silhouette(people[:1])[0]
    behind = named_background(background, crops[0], synthesizer.side, silhouette)
    return Shown(people.merged(), crops[0][0], behind)
