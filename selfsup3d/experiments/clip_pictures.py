"""What one or several systems see in real clips: frames of each clip with the projected joints, one row a system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from selfsup3d.inference.predictor import PosedFrame
from selfsup3d.io.files import atomic_path
from selfsup3d.viz.sheets import tile, write_title
from selfsup3d.viz.skeleton import draw_skeleton

__all__ = ["clip_sheet", "picture_rows", "write_jpg"]

FRAMES = 8
"""Evenly spaced ones of each clip."""


def picture_rows(posed: Sequence[PosedFrame], cell: int = 160, frames: int = FRAMES) -> list[np.ndarray]:
    """Evenly spaced frames (cell, cell, 3) uint8 of a clip in order, with their projected joints."""
    chosen = np.unique(np.linspace(0, len(posed) - 1, frames).round().astype(int))
    return [_drawn(posed[k], cell) for k in chosen]


def clip_sheet(clips: Mapping[str, Mapping[str, Sequence[np.ndarray]]]) -> np.ndarray:
    """Rows of pictures: clip -> title of a system -> its pictures. (height, width, 3) uint8."""
    rows, titles = [], []
    for name, systems in clips.items():
        for title, pictures in systems.items():
            rows.append(list(pictures))
            titles.append(f"{name}: {title}")
    sheet = tile(rows)
    step = (sheet.shape[0] - 2) // len(rows)
    for number, title in enumerate(titles):
        write_title(sheet, title, 6, 2 + number * step + 12, sheet.shape[1] // 2)
    return sheet


def write_jpg(path: Path, image: np.ndarray, most: int = 300_000) -> None:
    """Write (H, W, 3) uint8 RGB as JPEG of at most so many bytes, at the best quality that allows it.

    Raises:
        OSError: OpenCV could not encode it, or not in so few bytes.
    """
    for quality in range(90, 20, -5):
        good, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if good and len(data) <= most:
            with atomic_path(path) as temporary:
                temporary.write_bytes(data.tobytes())
            return
    raise OSError(f"{path}: could not be written as JPEG of {most} bytes; draw fewer clips in it")


def _drawn(frame: PosedFrame, cell: int) -> np.ndarray:
    height, width = frame.image.shape[:2]
    scale = cell / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if frame.joints_2d is None or not np.isfinite(frame.joints_2d).any():
        return canvas
    return draw_skeleton(canvas, frame.joints_2d * scale, thickness=2)
