"""TRC (OpenSim, Motion Analysis): marker positions as text. Millimetres, x right, y up, z towards the viewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selfsup3d.io.files import write_text
from selfsup3d.structures.skeleton import H36M_17

__all__ = ["write_trc"]


def write_trc(
    path: str | Path, joints: np.ndarray, fps: float, seen: np.ndarray | None = None, start: float = 0.0
) -> None:
    """Write markers.

    Args:
        path: of the file. joints: (T, 17, 3) metres, y up. fps: frames per second.
        seen: (T,) where False, the row is left blank; None = all. start: seconds of the first row.
    """
    count, names = len(joints), H36M_17.joint_names
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{Path(path).name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{fps:.6g}\t{fps:.6g}\t{count}\t{len(names)}\tmm\t{fps:.6g}\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"X{k}\tY{k}\tZ{k}" for k in range(1, len(names) + 1)),
        "",
    ]
    for t, pose in enumerate(1000.0 * np.asarray(joints, np.float64)):
        blank = seen is not None and not seen[t]
        values = [""] * (3 * len(names)) if blank else [f"{v:.3f}" for v in pose.reshape(-1)]
        lines.append("\t".join([str(t + 1), f"{start + t / fps:.6f}", *values]))
    write_text(path, "\n".join(lines) + "\n")
