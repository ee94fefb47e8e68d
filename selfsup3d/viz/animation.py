"""Images in a row: MP4 (H.264) and WebM (VP9) for browsers and players, GIF and animated PNG for pages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from selfsup3d.errors import InputError
from selfsup3d.io.files import atomic_path

__all__ = ["FORMATS", "write_animation"]

_CODECS = {".webm": ("libvpx-vp9", "vp9"), ".mp4": ("libx264", "h264", "libopenh264"), ".avi": ("mjpeg",)}
"""Suffix -> encoders of FFmpeg, the first that is there is used."""

_TICKS = 90_000  # of the videos' clock, a second

_GIF_UNIT = 10
"""Milliseconds that a GIF counts in; browsers show frames of one unit far too long, so two are the shortest."""

FORMATS: tuple[str, ...] = (".gif", ".png", *_CODECS)
"""Suffixes that `write_animation` knows; ".png" is an animated PNG."""


def write_animation(
    path: str | Path, frames: Iterable[np.ndarray], fps: float = 12.0, times: Iterable[float] | None = None
) -> int:
    """Write images as an animation, whole or not at all; the format is that of the suffix.

    The videos (".webm", ".mp4", ".avi") take frame by frame, so memory does not grow with their length; GIF and PNG
    loop for ever and are held in memory.

    Args:
        path: ends in one of `FORMATS`.
        frames: (H, W, 3) uint8 RGB, or (H, W, 4) with alpha for ".webm" and ".png"; all of one size; at least one.
        fps: frames per second.
        times: seconds at which each frame is shown, taken one by one after each frame; None = by `fps`. NaN, and what
            does not come after the frame before, is replaced by the time before and 1 / fps.

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
    first = next(checked)
    if first.shape[2] == 4 and suffix not in (".webm", ".png"):
        raise InputError(f"{path}: {suffix} has no transparency; use .webm or .png")
    checked = chain([first], checked)
    with atomic_path(path) as temporary:
        if suffix in _CODECS:
            return _write_video(temporary, path, checked, fps, times)
        return _write_loop(temporary, suffix, checked, fps, times)


def _checked(frames: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"{path}: an animation needs at least one frame")
    for frame in chain([first], iterator):
        if frame.shape != first.shape or frame.ndim != 3 or frame.shape[2] not in (3, 4) or frame.dtype != np.uint8:
            raise ValueError(f"{path}: expected RGB frames of {first.shape} uint8, got {frame.shape} {frame.dtype}")
        yield frame


def _shown(fps: float, times: Iterable[float] | None) -> Iterator[float]:
    """Seconds at which frame after frame is shown, from 0 and rising."""
    given = iter(times) if times is not None else itertools.repeat(math.nan)
    first, now = math.nan, -1.0 / fps
    for time in given:
        if math.isnan(first) and math.isfinite(time):
            first = time - (now + 1.0 / fps)
        later = time - first
        now = later if math.isfinite(later) and later > now + 1e-4 else now + 1.0 / fps
        yield now


def _write_loop(
    temporary: Path, suffix: str, frames: Iterator[np.ndarray], fps: float, times: Iterable[float] | None
) -> int:
    images, starts, clock = [], [], _shown(fps, times)
    for frame in frames:
        images.append(Image.fromarray(frame))
        starts.append(next(clock))
    if suffix == ".gif":
        # One palette a frame: people and backgrounds of one clip need more than 256 colours together. An octree keeps rare
        # colours: median cut took those of thin limbs, which tell left from right, for grey.
        images = [image.quantize(256, method=Image.Quantize.FASTOCTREE) for image in images]
    kind = "GIF" if suffix == ".gif" else "PNG"
    unit = _GIF_UNIT if suffix == ".gif" else 1
    ends = [unit * round(1000.0 * at / unit) for at in [*starts[1:], starts[-1] + 1.0 / fps]]  # rounding never adds up
    durations = [max(end - start, 2 * unit) for start, end in zip([0, *ends], ends, strict=False)]
    images[0].save(temporary, format=kind, save_all=True, append_images=images[1:], duration=durations, loop=0)
    return len(images)


def _write_video(
    temporary: Path, path: Path, frames: Iterator[np.ndarray], fps: float, times: Iterable[float] | None
) -> int:
    suffix = path.suffix.lower()
    codec = next((name for name in _CODECS[suffix] if name in av.codecs_available and _encodes(name)), None)
    if codec is None:
        raise InputError(f"{path}: no encoder for {suffix} here; write a .gif or .png instead")
    first = next(frames)
    even = (first.shape[1] + first.shape[1] % 2, first.shape[0] + first.shape[0] % 2)  # codecs halve the colours
    count, clock, last = 0, _shown(fps, times), -1
    with av.open(str(temporary), "w", options={"movflags": "faststart"} if suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height = even
        alpha = first.shape[2] == 4
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuva420p" if alpha else "yuv420p"
        if codec != "mjpeg":  # AVI knows whole frames only
            stream.codec_context.time_base = stream.time_base = Fraction(1, _TICKS)
        stream.options = _OPTIONS.get(codec, {})  # type: ignore[assignment]
        for frame in chain([first], frames):
            padded = cv2.copyMakeBorder(
                frame, 0, even[1] - frame.shape[0], 0, even[0] - frame.shape[1], cv2.BORDER_REPLICATE
            )
            shown = av.VideoFrame.from_ndarray(padded, format="rgba" if alpha else "rgb24")  # type: ignore[arg-type]
            if codec != "mjpeg":
                last = max(round(next(clock) * _TICKS), last + 1)
                shown.pts, shown.time_base = last, Fraction(1, _TICKS)
            container.mux(stream.encode(shown))
            count += 1
        container.mux(stream.encode())
    return count


_OPTIONS = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "libvpx-vp9": {"crf": "30", "b:v": "0", "deadline": "realtime", "cpu-used": "6"},
    "mjpeg": {"qscale": "3"},
}


def _encodes(name: str) -> bool:
    try:
        return bool(av.Codec(name, "w").is_encoder)
    except ValueError:
        return False
