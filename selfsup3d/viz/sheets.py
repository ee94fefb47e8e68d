"""Sheets of images with titles, and images to and from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from selfsup3d.io.files import atomic_path
from selfsup3d.viz.colours import Colour

__all__ = ["labelled", "sheet", "tile", "to_uint8", "with_alpha", "write_png", "write_title"]

_PAPER: Colour = (255, 255, 255)
_INK: Colour = (30, 30, 30)


def to_uint8(image: Tensor) -> np.ndarray:
    """Images (..., 3, H, W) in [0, 1] -> (..., H, W, 3) uint8 on the CPU; values outside are clipped."""
    values = image.detach().float().nan_to_num(0.0).clamp(0.0, 1.0).mul(255.0).round()
    return np.ascontiguousarray(values.movedim(-3, -1).byte().cpu().numpy())


def tile(rows: Sequence[Sequence[np.ndarray]], *, gap: int = 2, paper: Colour = _PAPER) -> np.ndarray:
    """Images in rows and columns; a cell is as large as the largest image, smaller ones lie in its middle.

    Where an image has an alpha channel the sheet has one, and the paper is transparent.

    Args:
        rows: images (H, W, 3 or 4) uint8; rows may be of different length.
        gap: px between cells and around them.
        paper: colour between them.

    Raises:
        ValueError: there is no image.
    """
    images = [image for row in rows for image in row]
    if not images:
        raise ValueError("a sheet needs at least one image")
    height, width = max(p.shape[0] for p in images), max(p.shape[1] for p in images)
    columns = max(len(row) for row in rows)
    shape = (gap + len(rows) * (height + gap), gap + columns * (width + gap))
    canvas = np.full((*shape, 3), paper, np.uint8)
    clear = any(image.shape[2] == 4 for image in images)
    if clear:
        canvas = with_alpha(canvas, np.zeros(shape, np.uint8))
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            h, w = image.shape[:2]
            y, x = gap + r * (height + gap) + (height - h) // 2, gap + c * (width + gap) + (width - w) // 2
            canvas[y : y + h, x : x + w] = with_alpha(image) if clear else image
    return canvas


def with_alpha(image: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 4) of an image (H, W, 3) and alpha (H, W) uint8, None = opaque; an image that has one keeps it."""
    if image.shape[2] == 4:
        return image
    alpha = np.full(image.shape[:2], 255, np.uint8) if alpha is None else alpha
    return np.concatenate([image, alpha[..., None]], 2)


def labelled(image: np.ndarray, text: str) -> np.ndarray:
    """An image (H, W, 3 or 4) with a line of text above it."""
    head = np.full((18, image.shape[1], 3), _PAPER, np.uint8)
    write_title(head, text, 4, 13, image.shape[1] - 8)
    return np.concatenate([with_alpha(head) if image.shape[2] == 4 else head, image])


def sheet(
    columns: Mapping[str, Tensor],
    *,
    row_titles: Sequence[str] | None = None,
    cell: int | None = None,
    titles: bool = True,
    limit: int | None = None,
) -> np.ndarray:
    """One column a title, one row a sample.

    Args:
        columns: title -> (N, 3, H, W) in [0, 1], the same N for all.
        row_titles: N texts, written above each row's first image.
        cell: height of the cells in px (images are enlarged by whole factors where they fit); None = as they are,
            but at least 64 px, below which titles cannot be read.
        titles: write the titles.
        limit: at most so many rows.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: no column, or columns of different length.
    """
    lengths = {title: len(images) for title, images in columns.items()}
    if not lengths or len(set(lengths.values())) != 1:
        raise ValueError(f"a sheet needs columns of one length, got {lengths}")
    count = min(next(iter(lengths.values())), limit or 10**9)
    height = cell or max(64, *(images.shape[-2] for images in columns.values()))
    drawn = {title: [_fit(p, height) for p in to_uint8(images[:count])] for title, images in columns.items()}
    body = tile([[images[n] for images in drawn.values()] for n in range(count)])
    if row_titles is not None:
        for n in range(count):
            write_title(body, row_titles[n], 6, 2 + n * ((body.shape[0] - 2) // count) + 12, body.shape[1] - 8)
    if not titles:
        return body
    head = np.full((18, body.shape[1], 3), _PAPER, np.uint8)
    step = (body.shape[1] - 2) // len(drawn)
    for c, title in enumerate(drawn):
        write_title(head, title, 4 + c * step, 13, step - 6)
    return np.concatenate([head, body])


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB or (H, W, 4) RGBA as PNG, whole or not at all.

    Raises:
        OSError: OpenCV could not encode or write it.
    """
    path = Path(path)
    with atomic_path(path.with_suffix(".png")) as temporary:
        order = [2, 1, 0, 3][: image.shape[2]]
        if not cv2.imwrite(str(temporary), np.ascontiguousarray(image[..., order])):
            raise OSError(f"{path}: could not be written as PNG")


def _fit(image: np.ndarray, height: int) -> np.ndarray:
    """Scale to a height: whole factors by repetition (sharp pixels), anything else smoothly."""
    factor = height / image.shape[0]
    if factor == 1:
        return image
    size = (round(image.shape[1] * factor), height)
    how = (
        cv2.INTER_NEAREST
        if factor > 1 and factor == int(factor)
        else cv2.INTER_AREA
        if factor < 1
        else cv2.INTER_LINEAR
    )
    return cv2.resize(image, size, interpolation=how)


def write_title(canvas: np.ndarray, text: str, x: int, y: int, room: int) -> None:
    """Text on a slip of paper, made smaller until it fits into `room` px."""
    scale = 0.4
    width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
    scale *= min(1.0, room / max(width, 1))
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    cv2.rectangle(canvas, (x - 2, y - height - 2), (x + width + 1, y + below), _PAPER, -1)
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
