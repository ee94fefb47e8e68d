"""Images in a row: GIF and animated PNG for pages, WebM and MP4 for players.

Browsers play WebM (VP9), GIF and animated PNG. They do not play the MP4 that OpenCV writes (mp4v); other players do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from selfsup3d.errors import InputError
from selfsup3d.io.files import atomic_path

__all__ = ["FORMATS", "write_animation"]

_CODECS = {".webm": "VP90", ".mp4": "mp4v", ".avi": "MJPG"}

_GIF_UNIT = 10
"""Milliseconds that a GIF counts in; browsers show frames of one unit far too long, so two are the shortest."""

FORMATS: tuple[str, ...] = (".gif", ".png", *_CODECS)
"""Suffixes that `write_animation` knows; ".png" is an animated PNG."""


def write_animation(path: str | Path, frames: Iterable[np.ndarray], fps: float = 12.0) -> int:
    """Write images as an animation, whole or not at all; the format is that of the suffix.

    The videos (".webm", ".mp4", ".avi") take frame by frame, so memory does not grow with their length; GIF and PNG
    loop for ever and are held in memory.

    Args:
        path: ends in one of `FORMATS`.
        frames: (H, W, 3) uint8 RGB, all of one size; at least one.
        fps: frames per second.

    Returns:
        The number of frames.

    Raises:
        InputError: unknown suffix, or no encoder for it on this machine.
        ValueError: no frame, or frames of different size.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{path}: cannot write {suffix or 'a file without suffix'}; use {', '.join(FORMATS)}")
    checked = _checked(frames, path)
    with atomic_path(path) as temporary:
        if suffix in _CODECS:
            return _write_video(temporary, path, checked, fps, _CODECS[suffix])
        return _write_loop(temporary, suffix, checked, fps)


def _checked(frames: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"{path}: an animation needs at least one frame")
    for frame in chain([first], iterator):
        if frame.shape != first.shape or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"{path}: expected frames of {first.shape} uint8, got {frame.shape} {frame.dtype}")
        yield frame


def _write_loop(temporary: Path, suffix: str, frames: Iterator[np.ndarray], fps: float) -> int:
    images = [Image.fromarray(frame) for frame in frames]
    if suffix == ".gif":
        # One palette a frame: people and backgrounds of one clip need more than 256 colours together. An octree keeps rare
        # colours: median cut took those of thin limbs, which tell left from right, for grey.
        images = [image.quantize(256, method=Image.Quantize.FASTOCTREE) for image in images]
    kind = "GIF" if suffix == ".gif" else "PNG"
    unit = _GIF_UNIT if suffix == ".gif" else 1
    ends = [unit * round(1000.0 * (k + 1) / fps / unit) for k in range(len(images))]  # so that rounding never adds up
    durations = [max(end - start, 2 * unit) for start, end in zip([0, *ends], ends, strict=False)]
    images[0].save(temporary, format=kind, save_all=True, append_images=images[1:], duration=durations, loop=0)
    return len(images)


def _write_video(temporary: Path, path: Path, frames: Iterator[np.ndarray], fps: float, codec: str) -> int:
    first = next(frames)
    even = (first.shape[1] + first.shape[1] % 2, first.shape[0] + first.shape[0] % 2)  # codecs halve the colours
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*codec), fps, even)
    if not writer.isOpened():
        raise InputError(f"{path}: this OpenCV has no encoder for {codec}; write a .gif or .png instead")
    count = 0
    try:
        for frame in chain([first], frames):
            bottom, right = even[1] - frame.shape[0], even[0] - frame.shape[1]
            padded = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
            writer.write(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        writer.release()
    return count
