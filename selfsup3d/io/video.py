"""Frames of a video or of a folder of images, one at a time, upright and as RGB, each with its time.

Anything FFmpeg reads counts as a video (mp4, mov, avi, webm, mkv, gif ...). Pixels are square: a container's sample
aspect ratio and rotation are applied. Times are those of the container, so a variable rate is kept. Memory stays flat:
frames are yielded, never collected here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.io.images import IMAGE_SUFFIXES, MAX_PIXELS, file_kind, frame_files, over_white, read_image
from selfsup3d.io.limits import refuse_pipes

__all__ = [
    "VIDEO_SUFFIXES",
    "VideoFrame",
    "VideoInfo",
    "is_video",
    "read_frames",
    "read_timed_frames",
    "undecodable",
    "video_info",
]

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".webm", ".mkv", ".m4v", ".gif", ".mpg", ".mpeg", ".wmv", ".ts", ".mts", ".3gp", ".flv",
)  # fmt: skip
_PLAUSIBLE_FPS = 480.0
"""Containers without a rate of their own answer with their tick, 1000 for WebM."""
_RAW = ("h264", "hevc", "m4v", "mjpeg", "obu", "ivf", "rawvideo", "mpegvideo")
"""Formats of FFmpeg without times: it makes them up from a rate that it assumes."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself; `frames` is the container's claim and may be 0 or wrong.

    Attributes:
        fps: mean frames per second, 0 where unknown (folders of images).
        frames: number of frames.
        width, height: of the frames as they are yielded, pixels.
        codec: its name, "" for folders.
        note: what had to be assumed about times, as a line to print; "" where nothing was.
    """

    fps: float
    frames: int
    width: int
    height: int
    codec: str = ""
    note: str = ""


@dataclass(frozen=True)
class VideoFrame:
    """One frame.

    Attributes:
        number: in the source, counted from 0.
        time: seconds since frame 0; NaN where the source has no times.
        image: (H, W, 3) uint8 RGB.
    """

    number: int
    time: float
    image: np.ndarray


def is_video(path: str | Path) -> bool:
    """Whether a file is a video by its content; a damaged or missing one counts where its name says so."""
    path = Path(path)
    kind = file_kind(path)
    return not path.is_dir() and (kind == "video" or (kind != "image" and path.suffix.lower() in VIDEO_SUFFIXES))


def undecodable(path: str | Path) -> str:
    """Why no frame of a video comes out, with the codec's name and the command that re-encodes it."""
    codec = ""
    try:
        with av.open(os.path.abspath(path), options=_LOCAL) as container:
            codec = _codec_name(container.streams.video[0])
    except (av.error.FFmpegError, IndexError, OSError, ValueError):
        pass
    known = f"its codec {codec!r} cannot be decoded here" if codec else "the file is damaged or its codec is unknown"
    return f"{path}: no frame could be decoded; {known}. Re-encode it: ffmpeg -i {Path(path).name} -c:v libx264 new.mp4"


_LOCAL = {"protocol_whitelist": "file"}  # a playlist must not fetch anything


def video_info(path: str | Path) -> VideoInfo:
    """Frame rate, count and size, for a video or a folder of images.

    Raises:
        InputError: as `read_frames`.
    """
    path = Path(path)
    if path.is_dir():
        height, width = read_image(_images(path)[0]).shape[:2]
        return VideoInfo(fps=0.0, frames=len(frame_files(path)), width=width, height=height)
    with _open(path) as container:
        stream = container.streams.video[0]
        fps, note = _rate(container, stream)
        if note:
            note = f"{path}: {note}"
        width, height = _shown_size(stream)
        try:
            first = next(iter(container.decode(stream)))
        except (StopIteration, av.error.FFmpegError):
            raise InputError(undecodable(path)) from None
        if first.rotation % 180:
            width, height = height, width
        return VideoInfo(fps, max(int(stream.frames), 0), width, height, _codec_name(stream), note)


