"""What stands behind synthetic people: rooms and open ground, textures, and photographs where a folder is given."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from selfsup3d.data.priors.camera_prior import look_at, pinhole
from selfsup3d.data.synthetic.background import make_background, render_background
from selfsup3d.data.synthetic.spec import Code, code
from selfsup3d.errors import InputError

__all__ = ["Backdrops"]

_KINDS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_SIDE = 160  # px of what is kept
_MOST = 6_000  # photographs kept: 460 MB


class Backdrops:
    """Backgrounds without people.

    Args:
        folder: of photographs, searched with its subfolders; they must show nobody. None = procedural ones alone.
        rooms: procedural rooms and grounds; each is drawn once, when it is first asked for.

    Raises:
        InputError: a folder without images.
    """

    def __init__(self, folder: Path | None = None, rooms: int = 300) -> None:
        self._rooms: dict[int, np.ndarray] = {}
        self._count = rooms
        self._photographs = [] if folder is None else _photographs(folder)

    def draw(self, draw: np.random.Generator, size: int) -> np.ndarray:
        """(size, size, 3) uint8 RGB."""
        kind = draw.random()
        if self._photographs and kind < 0.55:
            image = _cropped(self._photographs[draw.integers(len(self._photographs))], draw, size)
        elif kind < 0.8:
            index = int(draw.integers(self._count))
            if index not in self._rooms:
                self._rooms[index] = _room(index)
            image = _cropped(self._rooms[index], draw, size)
        else:
            image = _texture(draw, size)
        if draw.random() < 0.25:
            image = _furnished(image, draw)
        image = image.astype(np.float32)
        if kind >= 0.55 or not self._photographs:  # painted colours are brighter than most real ones
            grey = (
                image[..., :1] + image[..., 1:2] + image[..., 2:]
            ) / 3  # `mean` over three takes several times as long
            image = grey + (image - grey) * draw.uniform(0.0, 1.0)
        gains = draw.uniform(0.85, 1.15, 3) * draw.uniform(0.7, 1.25)
        return np.clip(image * gains + draw.uniform(-15, 25), 0, 255).astype(np.uint8)


def _photographs(folder: Path) -> list[np.ndarray]:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _KINDS)
    if len(files) > _MOST:
        files = [files[i] for i in np.linspace(0, len(files) - 1, _MOST).astype(int)]
    read = (cv2.imread(str(file), cv2.IMREAD_COLOR) for file in files)
    found = [_reduced(image) for image in read if image is not None and min(image.shape[:2]) >= 64]
    if not found:
        raise InputError(f"data.backgrounds: {folder}: expected a folder of images (of at least 64 px), found none")
    return found


def _reduced(image: np.ndarray) -> np.ndarray:
    """RGB, its shorter side `_SIDE` px, at most twice as long."""
    height, width = image.shape[:2]
    scale = _SIDE / min(height, width)
    size = (max(_SIDE, round(width * scale)), max(_SIDE, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[: 2 * _SIDE, : 2 * _SIDE, ::-1])


def _room(index: int) -> np.ndarray:
    draw = Code(code("people", "camera", index))
    target = np.array([draw.uniform(-0.5, 0.5), draw.uniform(-0.5, 0.5), draw.uniform(0.4, 1.6)])
    rotation, translation = look_at(
        target, np.array(draw.uniform(0, 360)), np.array(draw.uniform(-12, 45)), np.array(draw.uniform(1.5, 6.0))
    )
    K = pinhole(_SIDE, np.array(draw.uniform(25.0, 60.0)))
    background = make_background(code("people", "background", index))
    return (render_background(background, K, rotation, translation, _SIDE, 1).image * 255).astype(np.uint8)


def _cropped(image: np.ndarray, draw: np.random.Generator, size: int) -> np.ndarray:
    height, width = image.shape[:2]
    side = int(min(height, width) * draw.uniform(0.4, 1.0))
    y, x = draw.integers(height - side + 1), draw.integers(width - side + 1)
    crop = image[y : y + side, x : x + side]
    crop = crop[:, ::-1] if draw.random() < 0.5 else crop
    return cv2.resize(np.ascontiguousarray(crop), (size, size), interpolation=cv2.INTER_LINEAR)


def _texture(draw: np.random.Generator, size: int) -> np.ndarray:
    """Clutter: noise of several scales between two colours, with flat shapes over it."""
    noise = np.zeros((size, size), dtype=np.float32)
    for cells in (3, 7, 16, 40):
        grid = draw.normal(0.0, 1.0, (cells, cells)).astype(np.float32)
        noise += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) * draw.uniform(0.0, 1.0)
    share = 1.0 / (1.0 + np.exp(-2.0 * noise[..., None]))
    image = share * draw.uniform(0, 255, 3) + (1.0 - share) * draw.uniform(0, 255, 3)
    image = np.ascontiguousarray(image, dtype=np.float32)
    for _ in range(draw.integers(7)):
        x, y, w, h = (size * draw.uniform(0, 1, 4)).astype(int).tolist()
        colour = draw.uniform(0, 255, 3).tolist()
        if draw.random() < 0.6:
            cv2.rectangle(image, (x, y), (x + w // 2, y + h), colour, -1)
        else:
            cv2.ellipse(image, (x, y), (w // 4 + 1, h // 3 + 1), draw.uniform(0, 180), 0, 360, colour, -1)
    return image


def _furnished(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """An image with shelves, racks and frames: rows of upright things of about one height, posts, and legs of furniture.

    Without them, whatever stands upright in a room is taken for a limb.
    """
    size = image.shape[0]
    image = np.ascontiguousarray(image, dtype=np.float32)
    left, right = np.sort(draw.uniform(-0.2, 1.2, 2)) * size
    top, rows = draw.uniform(-0.1, 0.6) * size, draw.integers(1, 5)
    height = size * draw.uniform(0.06, 0.22)
    board, muted = draw.uniform(20, 235, 3), draw.uniform(0.1, 1.0)
    for row in range(rows):
        base = int(top + (row + 1) * 1.25 * height)
        x = left
        while x < right:
            width = size * draw.uniform(0.008, 0.07)
            if draw.random() < 0.85:  # else a gap
                colour = draw.uniform(0, 255, 3)
                colour = colour.mean() + (colour - colour.mean()) * muted
                corner = (int(x), int(base - height * draw.uniform(0.5, 1.0)))
                cv2.rectangle(image, corner, (int(x + width), base), colour.tolist(), -1)
            x += width
        cv2.line(image, (int(left), base), (int(right), base), board.tolist(), max(1, size // 48))
    for _ in range(draw.integers(0, 5)):  # posts, table and chair legs, rails
        x, y = size * draw.uniform(0, 1, 2)
        along = size * draw.uniform(0.1, 0.7) * np.array([draw.normal(0.0, 0.12), 1.0])
        end = (int(x + along[0]), int(y + along[1])) if draw.random() < 0.75 else (int(x + along[1]), int(y))
        colour = (
            (draw.uniform(0, 255) * np.ones(3)).tolist() if draw.random() < 0.6 else draw.uniform(0, 255, 3).tolist()
        )
        cv2.line(image, (int(x), int(y)), end, colour, int(draw.integers(1, max(2, size // 16))))
    return image
