"""What was predicted, over the frame it was predicted from, and in 3D beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

from selfsup3d.inference.clock import Clock
from selfsup3d.inference.predictor import PosedFrame
from selfsup3d.inference.records import PoseRecord
from selfsup3d.io.video import VideoFrame
from selfsup3d.puppet.puppet import Puppet, default_puppet
from selfsup3d.viz.colours import PEOPLE, Colour
from selfsup3d.viz.skeleton import draw_skeleton
from selfsup3d.viz.view3d import draw_pose_3d

__all__ = ["AZIMUTH", "beside", "overlay", "overlays", "people_overlays"]

AZIMUTH = 35.0
"""Degrees from which the 3D view looks where it stands still."""

_LONGEST = 480  # px of a drawn frame's longer side
_SHORTEST = 256  # smaller frames are enlarged to this height, or lines would hide the person
_OPACITY = 0.45


def overlay(frame: PosedFrame, puppet: Puppet | None = None, parts: bool = True) -> np.ndarray:
    """Skeleton and part segmentation over the frame, (h, w, 3) uint8; drawn at a size fit to look at.

    Args:
        frame: predicted; one without a person is drawn bare.
        puppet: whose part colours are used. parts: whether they are drawn.
    """
    canvas, scale = _canvas(frame.image)
    if frame.window is None or frame.joints_2d is None:
        return canvas
    if parts and frame.parts is not None:
        _lay_parts(canvas, frame.parts, frame.window * scale, puppet or default_puppet())
    return draw_skeleton(canvas, frame.joints_2d * scale) if np.isfinite(frame.joints_2d).any() else canvas


def _lay_parts(canvas: np.ndarray, labels: np.ndarray, window: np.ndarray, puppet: Puppet) -> None:
    """Blend the part colours of a window (x, y, side in canvas px) into the canvas."""
    x, y, side = (round(float(v)) for v in window)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + side, canvas.shape[1]), min(y + side, canvas.shape[0])
    if right <= left or bottom <= top or side < 1:
        return
    colours = np.rint(np.vstack([puppet.colours, np.zeros(3)]) * 255.0).astype(np.uint8)
    tint = cv2.resize(colours[labels], (side, side), interpolation=cv2.INTER_LINEAR)
    person = np.where(labels < puppet.background, np.float32(_OPACITY), np.float32(0.0))
    weight = cv2.resize(person, (side, side), interpolation=cv2.INTER_LINEAR)
    inside = np.s_[top - y : bottom - y, left - x : right - x]
    w = weight[inside]
    canvas[top:bottom, left:right] = cv2.blendLinear(canvas[top:bottom, left:right], tint[inside], 1.0 - w, w)


def beside(image: np.ndarray, joints: np.ndarray | None, azimuth: float, extent: float = 1.1) -> np.ndarray:
    """An image and, to its right, the pose (17, 3) in metres seen from an azimuth in degrees."""
    height = image.shape[0]
    if joints is None:
        view = np.full((height, height, 3), 250, np.uint8)
    else:
        view = draw_pose_3d(joints, view=(azimuth, 12.0), size=height, extent=extent)
    return np.concatenate([image, view], axis=1)


def overlays(
    frames: Iterable[PosedFrame], clock: Clock | None = None, degrees: float = 0.0, parts: bool = True
) -> Iterator[np.ndarray]:
    """Frames of the overlay video: the overlay, and the pose beside it.

    Args:
        frames: predicted, in order.
        clock: counts the drawing.
        degrees: that the viewer walks on from frame to frame; 0 = stands still.
        parts: whether the segmentation is drawn.
    """
    clock = clock or Clock()
    for k, frame in enumerate(frames):
        with clock.stage("draw"):
            drawn = beside(overlay(frame, parts=parts), frame.joints_3d, AZIMUTH + degrees * k)
        yield drawn


def people_overlays(
    frames: Iterable[VideoFrame],
    people: Sequence[PoseRecord],
    clock: Clock | None = None,
    degrees: float = 0.0,
    panels: bool = True,
) -> Iterator[np.ndarray]:
    """Frames with everybody's skeleton, and their poses beside them; several people have one colour each.

    Args:
        frames: in order. people: one record a person, by frame number.
        clock: counts the drawing. degrees: see `overlays`. panels: False = without the poses beside.
    """
    clock = clock or Clock()
    rows = [{int(number): row for row, number in enumerate(record.frames)} for record in people]
    poses = [record.metric() for record in people]
    colours = [PEOPLE[k % len(PEOPLE)] if len(people) > 1 else None for k in range(len(people))]
    for k, frame in enumerate(frames):
        with clock.stage("draw"):
            canvas, scale = _canvas(frame.image)
            shown: list[tuple[np.ndarray | None, Colour | None]] = []
            for person, record in enumerate(people):
                row = rows[person].get(frame.number)
                if row is not None:
                    canvas = draw_skeleton(canvas, record.joints_2d[row] * scale, colour=colours[person])
                shown.append((None if row is None else poses[person][row], colours[person]))
            drawn = canvas
            if panels:
                drawn = np.concatenate([canvas, _panels(shown, canvas.shape[0], AZIMUTH + degrees * k)], axis=1)
        yield drawn


def _canvas(image: np.ndarray) -> tuple[np.ndarray, float]:
    """An image at a size fit to look at, and its pixels per pixel of the image."""
    height, width = image.shape[:2]
    scale = min(_LONGEST / max(height, width), max(1.0, _SHORTEST / height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return image.copy() if scale == 1 else cv2.resize(image, size, interpolation=how), scale


def _panels(
    poses: Sequence[tuple[np.ndarray | None, Colour | None]], height: int, azimuth: float, extent: float = 1.1
) -> np.ndarray:
    """(height, height, 3) poses seen from an azimuth, as many as fit in squares of a grid, nine at most."""
    side = math.ceil(math.sqrt(min(max(len(poses), 1), 9)))
    sheet = np.full((height, height, 3), 250, np.uint8)
    size = height // side
    top = (height - math.ceil(min(len(poses), side * side) / side) * size) // 2
    for k, (pose, colour) in enumerate(poses[: side * side]):
        if pose is not None:
            y, x = top + k // side * size, k % side * size
            view = draw_pose_3d(pose, view=(azimuth, 12.0), size=size, extent=extent, colour=colour)
            sheet[y : y + size, x : x + size] = view
    return sheet
