"""BVH: a hierarchy with offsets and channels, then numbers, one row of channels a frame.

Read by words, not by lines: braces may share a line, rows may be wrapped. Rotations are applied in the order of their
channels, R = R_first R_second R_third, in degrees. A position channel of any joint replaces that coordinate of its
OFFSET, as Blender and MotionBuilder have it. Which joints are ours is told by a table (`joint_tables`), by names or
from a file. y is up unless the table or the rest pose says otherwise; a pose of the motion never decides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selfsup3d.data.mocap.hierarchy import Hierarchy, euler_to_matrix
from selfsup3d.data.mocap.joint_tables import JointTable, find_table, rest_up
from selfsup3d.data.mocap.recording import HEAD_LENGTH, Recording, to_y_up, with_head
from selfsup3d.errors import InputError
from selfsup3d.io.limits import read_within

__all__ = ["Bvh", "read_bvh", "read_bvh_recording"]


@dataclass(frozen=True)
class Bvh:
    """A BVH file.

    Attributes:
        hierarchy: joints and end sites.
        channels: of each joint, such as ("Xposition", ..., "Zrotation"); () for end sites.
        frames: (T, C) channel values in file order.
        fps: frames per second.
        notes: defects of the file that were mended.
    """

    hierarchy: Hierarchy
    channels: tuple[tuple[str, ...], ...]
    frames: np.ndarray
    fps: float
    notes: tuple[str, ...] = ()

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

    def posed(self) -> Hierarchy:
        """The hierarchy with offsets (T, J, 3): those of each frame, where channels give positions."""
        offsets = np.tile(self.hierarchy.offsets, (len(self.frames), 1, 1))
        column = 0
        for joint, names in enumerate(self.channels):
            for name in names:
                if name.endswith("position"):
                    offsets[:, joint, "XYZ".index(name[0])] = self.frames[:, column]
                column += 1
        return replace(self.hierarchy, offsets=offsets)

    def joints(self) -> tuple[np.ndarray, np.ndarray]:
        """World positions (T, J, 3) and rotations (T, J, 3, 3) of all joints and end sites, file units and axes."""
        return self.posed().forward(self.rotations())


def read_bvh(path: str | Path, fps: float | None = None) -> Bvh:
    """Read a BVH file.

    Args:
        fps: true rate, where the file's is wrong or not there.

    Raises:
        InputError: absent, no hierarchy, no frame time, or frames that do not fit the channels. One row more or fewer
            than announced is noted, not refused.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    text = read_within(path).decode("utf-8-sig", errors="replace")
    try:
        parts = re.split(r"(?:^|(?<=\}))\s*MOTION\b", text, maxsplit=1, flags=re.MULTILINE | re.IGNORECASE)
        if len(parts) != 2:
            raise ValueError("it has no MOTION")
        hierarchy, channels = _parse_hierarchy(parts[0])
        frames, own_fps, notes = _parse_motion(parts[1], sum(len(c) for c in channels), fps)
    except (ValueError, IndexError, StopIteration) as error:
        raise InputError(f"{path}: not a readable BVH ({error or 'it ends early'})") from error
    return Bvh(hierarchy, channels, frames, fps or own_fps, notes)


_MOST_JOINTS = 2000
"""Of one skeleton: with every finger, muscle and helper the largest have some hundreds."""


