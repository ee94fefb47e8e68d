"""Views of a person, straight from the file: images decoded at reduced size, videos read onward.

Convention: continuous pixel coordinates, pixel i covers [i, i + 1). A view (3, 3) takes crop pixels to full pixels: an
upright square (then K_crop = `crop_intrinsics(K, (x0, y0), size / side)`), or a virtual camera through its middle.

A JPEG holds 8 x 8 blocks of cosine terms; decoding only the lowest quarter or sixteenth of them gives the image at
1/2 or 1/4 of its size for a fraction of the time. The factor is the largest that still leaves a pixel of the reduced
image for each pixel of the crop.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import virtual_camera_rotation
from selfsup3d.io.images import MAX_PIXELS, decode_image, refuse_giants
from selfsup3d.io.quiet_codecs import silent
from selfsup3d.io.video import undecodable

__all__ = [
    "Frames",
    "Reduced",
    "cube_squares",
    "map_pixels",
    "pixel_step",
    "read_image",
    "read_view",
    "square_view",
    "squares_of_boxes",
    "virtual_view",
    "warp_view",
]

_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_JPEG = b"\xff\xd8"
_BORDER = (127, 127, 127)  # what lies outside the image
_INHERITED: list[object] = []
"""Readers of a parent process, kept so that they are never closed here."""
_ONWARD = 48  # frames that are decoded rather than sought: seeking costs about half a second's worth of frames


@dataclass(frozen=True)
class Reduced:
    """A decoded image.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        scale: (2,) x and y: pixels of `image` per pixel of the full image.
    """

    image: np.ndarray
    scale: tuple[float, float]


def squares_of_boxes(boxes: np.ndarray, factor: float = 1.15) -> np.ndarray:
    """(N, 3) x, y, side of squares about the middle of boxes (N, 4), `factor` times their longer side."""
    side = factor * boxes[..., 2:].max(-1)
    corner = boxes[..., :2] + 0.5 * boxes[..., 2:] - 0.5 * side[..., None]
    return np.concatenate([corner, side[..., None]], -1)


def cube_squares(joints_3d: np.ndarray, K: np.ndarray, side: float = 2.2) -> np.ndarray:
    """(N, 3) squares that show a cube of `side` metres about the pelvis: the person's size shows, the pose does not.

    Args:
        joints_3d: (N, 17, 3) camera frame, the pelvis first, in front of the camera.
        K: (N, 3, 3) px.
        side: metres [ours: a standing person with raised arms fits].
    """
    x, y, z = np.moveaxis(joints_3d[..., 0, :].astype(np.float64), -1, 0)
    centre = np.stack([K[..., 0, 0] * x / z + K[..., 0, 2], K[..., 1, 1] * y / z + K[..., 1, 2]], -1)
    extent = side * 0.5 * (K[..., 0, 0] + K[..., 1, 1]) / z
    return np.concatenate([centre - 0.5 * extent[..., None], extent[..., None]], -1)


def square_view(square: np.ndarray, size: int) -> np.ndarray:
    """(3, 3) from crop pixels to full pixels for an upright square (x, y, side)."""
    x, y, side = (float(v) for v in square)
    step = side / size
    return np.array([[step, 0.0, x], [0.0, step, y], [0.0, 0.0, 1.0]])


def virtual_view(square: np.ndarray, K: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The camera that looks through a square's middle: what a crop of it would show, exactly.

    An upright crop of an image off its middle is seen at a slant: its pinhole has its principal point outside the
    crop, and one pose looks different in different places. Turning the camera to the square's middle (a homography of
    the image) gives every crop the same centred pinhole [ours].

    Args:
        square: (..., 3) x, y, side in full pixels.
        K: (..., 3, 3) of the full image.
        size: of the crop.

    Returns:
        view: (..., 3, 3) from crop pixels to full pixels, homogeneous.
        rotation: (..., 3, 3) from the real camera's axes to the virtual one's.
        K_view: (..., 3, 3) of the crop.
    """
    square, K = np.array(square, dtype=np.float64), np.array(K, dtype=np.float64)
    centre = square[..., :2] + 0.5 * square[..., 2:]
    rotation = virtual_camera_rotation(torch.from_numpy(centre), torch.from_numpy(K)).numpy()
    focal = K[..., [0, 1], [0, 1]] * size / square[..., 2:]  # (..., 2)
    K_view = np.zeros_like(rotation)
    K_view[..., [0, 1], [0, 1]] = focal
    K_view[..., :2, 2] = 0.5 * size
    K_view[..., 2, 2] = 1.0
    return K @ np.swapaxes(rotation, -1, -2) @ np.linalg.inv(K_view), rotation, K_view


