"""A motion put onto the floor: gravity from standing legs, feet locked while they carry, y up, facing +z [ours].

A single camera sees neither gravity nor the floor. Upright stands for the mean direction from the ankles to the neck
over the frames with straight legs; without such frames the camera is taken for level. The lower foot carries the body:
while it does, it is held at one place and the body moves over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfsup3d.structures.skeleton import joint_index

__all__ = ["Grounded", "put_on_ground"]

_ANKLE = 0.08  # metres of an ankle over the floor
_STRAIGHT = 0.94  # hip to ankle over thigh and shank
_SWITCH = 0.03  # metres that the other foot must be lower to carry
_TILT = 40.0  # degrees that a camera is believed to be tilted
_SMOOTH = 0.1  # seconds over which heights and speeds are averaged
_FAST = 1.2  # metres a second at which a foot is in the air, even if it is the lower one


@dataclass(frozen=True)
class Grounded:
    """A motion on the floor.

    Attributes:
        joints: (T, 17, 3) metres, x right, y up with the floor at 0, facing +z in the first frame, which starts at the
            origin.
        slide: metres that a carrying foot moves from frame to frame, 95th percentile. before: the same without the
            locking.
        tilt: degrees by which the camera was found to look down (or up, below 0); None = taken for level.
    """

    joints: np.ndarray
    slide: float
    before: float
    tilt: float | None

    def report(self) -> str:
        """One line."""
        camera = "taken for level" if self.tilt is None else f"found tilted by {self.tilt:.0f} degrees"
        return (
            f"on the ground: y up, the first frame at the origin facing +z; the camera is {camera}; carrying feet slide "
            f"{1000 * self.slide:.0f} mm a frame at most (95th percentile; {1000 * self.before:.0f} before)"
        )


def put_on_ground(joints: np.ndarray, fps: float) -> Grounded:
    """Feet on the floor.

    Args:
        joints: (T, 17, 3) metres, camera axes, moving. fps: frames per second.
    """
    upright = np.asarray(joints, np.float64) * [1.0, -1.0, -1.0]  # y up, z towards the viewer
    up, tilt = _gravity(upright)
    upright = upright @ _to_y(up).T
    ankles = upright[:, [joint_index("left_ankle"), joint_index("right_ankle")]]
    foot = _carrying(ankles[..., 1])
    carried = ankles[np.arange(len(ankles)), foot]
    slow = _slow(ankles, foot, fps)
    shift = np.zeros_like(carried)
    for t in range(1, len(foot)):  # a foot stays where it came down; in the air the body moves on as it was seen
        shift[t] = shift[t - 1]
        if foot[t] == foot[t - 1] and slow[t]:
            shift[t] -= carried[t] - carried[t - 1]
    shift[:, 1] = _averaged(_ANKLE - carried[:, 1], max(round(_SMOOTH * fps), 0))
    moved = upright + shift[:, None]
    moved = moved @ _heading(moved[0]).T
    moved -= moved[:1, :1] * [1.0, 0.0, 1.0]
    low = np.percentile(moved[..., 1].min(1), 5)
    moved[..., 1] -= min(low - _ANKLE, 0.0)
    after = moved[:, [joint_index("left_ankle"), joint_index("right_ankle")]][np.arange(len(moved)), foot]
    return Grounded(moved, _slide(after, foot, slow), _slide(carried, foot, slow), tilt)


def _gravity(joints: np.ndarray) -> tuple[np.ndarray, float | None]:
    """(3,) unit upwards, and the camera's tilt in degrees where it is known."""
    level = np.array([0.0, 1.0, 0.0])
    straight = np.ones(len(joints), bool)
    for side in ("left", "right"):
        hip, knee, ankle = (joints[:, joint_index(f"{side}_{name}")] for name in ("hip", "knee", "ankle"))
        whole = np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(ankle - knee, axis=-1)
        straight &= np.linalg.norm(ankle - hip, axis=-1) > _STRAIGHT * np.maximum(whole, 1e-6)
    if straight.sum() < max(0.1 * len(joints), 1):
        return level, None
    feet = 0.5 * (joints[:, joint_index("left_ankle")] + joints[:, joint_index("right_ankle")])
    body = (joints[:, joint_index("neck")] - feet)[straight]
    up = np.median(body / np.maximum(np.linalg.norm(body, axis=-1, keepdims=True), 1e-6), axis=0)
    up /= max(float(np.linalg.norm(up)), 1e-6)
    if up[1] < np.cos(np.radians(_TILT)):
        return level, None
    return up, float(np.degrees(np.arctan2(up[2], up[1])))


def _to_y(up: np.ndarray) -> np.ndarray:
    """(3, 3) smallest rotation that brings `up` to +y."""
    axis = np.cross(up, [0.0, 1.0, 0.0])
    cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    rotation: np.ndarray = np.eye(3) + cross + cross @ cross / (1.0 + up[1])
    return rotation


def _heading(pose: np.ndarray) -> np.ndarray:
    """(3, 3) about y, after which the hips' line is along x: the person faces +z."""
    left = pose[joint_index("left_hip")] - pose[joint_index("right_hip")]
    angle = np.arctan2(left[2], left[0])
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _carrying(heights: np.ndarray) -> np.ndarray:
    """(T,) 0 = left, 1 = right: the lower foot of (T, 2) heights; a foot carries until the other is clearly lower."""
    foot = np.zeros(len(heights), int)
    now = int(heights[0].argmin())
    for t, pair in enumerate(heights):
        if pair[1 - now] < pair[now] - _SWITCH:
            now = 1 - now
        foot[t] = now
    return foot


def _slow(ankles: np.ndarray, foot: np.ndarray, fps: float) -> np.ndarray:
    """(T,) whether the lower foot moves as slowly as one that stands, noise of the camera's depth included."""
    reach = max(round(_SMOOTH * fps), 1)
    speeds = (
        np.linalg.norm(np.gradient(ankles, axis=0), axis=-1) * fps if len(ankles) > 1 else np.zeros(ankles.shape[:2])
    )
    mine = np.stack([_averaged(speeds[:, side], reach) for side in range(2)], axis=1)[np.arange(len(foot)), foot]
    slow: np.ndarray = mine < _FAST
    return slow


def _averaged(values: np.ndarray, reach: int) -> np.ndarray:
    """(T,) a weighted mean over 2 reach + 1 values, the ends repeated."""
    kernel = np.hanning(2 * reach + 3)[1:-1]
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def _slide(carried: np.ndarray, foot: np.ndarray, slow: np.ndarray) -> float:
    same = (np.diff(foot) == 0) & slow[1:]
    steps = np.linalg.norm(np.diff(carried[:, [0, 2]], axis=0), axis=-1)[same]
    return float(np.percentile(steps, 95)) if len(steps) else 0.0
