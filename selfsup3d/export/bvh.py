"""BVH: a skeleton's rest pose and, for each frame, the root's place and every joint's rotation.

Centimetres, y up, a T-pose at rest; rotations in the order Z X Y, degrees, R = R_z R_x R_y. How joints and bones are
arranged, and the rule for the twist that 17 points do not show, stand in `export.rig`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selfsup3d.export.rig import RigMotion, fit_rig
from selfsup3d.io.files import write_text

__all__ = ["euler_zxy", "write_bvh"]

_SCALE = 100.0  # centimetres per metre: what most programs take a BVH's unit for
_ORDER = "Zrotation Xrotation Yrotation"


def write_bvh(path: str | Path, joints: np.ndarray, fps: float) -> None:
    """Write a motion.

    Args:
        path: of the file. joints: (T, 17, 3) metres, camera axes. fps: frames per second.

    Raises:
        InputError: see `rig.fit_rig`.
    """
    motion = fit_rig(joints, fps)
    order: list[int] = []
    lines = ["HIERARCHY", *_hierarchy(motion, 0, 0, order)]
    angles = np.rad2deg(euler_zxy(motion.rotations))  # (T, K, 3)
    columns = np.concatenate([motion.translation * _SCALE, angles[:, order].reshape(len(motion), -1)], axis=1)
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1.0 / motion.fps:.8f}"]
    lines += [" ".join(f"{value:.5f}" for value in row) for row in columns]
    write_text(path, "\n".join(lines) + "\n")


def _hierarchy(motion: RigMotion, index: int, depth: int, order: list[int]) -> list[str]:
    """The lines of a joint and all below it; `order` collects the joints that have channels, as they stand."""
    node = motion.nodes[index]
    below = [k for k, other in enumerate(motion.nodes) if other.parent == index]
    tab, offset = "\t" * depth, " ".join(f"{v * _SCALE:.6f}" for v in motion.offsets[index])
    if not below:
        return [f"{tab}JOINT {node.name}", f"{tab}{{", f"{tab}\tOFFSET {offset}", f"{tab}\tCHANNELS 3 {_ORDER}",
                *_end(order, index, tab), f"{tab}}}"]  # fmt: skip
    order.append(index)
    kind, channels = ("ROOT", f"6 Xposition Yposition Zposition {_ORDER}") if depth == 0 else ("JOINT", f"3 {_ORDER}")
    lines = [f"{tab}{kind} {node.name}", f"{tab}{{", f"{tab}\tOFFSET {offset}", f"{tab}\tCHANNELS {channels}"]
    for child in below:
        lines += _hierarchy(motion, child, depth + 1, order)
    return [*lines, f"{tab}}}"]


def _end(order: list[int], index: int, tab: str) -> list[str]:
    """A leaf keeps its name as a joint that never turns; readers want an end site below it."""
    order.append(index)
    return [f"{tab}\tEnd Site", f"{tab}\t{{", f"{tab}\t\tOFFSET 0.000000 1.000000 0.000000", f"{tab}\t}}"]


def euler_zxy(rotations: np.ndarray) -> np.ndarray:
    """(..., 3) angles z, x, y in radians with R = R_z R_x R_y; at x = +-90 degrees y is chosen 0."""
    r = rotations
    x = np.arcsin(np.clip(r[..., 2, 1], -1.0, 1.0))
    locked = np.abs(r[..., 2, 1]) > 1.0 - 1e-12
    z = np.where(locked, np.arctan2(r[..., 1, 0], r[..., 0, 0]), np.arctan2(-r[..., 0, 1], r[..., 1, 1]))
    y = np.where(locked, 0.0, np.arctan2(-r[..., 2, 0], r[..., 2, 2]))
    return np.stack([z, x, y], axis=-1)