def map_pixels(view: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Full pixels (..., 2) to crop pixels, undoing `view` (3, 3)."""
    inverse = np.linalg.inv(view)
    mapped = pixels @ inverse[:, :2].T + inverse[:, 2]
    return mapped[..., :2] / mapped[..., 2:]


def warp_view(image: Reduced, view: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB: crop pixel u shows the full image at `view` u; grey outside the image.

    Args:
        image: decoded, perhaps reduced.
        view: (3, 3) of `square_view` or `virtual_view`.
    """
    sx, sy = image.scale
    # OpenCV counts pixel centres as whole numbers: half a pixel on at the crop, half a pixel back at the image.
    reading = _shift(-0.5) @ np.diag([sx, sy, 1.0]) @ view @ _shift(0.5)
    pixels = image.image
    shrink = pixel_step(reading, size)
    if shrink > 2.0:  # still far too large (no JPEG): average first, or thin structures alias
        pixels, reading = _averaged(pixels, reading, int(shrink))
    flags, plain = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, np.array_equal(reading[2], [0.0, 0.0, 1.0])
    if plain:
        crop = cv2.warpAffine(pixels, reading[:2], (size, size), flags=flags, borderValue=_BORDER)
    else:
        crop = cv2.warpPerspective(pixels, reading, (size, size), flags=flags, borderValue=_BORDER)
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)


def pixel_step(view: np.ndarray, size: int) -> float:
    """Image pixels per crop pixel, in the crop's middle."""
    weight = float(view[2] @ [0.5 * size, 0.5 * size, 1.0])
    return float(np.sqrt(abs(np.linalg.det(view) / weight**3)))


def _shift(by: float) -> np.ndarray:
    return np.array([[1.0, 0.0, by], [0.0, 1.0, by], [0.0, 0.0, 1.0]])


