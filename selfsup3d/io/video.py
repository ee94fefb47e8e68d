"""Frames of a video or of a folder of images, one at a time, as RGB.

Anything OpenCV's decoder reads counts as a video (mp4, avi, mov, webm, mkv, gif). Memory stays flat: frames are
yielded, never collected here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from selfsup3d.errors import InputError
from selfsup3d.io.quiet_codecs import silent

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "VIDEO_SUFFIXES",
    "VideoInfo",
    "frame_files",
    "read_frames",
    "read_image",
    "refuse_giants",
    "video_info",
]

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".webm", ".mkv", ".m4v", ".gif")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_UNDECODABLE = "no frame could be decoded; the file is damaged or its codec is unknown here"
_ORIENTATION = 0x0112  # EXIF's tag
_SWAPPED = (5, 6, 7, 8)  # rows and columns change places, then the image is flipped
_FLIPS: dict[int, Any] = {
    2: np.s_[:, ::-1],
    3: np.s_[::-1, ::-1],
    4: np.s_[::-1],
    6: np.s_[:, ::-1],
    7: np.s_[::-1, ::-1],
    8: np.s_[::-1],
}
MAX_PIXELS = 100_000_000
"""Of one image. A few kilobytes can claim more, and would take gigabytes of memory."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself; `frames` is the container's claim and may be 0 or wrong.

    Attributes:
        fps: 0 where unknown (folders of images).
        frames: number of frames.
        width, height: pixels.
    """

    fps: float
    frames: int
    width: int
    height: int


def read_image(path: str | Path, upright: bool = True) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image: grey is repeated, alpha dropped, 16 bits reduced to 8.

    Read through a buffer, so that any file name the system knows works.

    Args:
        path: of the file.
        upright: turn it as its camera was held (EXIF), as viewers show it and OpenCV turns videos; images of datasets,
            whose labels belong to the stored pixels, are read with False.

    Raises:
        InputError: missing, empty, not an image, or one of more than `MAX_PIXELS` pixels.
    """
    path = Path(path)
    _refuse_pipes(path)
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if data.size == 0:
        raise InputError(f"{path}: the file is empty")
    refuse_giants(path, data)
    try:
        with silent():
            image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InputError(f"{path}: not an image OpenCV can read ({error.err})") from error
    if image is None:
        raise InputError(f"{path}: not an image OpenCV can read (damaged, or not {', '.join(IMAGE_SUFFIXES)})")
    return _to_rgb8(_turned(image, data) if upright else image)


def _turned(image: np.ndarray, data: np.ndarray) -> np.ndarray:
    """A decoded image upright, by the orientation that its file tells; as it is where none is told.

    OpenCV itself would do this only together with a conversion to 8-bit BGR.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about damaged tags
            opened = Image.open(io.BytesIO(data.tobytes()))
            told = opened.getexif().get(_ORIENTATION, 1) if "exif" in opened.info else 1  # or Pillow decodes all of it
    except Exception:  # whatever Pillow's readers raise for a damaged header
        return image
    if told in _SWAPPED:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[_FLIPS.get(told, np.s_[:])])


def refuse_giants(path: Path, data: np.ndarray) -> None:
    """Raise by what an image's header says, before anything is decoded; what has no known header is OpenCV's to tell.

    Raises:
        InputError: more than `MAX_PIXELS` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            width, height = Image.open(io.BytesIO(data.tobytes())).size
    except Image.DecompressionBombError:
        raise InputError(f"{path}: an image of more than {MAX_PIXELS:,} pixels; reduce it first") from None
    except Exception:  # whatever Pillow's readers raise for a damaged header
        return
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width}x{height} pixels; images of up to {MAX_PIXELS:,} are read, reduce it first")


def _to_rgb8(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    elif image.dtype != np.uint8:
        image = np.clip(np.nan_to_num(image) * 255.0, 0, 255).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    if image.shape[2] == 2:  # grey and alpha
        return np.repeat(image[..., :1], 3, axis=2)
    # A tenth of the time that reversing the last axis takes.
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGB)


