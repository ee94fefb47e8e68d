"""BVH: a hierarchy with offsets and channels, then one line of numbers a frame.

Rotations are applied in the order of their channels, R = R_first R_second R_third, in degrees. Root offset and position
channels add up. Which of its joints are ours is told by a table (`joint_tables`), by names or from a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfsup3d.data.mocap.hierarchy import Hierarchy, euler_to_matrix
from selfsup3d.data.mocap.joint_tables import JointTable, find_table
from selfsup3d.data.mocap.recording import Recording, to_y_up
from selfsup3d.errors import InputError

__all__ = ["Bvh", "read_bvh", "read_bvh_recording"]


@dataclass(frozen=True)
class Bvh:
    """A BVH file.

    Attributes:
        hierarchy: joints and end sites.
        channels: of each joint, such as ("Xposition", ..., "Zrotation"); () for end sites.
        frames: (T, C) channel values in file order.
        fps: frames per second.
    """

    hierarchy: Hierarchy
    channels: tuple[tuple[str, ...], ...]
    frames: np.ndarray
    fps: float

    def rotations(self) -> np.ndarray:
        """(T, J, 3, 3) of each joint against its parent."""
        result = np.tile(np.eye(3), (len(self.frames), len(self.hierarchy), 1, 1))
        start = 0
        for joint, names in enumerate(self.channels):
            turning = [(start + k, name[0].lower()) for k, name in enumerate(names) if name.endswith("rotation")]
            if turning:
                angles = np.deg2rad(self.frames[:, [column for column, _ in turning]])
                result[:, joint] = euler_to_matrix(angles, [axis for _, axis in turning])
            start += len(names)
        return result

    def translation(self) -> np.ndarray:
        """(T, 3) position channels of the root."""
        result = np.zeros((len(self.frames), 3))
        for column, name in enumerate(self.channels[0]):
            if name.endswith("position"):
                result[:, "XYZ".index(name[0])] = self.frames[:, column]
        return result


def read_bvh(path: str | Path) -> Bvh:
    """Read a BVH file.

    Raises:
        InputError: absent, no hierarchy, or frames that do not fit the channels.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    lines = path.read_text(encoding="latin1").splitlines()
    try:
        hierarchy, channels, first = _parse_hierarchy(lines)
        frames, fps = _parse_motion(lines[first:], sum(len(c) for c in channels))
    except (ValueError, IndexError, StopIteration) as error:
        raise InputError(f"{path}: not a readable BVH ({error or 'it ends early'})") from error
    return Bvh(hierarchy, channels, frames, fps)


def _parse_hierarchy(lines: list[str]) -> tuple[Hierarchy, tuple[tuple[str, ...], ...], int]:
    """Joints, channels, and the line after MOTION."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    open_joints: list[int] = []
    for number, line in enumerate(lines):
        words = line.split()
        if not words:
            continue
        keyword = words[0].upper()
        if keyword == "MOTION":
            if open_joints or not names:
                raise ValueError("its hierarchy is not closed")
            return Hierarchy(tuple(names), tuple(parents), np.array(offsets)), tuple(channels), number + 1
        if keyword in ("ROOT", "JOINT", "END"):
            if keyword == "ROOT" and names:
                raise ValueError("it has two roots: one person a file is read")
            names.append(f"{names[open_joints[-1]]}_end" if keyword == "END" else " ".join(words[1:]))
            parents.append(open_joints[-1] if open_joints else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append(())
            open_joints.append(len(names) - 1)
        elif keyword == "OFFSET":
            x, y, z = words[1:4]
            offsets[open_joints[-1]] = [float(x), float(y), float(z)]
        elif keyword == "CHANNELS":
            channels[open_joints[-1]] = tuple(_channel(word) for word in words[2 : 2 + int(words[1])])
        elif keyword == "}":
            open_joints.pop()
    raise ValueError("it has no MOTION")


def _channel(word: str) -> str:
    """ "Xposition", "Zrotation" ... in the usual case."""
    name = word[0].upper() + word[1:].lower()
    if name[0] not in "XYZ" or name[1:] not in ("position", "rotation"):
        raise ValueError(f"channel {word!r}; expected Xposition, Zrotation ...")
    return name


def _parse_motion(lines: list[str], width: int) -> tuple[np.ndarray, float]:
    rows = iter(line for line in lines if line.strip())
    count = int(next(rows).split(":")[1])
    interval = float(next(rows).split(":")[1])
    values = [np.array(row.split(), dtype=np.float64) for row in rows]
    if len(values) != count or any(len(row) != width for row in values):
        lengths = sorted({len(row) for row in values})
        raise ValueError(f"it announces {count} frames of {width} channels, it has {len(values)} of {lengths}")
    if count == 0 or not interval > 0:
        raise ValueError(f"{count} frames at intervals of {interval} s")
    frames = np.stack(values)
    if not np.isfinite(frames).all():
        raise ValueError("it has values that are not finite")
    return frames, 1.0 / interval


def read_bvh_recording(
    path: str | Path,
    table: JointTable | None = None,
    *,
    subject: str = "",
    action: str = "",
    unit: float | None = None,
    up: str | None = None,
    fps: float | None = None,
    skip_first: bool = False,
) -> Recording:
    """One BVH file as 17 joints.

    Args:
        table: which joints are ours; None = the known table whose names the file has.
        subject, action: text; an empty subject is the file's name.
        unit: metres of one file unit; None = the table's.
        up: "y", "z" or "auto"; None = the table's.
        fps: true rate, where the file's is wrong (the daz versions of CMU's 60 Hz takes claim 120).
        skip_first: leave the first frame out, where it is a T-pose (the cgspeed and daz versions).

    Raises:
        InputError: as `read_bvh`, or no table fits.
    """
    path = Path(path)
    bvh = read_bvh(path)
    table = table or find_table(bvh.hierarchy.names, str(path))
    hierarchy = table.restored(bvh.hierarchy, str(path))
    positions, rotations = hierarchy.forward(bvh.rotations(), bvh.translation())
    joints = table.convert(hierarchy.names, positions, rotations, unit, str(path))
    joints = to_y_up(joints, up or table.up)[int(skip_first) :].astype(np.float32)
    return Recording(joints, fps or bvh.fps, path.stem, subject or path.stem, action, f"{table.name}_bvh")
