"""What one or several systems see in real clips: frames of each clip with the projected joints, one row a system.

Heads are blurred, where the reference has them: nobody need be recognised in order to see whether a pose is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from selfsup3d.evaluation.reference_2d import Reference2D
from selfsup3d.inference.predictor import PosedFrame
from selfsup3d.io.files import atomic_path
from selfsup3d.structures.skeleton import joint_index
from selfsup3d.viz.sheets import tile, write_title
from selfsup3d.viz.skeleton import draw_skeleton

__all__ = ["clip_sheet", "picture_rows", "without_head", "write_jpg"]

FRAMES = 8
"""Evenly spaced ones of each clip."""

_HEAD, _REACH = [joint_index("nose"), joint_index("head")], 0.42  # of a torso, about the middle of the head
_TORSO = [joint_index("pelvis"), joint_index("neck")]


def picture_rows(
    posed: Sequence[PosedFrame], reference: Reference2D, cell: int = 128, frames: int = FRAMES
) -> list[np.ndarray]:
    """Evenly spaced frames (cell, cell, 3) uint8 of a clip in order, with their projected joints and without faces."""
    chosen = np.unique(np.linspace(0, len(posed) - 1, frames).round().astype(int))
    torso = reference.torso()
    heads = reference.pixels[:, _HEAD].mean(1)  # (N, 2), NaN where unknown
    return [_drawn(posed[k], heads[k], _REACH * torso[k], cell) for k in chosen]


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


def _drawn(frame: PosedFrame, head: np.ndarray, reach: float, cell: int) -> np.ndarray:
    height, width = frame.image.shape[:2]
    frame = replace(frame, image=_blurred(frame.image, head, reach))
    scale = cell / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if frame.joints_2d is None or not np.isfinite(frame.joints_2d).any():
        return canvas
    return draw_skeleton(canvas, frame.joints_2d * scale, thickness=2)


def without_head(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with the head of joints (17, 2) px blurred."""
    low, high = pixels[_TORSO]
    return _blurred(image, pixels[_HEAD].mean(0), _REACH * float(np.linalg.norm(high - low)))


def _blurred(image: np.ndarray, head: np.ndarray, reach: float) -> np.ndarray:
    """An image with a disc of `reach` px about a head blurred; as it is where the head is unknown."""
    if not np.isfinite([*head, reach]).all():
        return image
    disc = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(disc, (round(float(head[0])), round(float(head[1]))), max(1, round(float(reach))), 255, -1)
    return np.where(disc[..., None] > 0, cv2.GaussianBlur(image, (0, 0), max(2.0, 0.3 * reach)), image)