def _refuse_pipes(path: Path) -> None:
    """A named pipe would be waited for, maybe for ever."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a file, but a folder, a pipe or a device")


def frame_files(folder: str | Path) -> list[Path]:
    """Images of a folder in natural order (frame 2 before frame 10); links that lead nowhere count, to be told."""
    files = [p for p in Path(folder).iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted((p for p in files if p.is_file() or not p.exists()), key=lambda p: natural_key(p.stem))


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that compares the numbers inside a name by value."""
    parts: list[tuple[int, int | str]] = []
    number = ""
    for character in text + "\0":
        if character.isdecimal() and character.isascii():
            number += character
            continue
        if number:
            parts.append((0, int(number)))
            number = ""
        parts.append((1, character))
    return tuple(parts)


def video_info(path: str | Path) -> VideoInfo:
    """Frame rate, count and size, for a video or a folder of images.

    Raises:
        InputError: as `read_frames`.
    """
    path = Path(path)
    if path.is_dir():
        files = frame_files(path)
        if not files:
            raise InputError(f"{path}: no images in this folder (looked for {', '.join(IMAGE_SUFFIXES)})")
        height, width = read_image(files[0]).shape[:2]
        return VideoInfo(fps=0.0, frames=len(files), width=width, height=height)
    capture = _open(path)
    fps = capture.get(cv2.CAP_PROP_FPS)
    info = VideoInfo(
        fps=float(fps) if np.isfinite(fps) and 0 < fps < 1000 else 0.0,
        frames=max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0),
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
    )
    capture.release()
    if info.width <= 0 or info.height <= 0:
        raise InputError(f"{path}: {_UNDECODABLE}")
    return info


def read_frames(path: str | Path, every: int = 1, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames of a video file or of a folder of images.

    Args:
        path: video, or folder of images in natural order.
        every: keep each `every`-th frame from `start` on.
        start, stop: range of source frames; stop is exclusive.

    Raises:
        InputError: missing, empty, not a video, or no frame can be decoded; for folders, the first damaged image, or
            images of different sizes.
    """
    path = Path(path)
    wanted = range(start, stop if stop is not None else 2**62)
    if path.is_dir():
        yield from _read_folder(path, wanted, every)
    else:
        yield from _read_video(path, wanted, every)


def _read_folder(path: Path, wanted: range, every: int) -> Iterator[np.ndarray]:
    files = frame_files(path)
    if not files:
        raise InputError(f"{path}: no images in this folder (looked for {', '.join(IMAGE_SUFFIXES)})")
    shape = None
    for file in files[wanted.start : wanted.stop : every]:
        frame = read_image(file)
        if shape is not None and frame.shape != shape:
            raise InputError(
                f"{file}: {frame.shape[1]}x{frame.shape[0]} pixels, but the frames before it have {shape[1]}x{shape[0]}"
            )
        shape = frame.shape
        yield frame


def _read_video(path: Path, wanted: range, every: int) -> Iterator[np.ndarray]:
    capture = _open(path)
    try:
        index = -1
        yielded = False
        while index + 1 < wanted.stop and capture.grab():
            index += 1
            if index < wanted.start or (index - wanted.start) % every:
                continue
            good, frame = capture.retrieve()
            if not good or frame is None:
                continue
            yielded = True
            yield _to_rgb8(frame)
        if index < 0 or (not yielded and index >= wanted.start):
            raise InputError(f"{path}: {_UNDECODABLE}")
    finally:
        capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected a video or a folder of images")
    _refuse_pipes(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; expected a video")
    # Without FFmpeg's word alone OpenCV asks all its other readers, which print what they think of damaged files.
    known = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG if known else cv2.CAP_ANY)
    if not capture.isOpened():
        capture.release()
        raise InputError(f"{path}: not a video OpenCV can open (damaged, or not {', '.join(VIDEO_SUFFIXES)})")
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        capture.release()
        raise InputError(f"{path}: frames of {width}x{height} pixels; up to {MAX_PIXELS:,} are read, reduce it first")
    return capture
