"""3D skeletons seen from outside: fixed views, a ground plane with a metric grid, turntables.

Drawn by OpenCV under parallel rays, so that lengths can be read off the grid. The pelvis is put in the middle; the
ground is a level plane under the lowest joint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from selfsup3d.structures.skeleton import H36M_17
from selfsup3d.viz.colours import ERROR, TRUTH, Colour, bone_colours
from selfsup3d.viz.skeleton import fixed_point

__all__ = ["FRONT", "SIDE", "draw_pose_3d", "skeleton_views", "turntable"]

Frame = Literal["camera", "body"]

FRONT: tuple[float, float] = (0.0, 12.0)
SIDE: tuple[float, float] = (90.0, 12.0)
"""(azimuth, elevation) in degrees of the two fixed views: as the camera sees it, and from its right-hand side."""

_PAPER: Colour = (250, 250, 250)
_GROUND: Colour = (234, 234, 230)
_GRID: Colour = (205, 205, 200)
_SHADOW: Colour = (190, 190, 186)
_SHIFT = 4


def draw_pose_3d(
    joints: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    view: tuple[float, float] = FRONT,
    frame: Frame = "camera",
    size: int = 256,
    extent: float = 1.2,
    spacing: float = 0.5,
    ground: bool = True,
    colour: Colour | None = None,
) -> np.ndarray:
    """Draw poses of `H36M_17` as seen from `view`.

    Args:
        joints: (17, 3) or (S, 17, 3) metres: one pose, or S hypotheses over each other, rooted at the first one's pelvis.
        truth: (17, 3), drawn in grey, with a red line from each of its joints to the predicted one.
        view: azimuth and elevation in degrees. Azimuth 0 looks as the camera does (or at the body's front); it grows
            as the viewer walks round to the right. Elevation > 0 looks down.
        frame: "camera" (x right, y down, z away) or "body" (x ahead, y left, z up).
        size: of the square image in px.
        extent: metres from the middle to the image's edge.
        spacing: of the grid in metres.
        ground: draw the ground plane, its grid and the pose's shadow.
        colour: one colour for the poses, instead of the sides'.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ValueError: shapes do not fit.
    """
    poses = np.asarray(joints, dtype=np.float64)
    poses = poses[None] if poses.ndim == 2 else poses
    if poses.ndim != 3 or poses.shape[1:] != (len(H36M_17), 3) or len(poses) == 0:
        raise ValueError(f"expected joints of shape (17, 3) or (S, 17, 3), got {np.shape(joints)}")
    everything = poses if truth is None else np.concatenate([poses, np.asarray(truth, np.float64)[None]])
    upright = _upright(everything - everything[:, :1], frame)  # (S, 17, 3) right, away, up
    screen = _Screen(view, size, extent)
    canvas = np.full((size, size, 3), _PAPER, np.uint8)
    if ground:
        floor = float(np.nanmin(upright[..., 2])) if np.isfinite(upright).any() else 0.0
        _draw_ground(canvas, screen, floor, extent, spacing)
        shadow = upright[:1].copy()
        shadow[..., 2] = np.where(np.isfinite(shadow[..., 2]), floor, np.nan)
        _draw_bones(canvas, screen, shadow, [_SHADOW] * len(H36M_17.bones), max(1, size // 100))
    thickness = max(1, size // 90)
    colours = [colour] * len(H36M_17.bones) if colour else bone_colours(H36M_17)
    if len(poses) > 1:  # a bundle: thin lines, with the truth over them
        _draw_bones(canvas, screen, upright[: len(poses)], colours, 1)
    if truth is not None:
        _draw_bones(canvas, screen, upright[-1:], [TRUTH] * len(H36M_17.bones), thickness)
        _draw_errors(canvas, screen, upright[:-1], upright[-1], max(1, thickness // 2))
    if len(poses) == 1:
        _draw_bones(canvas, screen, upright[:1], colours, thickness)
    return canvas


def skeleton_views(joints: Tensor, size: int) -> Tensor:
    """Front and side view of camera-axes poses (B, 17, 3) -> (B, 2, 3, size, size) in [0, 1], on the CPU."""
    drawn = [
        np.stack([draw_pose_3d(pose, view=view, size=size) for view in (FRONT, SIDE)])
        for pose in joints.detach().cpu().numpy()
    ]
    views = np.stack(drawn) if drawn else np.zeros((0, 2, size, size, 3), np.uint8)
    return torch.from_numpy(views).permute(0, 1, 4, 2, 3).float() / 255.0


def turntable(
    joints: np.ndarray, *, frames: int = 48, elevation: float = 12.0, frame: Frame = "camera", size: int = 256
) -> Iterator[np.ndarray]:
    """Images of a pose, or of a motion, while the viewer walks once round it.

    Args:
        joints: (17, 3) metres, or (T, 17, 3) for a motion, which is played once during the round.
        frames: in the round.
        elevation: of the viewer, degrees.

    Yields:
        `frames` images (size, size, 3) uint8.
    """
    joints = np.asarray(joints, dtype=np.float64)
    motion = joints[None] if joints.ndim == 2 else joints
    for k in range(frames):
        pose = motion[k * len(motion) // frames]
        yield draw_pose_3d(pose, view=(360.0 * k / frames, elevation), frame=frame, size=size)


def _upright(points: np.ndarray, frame: Frame) -> np.ndarray:
    """Points (..., 3) as (right, away from the viewer, up) at azimuth 0."""
    x, y, z = np.moveaxis(points, -1, 0)
    if frame == "camera":
        return np.stack([x, z, -y], -1)
    return np.stack([y, -x, z], -1)  # the body faces the viewer, so its left is on the right


class _Screen:
    """Parallel projection of upright points to pixels, and their depth."""

    def __init__(self, view: tuple[float, float], size: int, extent: float) -> None:
        azimuth, elevation = math.radians(view[0]), math.radians(view[1])
        c, s = math.cos(azimuth), math.sin(azimuth)
        ce, se = math.cos(elevation), math.sin(elevation)
        # The viewer walks to the right, so the scene turns to the left: right = (c, s), away = (-s, c).
        self.axes = np.array([[c, s, 0.0], [-s * se, c * se, ce], [-s * ce, c * ce, -se]])  # right, up, depth
        self.scale, self.middle = 0.5 * size / extent, 0.5 * size

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = points @ self.axes.T
        pixels = np.stack([self.middle + self.scale * seen[..., 0], self.middle - self.scale * seen[..., 1]], -1)
        return pixels, seen[..., 2]


def _draw_ground(canvas: np.ndarray, screen: _Screen, floor: float, extent: float, spacing: float) -> None:
    reach = spacing * max(1, math.floor(0.95 * extent / spacing))
    corners = np.array([(-reach, -reach, floor), (reach, -reach, floor), (reach, reach, floor), (-reach, reach, floor)])
    outline = np.array(fixed_point(screen(corners)[0]), np.int32)
    cv2.fillConvexPoly(canvas, outline, _GROUND, cv2.LINE_AA, _SHIFT)
    steps = round(reach / spacing)
    for k in range(-steps, steps + 1):
        at = k * spacing
        for ends in ([(at, -reach, floor), (at, reach, floor)], [(-reach, at, floor), (reach, at, floor)]):
            a, b = fixed_point(screen(np.array(ends))[0])
            cv2.line(canvas, a, b, _GRID, 1, cv2.LINE_AA, _SHIFT)


def _draw_bones(canvas: np.ndarray, screen: _Screen, poses: np.ndarray, colours: list[Colour], thickness: int) -> None:
    """All bones of all poses, the farthest first, so that nearer ones cover them."""
    pixels, depths = screen(poses)
    bones = []
    for s in range(len(poses)):
        points = fixed_point(pixels[s])
        for (a, b), colour in zip(H36M_17.bones, colours, strict=True):
            depth = depths[s, a] + depths[s, b]
            if math.isfinite(depth):
                bones.append((depth, points[a], points[b], colour))
    for _, start, end, colour in sorted(bones, key=lambda bone: -bone[0]):
        cv2.line(canvas, start, end, colour, thickness, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, end, round((0.5 * thickness + 0.7) * 2**_SHIFT), colour, -1, cv2.LINE_AA, _SHIFT)


def _draw_errors(canvas: np.ndarray, screen: _Screen, poses: np.ndarray, truth: np.ndarray, thickness: int) -> None:
    goal = fixed_point(screen(truth)[0])
    for pose in poses:
        points = fixed_point(screen(pose)[0])
        for joint in np.flatnonzero(np.isfinite(pose).all(-1) & np.isfinite(truth).all(-1)):
            if goal[joint] != points[joint]:  # OpenCV draws a dot for a line of no length
                cv2.line(canvas, goal[joint], points[joint], ERROR, thickness, cv2.LINE_AA, _SHIFT)
