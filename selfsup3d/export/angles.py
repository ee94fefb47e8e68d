"""Joint angles that people who look at movement read, in degrees, as CSV with a plot beside it.

17 points do not show how a limb turns about itself, so rotations about a limb's own axis are absent. Of three points:
knee and elbow flexion (0 = straight). Of a limb against the trunk (its frame: the hips' or shoulders' line, and pelvis to
neck): flexion in the trunk's sagittal plane (forwards is positive) and abduction out of it (away from the body is
positive). Trunk: lean against the vertical, forwards and to the left.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selfsup3d.io.files import write_text
from selfsup3d.structures.skeleton import joint_index
from selfsup3d.viz.charts import left_right_panels
from selfsup3d.viz.sheets import write_png

__all__ = ["joint_angles", "write_angles"]


def joint_angles(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> (T,) degrees of joints (T, 17, 3), y up, any unit and place."""
    p = {name: joints[:, joint_index(name)] for name in _USED}
    up = _unit(p["neck"] - p["pelvis"])
    angles: dict[str, np.ndarray] = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for joint, (start, middle, end) in (
            ("knee_flexion", ("hip", "knee", "ankle")),
            ("elbow_flexion", ("shoulder", "elbow", "wrist")),
        ):
            a, b = (p[f"{side}_{n}"] for n in (start, middle))
            angles[f"{side}_{joint}"] = _between(b - a, p[f"{side}_{end}"] - b)
        for joint, start, end, line in (
            ("hip", "hip", "knee", ("left_hip", "right_hip")),
            ("shoulder", "shoulder", "elbow", ("left_shoulder", "right_shoulder")),
        ):
            left = p[line[0]] - p[line[1]]
            left = _unit(left - (left * up).sum(-1, keepdims=True) * up)
            ahead = np.cross(left, up)
            limb = _unit(p[f"{side}_{end}"] - p[f"{side}_{start}"])
            forwards, aside, down = ((limb * axis).sum(-1) for axis in (ahead, sign * left, -up))
            angles[f"{side}_{joint}_flexion"] = np.rad2deg(np.arctan2(forwards, down))
            angles[f"{side}_{joint}_abduction"] = np.rad2deg(np.arcsin(np.clip(aside, -1.0, 1.0)))
    left = p["left_hip"] - p["right_hip"]
    left = _unit(left * [1.0, 0.0, 1.0])
    ahead = np.cross(left, [0.0, 1.0, 0.0])
    angles["trunk_lean_forwards"] = np.rad2deg(np.arctan2((up * ahead).sum(-1), up[:, 1]))
    angles["trunk_lean_left"] = np.rad2deg(np.arctan2((up * left).sum(-1), up[:, 1]))
    return angles


_USED = ("pelvis", "neck", *(f"{s}_{j}" for s in ("left", "right") for j in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")))  # fmt: skip


def write_angles(
    path: str | Path, joints: np.ndarray, fps: float, seen: np.ndarray | None = None, start: float = 0.0
) -> Path:
    """Write a CSV with a column an angle, and a PNG with a panel an angle; arguments as `trc.write_trc`.

    Returns:
        the plot's path: the CSV's, ending in .png.
    """
    angles = joint_angles(np.asarray(joints, np.float64))
    lines = ["time," + ",".join(angles)]
    for t in range(len(joints)):
        blank = seen is not None and not seen[t]
        values = ["" if blank else f"{column[t]:.3f}" for column in angles.values()]
        lines.append(",".join([f"{start + t / fps:.6f}", *values]))
    write_text(path, "\n".join(lines) + "\n")
    times = start + np.arange(len(joints)) / fps
    shown = {name: column if seen is None else np.where(seen, column, np.nan) for name, column in angles.items()}
    plot = Path(path).with_suffix(".png")
    write_png(plot, left_right_panels(times, shown, unit="degrees"))
    return plot


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(T,) degrees between directions; exact near 0 and 180."""
    a, b = _unit(a), _unit(b)
    return np.rad2deg(2.0 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))
