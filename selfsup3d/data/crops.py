"""Square crops of a person, straight from the file: pictures decoded at reduced size, videos read onward.

Convention: continuous pixel coordinates, pixel i covers [i, i + 1). A square (x, y, side) maps to the crop by
x' = (x - x0) size / side, so K_crop = `crop_intrinsics(K, (x0, y0), size / side)`.

A JPEG holds 8 x 8 blocks of cosine terms; decoding only the lowest quarter or sixteenth of them gives the picture at
1/2 or 1/4 of its size for a fraction of the time. The factor is the largest that still leaves a pixel of the reduced
picture for each pixel of the crop.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from selfsup3d.errors import InputError

__all__ = ["Frames", "Reduced", "crop_square", "cube_squares", "squares_of_boxes", "warp_square"]

_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_JPEG = (".jpg", ".jpeg")
_BORDER = (127, 127, 127)  # what lies outside the picture
_ONWARD = 48  # frames that are decoded rather than sought: seeking costs about half a second's worth of frames


@dataclass(frozen=True)
class Reduced:
    """A decoded picture.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        scale: (2,) x and y: pixels of `image` per pixel of the full picture.
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


def warp_square(picture: Reduced, square: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB of the square (x, y, side) of the full picture; grey outside the picture."""
    x, y, side = (float(v) for v in square)
    sx, sy = picture.scale
    step = side / size
    # Crop pixel u' (centre u' + 0.5) looks at x + (u' + 0.5) step; minus a half again, since OpenCV's centres are whole.
    matrix = np.array(
        [
            [step * sx, 0.0, (x + 0.5 * step) * sx - 0.5],
            [0.0, step * sy, (y + 0.5 * step) * sy - 0.5],
        ]
    )
    image = picture.image
    shrink = step * max(sx, sy)
    if shrink > 2.0:  # still far too large (no JPEG): average first, or thin structures alias
        image, matrix = _averaged(image, matrix, int(shrink))
    crop = cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=_BORDER
    )
    return np.ascontiguousarray(crop[..., ::-1])


def _averaged(image: np.ndarray, matrix: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture reduced by a whole factor through averaging, and the matrix that reads it."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    if height < 1 or width < 1:
        return image, matrix
    small = cv2.resize(image[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)
    reading = matrix / factor
    reading[:, 2] = (matrix[:, 2] + 0.5) / factor - 0.5
    return small, reading


class Frames:
    """Frames of pictures and videos under one folder; a process keeps a few videos open and the last frame decoded.

    Args:
        root: folder that paths are relative to.
        open_videos: how many video readers stay open.
    """

    def __init__(self, root: str | Path, open_videos: int = 8) -> None:
        self.root = Path(root)
        self._open_videos = open_videos
        self._videos: OrderedDict[str, _Video] = OrderedDict()

    def read(self, picture: str, frame: int, width: int, height: int, reduction: float = 1.0) -> Reduced:
        """One frame.

        Args:
            picture: video, or pattern that takes the frame number, below the root.
            frame: its number.
            width, height: of the picture the coordinates refer to; a file of another size is scaled to it in mind.
            reduction: how many full pixels one pixel of the result may stand for; a JPEG is decoded at 1/2, 1/4 or 1/8.

        Raises:
            InputError: the file is absent, damaged or cut off; the video has no such frame.
        """
        if "{" in picture:
            return read_picture(self.root / picture.format(frame), width, height, reduction)
        image = self._video(picture).frame(frame)
        return Reduced(image, _scale(image, width, height, 1))

    def _video(self, picture: str) -> _Video:
        if picture in self._videos:
            self._videos.move_to_end(picture)
        else:
            self._videos[picture] = _Video(self.root / picture)
            if len(self._videos) > self._open_videos:
                self._videos.popitem(last=False)[1].close()
        return self._videos[picture]

    def __getstate__(self) -> dict[str, object]:
        return {"root": self.root, "_open_videos": self._open_videos, "_videos": OrderedDict()}  # readers cannot move


def crop_square(
    frames: Frames, picture: str, frame: int, square: np.ndarray, size: int, width: int, height: int
) -> np.ndarray:
    """(size, size, 3) uint8 RGB crop of one frame; see `Frames.read` and `warp_square`."""
    reduced = frames.read(picture, frame, width, height, reduction=float(square[2]) / size)
    return warp_square(reduced, square, size)


def read_picture(path: Path, width: int = 0, height: int = 0, reduction: float = 1.0) -> Reduced:
    """Decode a picture file, JPEGs at reduced size where `reduction` allows; see `Frames.read`."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    jpeg = path.suffix.lower() in _JPEG
    if data.size == 0 or (jpeg and not _ends_whole(data)):
        raise InputError(f"{path}: the file is {'empty' if data.size == 0 else 'cut off'}; copy it again")
    factor = max(f for f in _FLAGS if f <= max(reduction, 1.0)) if jpeg else 1
    try:
        image = cv2.imdecode(data, _FLAGS[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InputError(f"{path}: not a picture OpenCV can read ({error.err})") from error
    if image is None:
        raise InputError(f"{path}: not a picture OpenCV can read")
    return Reduced(image, _scale(image, width, height, factor))


def _ends_whole(data: np.ndarray) -> bool:
    """A JPEG's end marker within its last bytes (some writers pad); without it the lower part would decode grey."""
    return bytes(data[:2]) == b"\xff\xd8" and b"\xff\xd9" in bytes(data[-64:])


def _scale(image: np.ndarray, width: int, height: int, factor: int) -> tuple[float, float]:
    """Pixels of the decoded image per pixel of the nominal picture."""

    def along(have: int, nominal: int) -> float:
        if nominal <= 0 or abs(have - -(-nominal // factor)) <= 1:  # the decoder rounds odd sizes up
            return 1.0 / factor
        return have / nominal

    return along(image.shape[1], width), along(image.shape[0], height)


class _Video:
    """A video read onward where it can be, with its last frame kept for the next person in it."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        self.path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(f"{path}: not a video OpenCV can open; the file is damaged or its codec unknown here")
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