def _averaged(image: np.ndarray, reading: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The image reduced by a whole factor through averaging, and the matrix that reads it."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    if height < 1 or width < 1:
        return image, reading
    small = cv2.resize(image[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)
    return small, _shift(-0.5) @ np.diag([1.0 / factor, 1.0 / factor, 1.0]) @ _shift(0.5) @ reading


class Frames:
    """Frames of images and videos under one folder; a process keeps a few videos open and the last frame decoded.

    Args:
        root: folder that paths are relative to.
        open_videos: how many video readers stay open.
    """

    def __init__(self, root: str | Path, open_videos: int = 8) -> None:
        self.root = Path(root)
        self._open_videos = open_videos
        self._videos: OrderedDict[str, _Video] = OrderedDict()
        self._process = os.getpid()

    def read(self, image: str, frame: int, width: int, height: int, reduction: float = 1.0) -> Reduced:
        """One frame.

        Args:
            image: video, or pattern that takes the frame number, below the root.
            frame: its number.
            width, height: of the image the coordinates refer to; a file of another size is scaled to it in mind.
            reduction: how many full pixels one pixel of the result may stand for; a JPEG is decoded at 1/2, 1/4 or 1/8.

        Raises:
            InputError: the file is absent, damaged or cut off; the video has no such frame.
        """
        if "{" in image:
            return read_image(self.root / image.format(frame), width, height, reduction)
        pixels = self._video(image).frame(frame)
        return Reduced(pixels, _scale((pixels.shape[1], pixels.shape[0]), width, height, 1))

    def _video(self, image: str) -> _Video:
        if self._process != os.getpid():
            # A forked worker must neither read on through its parent's decoders nor close them: closing waits for
            # their threads, which were not forked.
            _INHERITED.append(self._videos)
            self._videos, self._process = OrderedDict(), os.getpid()
        if image in self._videos:
            self._videos.move_to_end(image)
        else:
            self._videos[image] = _Video(self.root / image)
            if len(self._videos) > self._open_videos:
                self._videos.popitem(last=False)[1].close()
        return self._videos[image]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_videos": OrderedDict()}  # readers cannot move


def read_view(
    frames: Frames, image: str, frame: int, view: np.ndarray, size: int, width: int, height: int
) -> np.ndarray:
    """(size, size, 3) uint8 RGB of one frame; see `Frames.read` and `warp_view`."""
    reduced = frames.read(image, frame, width, height, reduction=pixel_step(view, size))
    return warp_view(reduced, view, size)


def read_image(path: Path, width: int = 0, height: int = 0, reduction: float = 1.0) -> Reduced:
    """Decode an image file, JPEGs at reduced size where `reduction` allows; see `Frames.read`."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    jpeg = bytes(data[:2]) == _JPEG
    if data.size == 0 or (jpeg and not _ends_whole(data)):
        raise InputError(f"{path}: the file is {'empty' if data.size == 0 else 'cut off'}; copy it again")
    if not jpeg:
        image = cv2.cvtColor(decode_image(data, str(path), upright=False), cv2.COLOR_RGB2BGR)
        return Reduced(image, _scale((image.shape[1], image.shape[0]), width, height, 1))
    have = _jpeg_size(data)
    if have is None or have[0] * have[1] > MAX_PIXELS:
        refuse_giants(path, data)
    factor = 1
    if have is not None:
        stored = have[0] / width if width else 1.0  # a copy at half the size is reduced already
        factor = max(f for f in _FLAGS if f <= max(reduction * stored, 1.0))
    try:
        with silent():
            image = cv2.imdecode(data, _FLAGS[factor] | cv2.IMREAD_IGNORE_ORIENTATION)  # type: ignore[assignment]
    except cv2.error as error:
        raise InputError(f"{path}: not an image OpenCV can read ({error.err})") from error
    if image is None:
        raise InputError(f"{path}: not an image OpenCV can read")
    size = have or (image.shape[1], image.shape[0])
    return Reduced(image, _scale(size, width, height, factor))


def _ends_whole(data: np.ndarray) -> bool:
    """A JPEG's end marker within its last bytes (some writers pad); without it the lower part would decode grey."""
    return b"\xff\xd9" in bytes(data[-64:])


def _jpeg_size(data: np.ndarray) -> tuple[int, int] | None:
    """Width and height that a JPEG's frame header tells; None where it has none."""
    head = data.tobytes() if data.size < 1 << 16 else data[: 1 << 16].tobytes()
    place = 2
    while place + 9 < len(head) and head[place] == 0xFF:
        marker, length = head[place + 1], int.from_bytes(head[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[place + 7 : place + 9], "big"), int.from_bytes(
                head[place + 5 : place + 7], "big"
            )
        place += 2 + length
    return None


def _scale(have: tuple[int, int], width: int, height: int, factor: int) -> tuple[float, float]:
    """Pixels of the decoded image per nominal pixel; a size off by one is a rounding, not a scale."""

    def along(stored: int, nominal: int) -> float:
        return (1.0 if nominal <= 0 or abs(stored - nominal) <= 1 else stored / nominal) / factor

    return along(have[0], width), along(have[1], height)


class _Video:
    """A video read onward where it can be, with its last frame kept for the next person in it."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        self.path = path
        # An absolute path: "cam1:take2.mp4" alone would be taken for a protocol's name.
        self._capture = cv2.VideoCapture(os.path.abspath(path))
        if not self._capture.isOpened():
            raise InputError(undecodable(path))
        self._next = 0
        self._last: tuple[int, np.ndarray] | None = None

    def close(self) -> None:
        self._capture.release()

    def frame(self, number: int) -> np.ndarray:
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        if not 0 <= number - self._next <= _ONWARD:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            self._next = number
        good, image = True, None
        while good and self._next <= number:
            good = self._capture.grab()
            self._next += 1
        if good:
            good, image = self._capture.retrieve()
        if not good or image is None:
            raise InputError(f"{self.path}: frame {number} cannot be decoded; the video ends earlier or is damaged")
        self._last = (number, image)
        return image