def read_frames(path: str | Path, every: int = 1, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """The images of `read_timed_frames`; its arguments and errors."""
    return (frame.image for frame in read_timed_frames(path, every, start, stop))


def read_timed_frames(
    path: str | Path, every: int = 1, start: int = 0, stop: int | None = None
) -> Iterator[VideoFrame]:
    """Yield the frames of a video file or of a folder of images.

    Args:
        path: video, or folder of images of one size, in natural order.
        every: keep each `every`-th frame from `start` on.
        start, stop: range of source frames; stop is exclusive.

    Raises:
        InputError: missing, empty, not a video, or no frame can be decoded; for folders, the first damaged image, or
            images of different sizes.
    """
    path = Path(path)
    wanted = range(start, stop if stop is not None else 2**62)
    yield from _read_folder(path, wanted, every) if path.is_dir() else _read_video(path, wanted, every)


def _images(folder: Path) -> list[Path]:
    files = frame_files(folder)
    if not files:
        raise InputError(f"{folder}: no images in this folder (looked for {', '.join(IMAGE_SUFFIXES)})")
    return files


def _read_folder(path: Path, wanted: range, every: int) -> Iterator[VideoFrame]:
    files = _images(path)
    shape = None
    for number in range(wanted.start, min(wanted.stop, len(files)), every):
        image = read_image(files[number])
        if shape is not None and image.shape != shape:
            raise InputError(
                f"{files[number]}: {image.shape[1]}x{image.shape[0]} pixels, but the frames before it have "
                f"{shape[1]}x{shape[0]}"
            )
        shape = image.shape
        yield VideoFrame(number, math.nan, image)


def _read_video(path: Path, wanted: range, every: int) -> Iterator[VideoFrame]:
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        size, fps = _shown_size(stream), _rate(container, stream)[0]
        first: float | None = None
        last = -1
        for number, frame in enumerate(_decoded(container, stream)):
            last = number
            if number >= wanted.stop:
                return
            if first is None and frame.time is not None:
                first = float(frame.time) - (number / fps if fps else 0.0)
            if number < wanted.start or (number - wanted.start) % every:
                continue
            assumed = number / fps if fps else math.nan
            time = float(frame.time) - first if frame.time is not None and first is not None else assumed
            yield VideoFrame(number, time, _upright_rgb(frame, size))
        if last < 0:
            raise InputError(undecodable(path))


def _decoded(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Iterator[av.VideoFrame]:
    """Whatever frames can be decoded; damaged packets are left out, as players do."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):  # the file ends, or is cut off
            return
        try:
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            continue


def _upright_rgb(frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) of a decoded frame: square pixels, turned as its container says, alpha over white."""
    clear = any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8"
    scaled = frame.reformat(*size, format="rgba" if clear else "rgb24", interpolation="BICUBIC")
    image = over_white(scaled.to_ndarray()) if clear else scaled.to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _shown_size(stream: av.video.stream.VideoStream) -> tuple[int, int]:
    """Width and height of the frames with square pixels, before they are turned; nothing is made smaller."""
    width, height, ratio = stream.width, stream.height, float(stream.sample_aspect_ratio or 1)
    if not 1 / 16 < ratio < 16 or abs(ratio - 1) < 1e-3:
        return width, height
    return (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))


def _rate(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> tuple[float, str]:
    """Mean frames per second, 0 where unknown, and what had to be assumed."""
    mean, guessed = (float(rate or 0) for rate in (stream.average_rate, stream.guessed_rate))
    if container.format.name in _RAW:
        return mean or guessed, f"a raw stream has no times of its own; {mean or guessed:g} frames/s are assumed"
    if 0 < mean < _PLAUSIBLE_FPS:
        return mean, ""
    if 0 < guessed < _PLAUSIBLE_FPS:
        return guessed, f"the container states no frame rate; {guessed:g} frames/s are taken from its frames' times"
    return 0.0, "the container states no frame rate; the times of its frames are used as they stand"


def _codec_name(stream: av.video.stream.VideoStream) -> str:
    return str(stream.codec_context.name) if stream.codec_context is not None else ""


def _open(path: Path) -> av.container.InputContainer:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected a video or a folder of images")
    refuse_pipes(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; expected a video")
    wrong = f"{path}: not a video that can be opened (damaged, or not {', '.join(VIDEO_SUFFIXES)})"
    if file_kind(path) in ("text", "image"):  # a playlist would open other files
        raise InputError(wrong)
    try:
        # An absolute path: "cam1:take2.mp4" alone would be taken for a protocol's name.
        container = av.open(os.path.abspath(path), options=_LOCAL)
    except (av.error.FFmpegError, ValueError, UnicodeError) as error:
        raise InputError(wrong) from error
    try:
        if not container.streams.video:
            raise InputError(f"{path}: there is no video in this file")
        stream = container.streams.video[0]
        if stream.codec_context is None or not stream.width or not stream.height:
            raise InputError(undecodable(path))
        width, height = _shown_size(stream)
        if width * height > MAX_PIXELS:
            raise InputError(
                f"{path}: frames of {width}x{height} pixels; up to {MAX_PIXELS:,} are read, reduce it first"
            )
    except InputError:
        container.close()
        raise
    return container
