"""Exponential-map text: the CMU takes as short-term motion prediction passes them round (117 numbers a line).

Three numbers of root position, then one exponential map for each of the 38 joints and end sites of the cgspeed BVH, in
its order. Checked against CMU 02_01, whose BVH is at hand: a map holds the *transposed* rotation (that code multiplies
row vectors), and the root's was composed in the order z, x, y from angles whose order is z, y, x; both are undone here,
after which text and BVH agree to 1e-6 m. The text holds no bone lengths: they come from a BVH of the same person, or
are those of CMU subject 02.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from selfsup3d.data.mocap.bvh import read_bvh
from selfsup3d.data.mocap.hierarchy import Hierarchy, euler_to_matrix
from selfsup3d.data.mocap.joint_tables import CGSPEED
from selfsup3d.data.mocap.recording import NO_RATE, Recording, to_y_up
from selfsup3d.errors import InputError
from selfsup3d.geometry.rotation import axis_angle_to_matrix
from selfsup3d.io.limits import read_within

__all__ = ["default_hierarchy", "read_expmap"]


def read_expmap(
    path: str | Path,
    skeleton: str | Path | None = None,
    *,
    subject: str = "",
    action: str = "",
    fps: float | None = None,
    up: str | None = None,
    unit: float | None = None,
) -> Recording:
    """One text file as 17 joints.

    Args:
        path: comma- or space-separated, 117 columns.
        skeleton: a cgspeed BVH whose bone lengths to use; None = CMU subject 02's.
        subject, action: text; an empty subject is the file's name.
        fps: the format does not say; None = 120, as at CMU.
        up: the axis that points up; None = y. unit: metres of one unit; None = CMU's.

    Raises:
        InputError: absent, not numbers, another number of columns, or a skeleton with other joints.
    """
    path = Path(path)
    hierarchy = default_hierarchy() if skeleton is None else read_bvh(skeleton).hierarchy
    if hierarchy.names != default_hierarchy().names:
        raise InputError(f"{skeleton}: not the skeleton of these texts: the cgspeed BVH of a CMU subject is needed")
    values = _table(path, 3 + 3 * len(hierarchy))
    maps = torch.from_numpy(values[:, 3:].reshape(len(values), len(hierarchy), 3))
    rotations = axis_angle_to_matrix(-maps).numpy()
    rotations[:, 0] = _with_order_zyx(rotations[:, 0])
    restored = CGSPEED.restored(hierarchy)
    positions, frames = restored.forward(rotations, values[:, :3])
    joints, metres = CGSPEED.convert(restored.names, positions, frames, unit, str(path))
    bones = "CMU subject 02's" if skeleton is None else Path(skeleton).name
    return Recording(
        positions=to_y_up(joints, up or "y").astype(np.float32),
        fps=fps or 120.0,
        name=path.stem,
        subject=subject or path.stem,
        action=action,
        kind="expmap_txt",
        taken=f"bone lengths {bones}, {up or 'y'} up, 1 unit = {metres:.4g} m ({'given' if unit else 'of CMU'})",
        notes=() if fps else (NO_RATE,),
    )


def _table(path: Path, width: int) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    rows: list[np.ndarray] = []
    for number, line in enumerate(read_within(path).decode("latin1").splitlines(), 1):
        if not line.strip():
            continue
        cells = line.replace(",", " ").split()
        try:
            row = np.array(cells if len(cells) == width else [], dtype=np.float64)
        except ValueError:
            raise InputError(f"{path}: line {number} holds something that is no number") from None
        if len(row) != width or not np.isfinite(row).all():
            raise InputError(f"{path}: line {number} has {len(cells)} columns; expected {width} finite numbers")
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: the file is empty")
    return np.stack(rows)


def _with_order_zyx(rotation: np.ndarray) -> np.ndarray:
    """Angles read from Rz Rx Ry (T, 3, 3), composed again as Rz Ry Rx."""
    x = np.arcsin(np.clip(rotation[:, 2, 1], -1.0, 1.0))
    y = np.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2])
    z = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    return euler_to_matrix(np.stack((z, y, x), -1), "zyx")


def default_hierarchy() -> Hierarchy:
    """The cgspeed skeleton of CMU subject 02 (mocap.cs.cmu.edu, NSF EIA-0196217), in its file units."""
    names = tuple(row[0] for row in _SUBJECT_02)
    parents = tuple(names.index(row[1]) if row[1] else -1 for row in _SUBJECT_02)
    return Hierarchy(names, parents, np.array([row[2] for row in _SUBJECT_02]))


_SUBJECT_02: tuple[tuple[str, str, tuple[float, float, float]], ...] = (
    ("Hips", "", (0, 0, 0)),
    ("LHipJoint", "Hips", (0, 0, 0)),
    ("LeftUpLeg", "LHipJoint", (1.65674, -1.80282, 0.62477)),
    ("LeftLeg", "LeftUpLeg", (2.5972, -7.13576, 0)),
    ("LeftFoot", "LeftLeg", (2.49236, -6.8477, 0)),
    ("LeftToeBase", "LeftFoot", (0.19704, -0.54136, 2.14581)),
    ("LeftToeBase_end", "LeftToeBase", (0, -0, 1.11249)),
    ("RHipJoint", "Hips", (0, 0, 0)),
    ("RightUpLeg", "RHipJoint", (-1.6107, -1.80282, 0.62476)),
    ("RightLeg", "RightUpLeg", (-2.59502, -7.12977, 0)),
    ("RightFoot", "RightLeg", (-2.4678, -6.78024, 0)),
    ("RightToeBase", "RightFoot", (-0.23024, -0.63258, 2.13368)),
    ("RightToeBase_end", "RightToeBase", (-0, -0, 1.11569)),
    ("LowerBack", "Hips", (0, 0, 0)),
    ("Spine", "LowerBack", (0.01961, 2.0545, -0.14112)),
    ("Spine1", "Spine", (0.01021, 2.06436, -0.05921)),
    ("Neck", "Spine1", (0, 0, 0)),
    ("Neck1", "Neck", (0.00713, 1.56711, 0.14968)),
    ("Head", "Neck1", (0.03429, 1.56041, -0.10006)),
    ("Head_end", "Head", (0.01305, 1.6256, -0.05265)),
    ("LeftShoulder", "Spine1", (0, 0, 0)),
    ("LeftArm", "LeftShoulder", (3.54205, 0.90436, -0.17364)),
    ("LeftForeArm", "LeftArm", (4.86513, -0, -0)),
    ("LeftHand", "LeftForeArm", (3.35554, -0, 0)),
    ("LeftFingerBase", "LeftHand", (0, 0, 0)),
    ("LeftHandIndex1", "LeftFingerBase", (0.66117, -0, 0)),
    ("LeftHandIndex1_end", "LeftHandIndex1", (0.53306, -0, 0)),
    ("LThumb", "LeftHand", (0, 0, 0)),
    ("LThumb_end", "LThumb", (0.5412, -0, 0.5412)),
    ("RightShoulder", "Spine1", (0, 0, 0)),
    ("RightArm", "RightShoulder", (-3.49802, 0.75994, -0.32616)),
    ("RightForeArm", "RightArm", (-5.02649, -0, 0)),
    ("RightHand", "RightForeArm", (-3.36431, -0, 0)),
    ("RightFingerBase", "RightHand", (0, 0, 0)),
    ("RightHandIndex1", "RightFingerBase", (-0.73041, -0, 0)),
    ("RightHandIndex1_end", "RightHandIndex1", (-0.58887, -0, 0)),
    ("RThumb", "RightHand", (0, 0, 0)),
    ("RThumb_end", "RThumb", (-0.59786, -0, 0.59786)),
)
