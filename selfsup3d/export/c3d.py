"""C3D by the c3d library: markers in millimetres, x right, y up, z towards the viewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.io.files import atomic_path
from selfsup3d.structures.skeleton import H36M_17

__all__ = ["write_c3d"]


def write_c3d(path: str | Path, joints: np.ndarray, fps: float, seen: np.ndarray | None = None) -> None:
    """Write markers.

    Args:
        path: of the file. joints: (T, 17, 3) metres, y up. fps: frames per second.
        seen: (T,) where False, the markers are marked as absent; None = all.

    Raises:
        InputError: the c3d library is not installed.
    """
    try:
        import c3d
    except ImportError:
        raise InputError("--c3d needs the c3d library: pip install -e '.[datasets]'") from None
    writer = c3d.Writer(point_rate=fps, point_scale=-1.0)  # below 0: floats are stored
    writer.set_point_labels([name[:32].ljust(32) for name in H36M_17.joint_names])
    writer.set_screen_axis("+X", "+Y")
    group = writer.get("POINT")
    group.add_str("UNITS", "", "mm")
    for t, pose in enumerate(1000.0 * np.asarray(joints, np.float64)):
        absent = seen is not None and not seen[t]
        points = np.zeros((len(pose), 5))
        points[:, :3], points[:, 3] = (0.0, -1.0) if absent else (pose, 0.0)
        writer.add_frames([(points, np.zeros((0, 0)))])
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        writer.write(file)