def _parse_hierarchy(text: str) -> tuple[Hierarchy, tuple[tuple[str, ...], ...]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    open_joints: list[int] = []
    words = iter(re.findall(r"[{}]|[^\s{}]+", text))
    for word in words:
        keyword = word.upper()
        if keyword in ("ROOT", "JOINT", "END"):
            name = " ".join(_until_brace(words))
            if keyword == "ROOT" and names:
                raise ValueError("it has two roots: one person a file is read")
            if keyword != "ROOT" and not open_joints:
                raise ValueError(f"joint {name!r} hangs on nothing")
            if len(names) == _MOST_JOINTS:
                raise ValueError(f"it has more than {_MOST_JOINTS} joints")
            names.append(f"{names[open_joints[-1]]}_end" if keyword == "END" else name)
            parents.append(open_joints[-1] if open_joints else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append(())
            open_joints.append(len(names) - 1)
        elif keyword == "OFFSET":
            offsets[open_joints[-1]] = [_number(next(words)) for _ in range(3)]
        elif keyword == "CHANNELS":
            channels[open_joints[-1]] = tuple(_channel(next(words)) for _ in range(int(next(words))))
        elif keyword == "}":
            open_joints.pop()
        elif keyword != "HIERARCHY":
            raise ValueError(f"{word!r} in the hierarchy")
    if open_joints or not names:
        raise ValueError("its hierarchy is not closed")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"several joints are called {', '.join(repeated)}")
    return Hierarchy(tuple(names), tuple(parents), np.array(offsets)), tuple(channels)


def _until_brace(words: Iterator[str]) -> Iterator[str]:
    """The words of a name, up to the brace that opens its joint."""
    for word in words:
        if word == "{":
            return
        yield word
    raise ValueError("its hierarchy is not closed")


def _number(word: str) -> float:
    if re.fullmatch(r"-?\d+,\d+", word):
        raise ValueError(f"{word!r} has a decimal comma: write points")
    return float(word)


def _channel(word: str) -> str:
    """ "Xposition", "Zrotation" ... in the usual case."""
    name = word[0].upper() + word[1:].lower()
    if name[0] not in "XYZ" or name[1:] not in ("position", "rotation"):
        raise ValueError(f"channel {word!r}; expected Xposition, Zrotation ...")
    return name


def _parse_motion(text: str, width: int, fps: float | None) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Frames (T, width), their rate, and what was mended."""
    head = re.match(r"\s*Frames\s*:\s*(\d+)", text, flags=re.IGNORECASE)
    if head is None:
        raise ValueError("it has no `Frames:`")
    rest = text[head.end() :]
    time = re.match(r"\s*Frame\s*Time\s*:\s*(\S+)", rest, flags=re.IGNORECASE)
    if time is None and fps is None:
        raise ValueError("it has no `Frame Time:`; give its rate: --source-fps")
    interval = _number(time[1]) if time is not None else 0.0
    if fps is None and not 0 < interval < np.inf:
        raise ValueError(f"its `Frame Time` is {interval:g} s; give its rate: --source-fps")
    frames, notes = _rows(rest[time.end() :] if time else rest, width, int(head[1]))
    return frames, fps or 1.0 / interval, notes


def _rows(text: str, width: int, count: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers (T, width): by lines where the first line holds a row, else all words one after another."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    words = [word for line in lines for word in line]
    whole, left = divmod(len(words), max(width, 1))
    if width == 0 or whole == 0:
        raise ValueError(f"{len(words)} numbers for {width} channels a frame")
    if len(lines[0]) == width:  # then one line of another length would shift all that follow
        for number, line in enumerate(lines[:-1], 1):
            if len(line) != width:
                raise ValueError(f"row {number} has {len(line)} numbers, not {width}")
    elif left:
        raise ValueError(f"its {len(words)} numbers are no whole rows of {width} channels")
    if abs(whole - count) > 1:
        raise ValueError(f"it announces {count} frames of {width} channels, it has {whole}: is it cut off?")
    notes = [] if whole == count else [f"it announces {count} frames and has {whole}: all {whole} are kept"]
    if left:
        notes.append(f"its last row has {left} of {width} numbers and is left out")
    frames = np.array([_number(word) for word in words[: whole * width]]).reshape(whole, width)
    if not np.isfinite(frames).all():
        bad = int(np.flatnonzero(~np.isfinite(frames).all(1))[0])
        raise ValueError(f"frame {bad} has values that are not finite")
    return frames, tuple(notes)


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
        up: the axis that points up, of `choices.UP_AXES`; None = the table's, else y unless the rest pose stands
            along another axis.
        fps: true rate, where the file's is wrong (the daz versions of CMU's 60 Hz takes claim 120).
        skip_first: leave the first frame out, where it is a T-pose (the cgspeed and daz versions).

    Raises:
        InputError: as `read_bvh`, or no table fits.
    """
    path = Path(path)
    bvh = read_bvh(path, fps)
    table, hierarchy = find_table(bvh.hierarchy, str(path), table)
    up, reason = _up(hierarchy, table, up)
    posed = table.restored(replace(bvh.posed(), names=hierarchy.names), str(path))
    positions, rotations = posed.forward(bvh.rotations())
    joints, metres = table.convert(posed.names, positions, rotations, unit, str(path))
    joints, mended = with_head(to_y_up(joints, up)[int(skip_first) :])
    notes = [*bvh.notes]
    if mended:
        notes.append(f"its head ends in a site of no length: {HEAD_LENGTH:g} m are taken")
    whence = "given" if unit else "of the table" if table.unit else "legs scaled to 0.85 m"
    taken = f"table {table.name}, {up} up ({reason}), 1 unit = {metres:.4g} m ({whence})"
    return Recording(
        positions=joints.astype(np.float32),
        fps=bvh.fps,
        name=path.stem,
        subject=subject or path.stem,
        action=action,
        kind=f"{table.name}_bvh",
        taken=taken,
        notes=tuple(notes),
    )


def _up(hierarchy: Hierarchy, table: JointTable, given: str | None) -> tuple[str, str]:
    """The up axis and who says so."""
    if given is not None:
        return given, "given"
    if table.up != "auto":
        return table.up, "by the table"
    found = rest_up(hierarchy, table)
    return (found, "the rest pose stands so") if found else ("y", "assumed: the rest pose shows no standing person")
