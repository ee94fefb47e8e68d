"""C3D: points over time. CMU's files hold the joint centres of the fitted skeleton beside the markers.

Those points are named after the ASF bones ("LFE0": the end of the left femur, the knee) and agree with the AMC of the
same take to 0.2 mm (checked on 05_13). A file with markers only is read too, its joints estimated from pairs of markers
(CMU's marker set): 5 cm off on that take on average, 10 cm at the knees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.config.choices import UP_AXES
from selfsup3d.data.mocap.recording import Recording, to_y_up
from selfsup3d.errors import InputError
from selfsup3d.structures.skeleton import H36M_17, joint_index

__all__ = ["JOINT_CENTRES", "MARKERS", "C3dPoints", "read_c3d", "read_c3d_points"]

JOINT_CENTRES: dict[str, tuple[str, ...]] = {
    "pelvis": ("LHJ0", "RHJ0"),
    "right_hip": ("RHJ0",),
    "right_knee": ("RFE0",),
    "right_ankle": ("RTI0",),
    "left_hip": ("LHJ0",),
    "left_knee": ("LFE0",),
    "left_ankle": ("LTI0",),
    "spine": ("LBK0",),
    "neck": ("TRX0",),
    "nose": ("UNK0",),
    "head": ("HED0",),
    "left_shoulder": ("LCL0",),
    "left_elbow": ("LHU0",),
    "left_wrist": ("LWR0",),
    "right_shoulder": ("RCL0",),
    "right_elbow": ("RHU0",),
    "right_wrist": ("RWR0",),
}
"""Our joint -> points of the fitted skeleton."""

_WAIST = ("LFWT", "RFWT", "LBWT", "RBWT")
_CROWN = ("LFHD", "RFHD", "LBHD", "RBHD")
MARKERS: dict[str, tuple[str, ...]] = {
    "pelvis": _WAIST,  # replaced by the middle of the hips
    "right_hip": _WAIST,  # replaced, see `_hip_centres`
    "right_knee": ("RKNE",),
    "right_ankle": ("RANK",),
    "left_hip": _WAIST,
    "left_knee": ("LKNE",),
    "left_ankle": ("LANK",),
    "spine": (*_WAIST, *("T10", "STRN") * 2),
    "neck": (*("C7", "CLAV") * 2, "T10", "STRN"),
    "nose": (*_CROWN, *("C7", "CLAV") * 2),
    "head": _CROWN,
    "left_shoulder": ("LSHO",),
    "left_elbow": ("LELB",),
    "left_wrist": ("LWRA", "LWRB"),
    "right_shoulder": ("RSHO",),
    "right_elbow": ("RELB",),
    "right_wrist": ("RWRA", "RWRB"),
}
"""Our joint -> surface markers whose mean stands in for it where the file has no joint centres [ours]."""

_METRES = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1e-3),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 1e-2),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1.0),
    **dict.fromkeys(("in", "inch", "inches"), 0.0254),
    **dict.fromkeys(("ft", "foot", "feet"), 0.3048),
}


@dataclass(frozen=True)
class C3dPoints:
    """What a C3D file holds of points.

    Attributes:
        points: label (without the subject's prefix) -> (T, 3) file units, NaN where the point was not seen.
        rate: frames per second.
        units: POINT:UNITS, "" where the file says none.
        up: POINT:Y_SCREEN as an axis of `choices.UP_AXES`, "" where the file says none.
    """

    points: Mapping[str, np.ndarray]
    rate: float
    units: str = ""
    up: str = ""


def read_c3d_points(path: str | Path) -> C3dPoints:
    """Points, their rate, and what the file says of unit and axes.

    Raises:
        InputError: the package `c3d` is not installed, the file is absent or damaged, an axis is unknown, points of
            several people.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    reader_class = _reader_class(path)
    try:
        with path.open("rb") as handle:
            reader = reader_class(handle)
            labels = [*reader.point_labels, *_further_labels(reader)]
            frames = np.stack([points[:, :4] for _, points, _ in reader.read_frames(copy=True)])
            units, x_screen, up = (_text(reader, f"POINT:{name}") for name in ("UNITS", "X_SCREEN", "Y_SCREEN"))
            rate = float(reader.point_rate)
    except Exception as error:  # the package raises whatever a damaged header leads it to
        raise InputError(f"{path}: not a readable C3D file ({type(error).__name__}: {error})") from error
    units = units.rstrip(".")
    if len(frames) == 0 or not rate > 0:
        raise InputError(f"{path}: {len(frames)} frames at {rate:g} per second")
    up = up.removeprefix("+")
    if (up and up not in UP_AXES) or (up and up[-1] == x_screen[-1:]):
        raise InputError(
            f"{path}: POINT:X_SCREEN is {x_screen!r} and Y_SCREEN {up!r}; expected two axes such as +X, +Z"
        )
    frames[frames[..., 3] < 0] = np.nan
    names = [label.strip().split(":")[-1].upper() for label in labels][: frames.shape[1]]
    _refuse_several(labels, names, path)
    return C3dPoints({name: frames[:, i, :3] for i, name in enumerate(names)}, rate, units, up)


def _text(reader: Any, name: str) -> str:
    """A text parameter in small letters, "" where it is absent or empty."""
    parameter = reader.get(name)
    return "" if parameter is None else str(parameter.string_value).strip("\0 ").lower()


def _refuse_several(labels: Sequence[str], names: Sequence[str], path: Path) -> None:
    """Raise where two subjects have points of one name: they would be mixed into one person."""
    needed = {name for rules in (JOINT_CENTRES, MARKERS) for rule in rules.values() for name in rule}
    named = [name for name in names if name in needed]
    if len(set(named)) < len(named):
        people = sorted({label.strip().split(":")[0] for label in labels if ":" in label})
        twice = next(name for name in named if named.count(name) > 1)
        raise InputError(f"{path}: several points are called {twice} (subjects: {', '.join(people) or 'none named'})")


def _reader_class(path: Path) -> Any:
    try:
        import c3d
    except ImportError:
        raise InputError(f"{path}: reading C3D needs the package c3d: pip install -e '.[datasets]'") from None

    class Reader(c3d.Reader):  # type: ignore[misc]
        """CMU's headers contradict their own analog rate, which only points do not need."""

        def _check_metadata(self) -> None:
            return

    return Reader


def _further_labels(reader: Any) -> list[str]:
    """Labels beyond the 255 that one parameter holds: POINT:LABELS2, LABELS3 ..."""
    labels: list[str] = []
    for number in range(2, 10):
        parameter = reader.get(f"POINT:LABELS{number}")
        if parameter is None:
            break
        labels += list(parameter.string_array)
    return labels


def read_c3d(
    path: str | Path,
    *,
    subject: str = "",
    action: str = "",
    up: str | None = None,
    unit: float | None = None,
    fps: float | None = None,
) -> Recording:
    """One C3D file as 17 joints; frames in which a needed point was not seen are filled in linearly.

    Args:
        subject, action: text; an empty subject of a CMU name such as `05_13` is "cmu005".
        up: the axis that points up; None = POINT:Y_SCREEN, and z where the file says none.
        unit: metres of one unit; None = by POINT:UNITS, and millimetres where the file says none.
        fps: true rate; None = the file's.

    Raises:
        InputError: as `read_c3d_points`, or neither joint centres nor CMU's markers are in it.
    """
    path = Path(path)
    file = read_c3d_points(path)
    if unit is None and file.units and file.units not in _METRES:
        raise InputError(f"{path}: POINT:UNITS is {file.units!r}; expected mm, cm, m, in or ft; give --unit METRES")
    metres = unit or _METRES[file.units or "mm"]
    rules, kind = _rules(file.points, path)
    joints = np.stack([np.mean([file.points[n] for n in rules[j]], axis=0) for j in H36M_17.joint_names], 1) * metres
    if kind == "c3d_markers":
        for side, centre in _hip_centres(file.points).items():
            joints[:, joint_index(f"{side}_hip")] = centre * metres
    hidden = int((~np.isfinite(joints).all((1, 2))).sum())
    joints = _filled(joints, path)
    hips = [joint_index("left_hip"), joint_index("right_hip")]
    joints[:, joint_index("pelvis")] = joints[:, hips].mean(1)
    number = path.stem.split("_")[0]
    axis = up or file.up or "z"
    axis_from = "given" if up else "POINT:Y_SCREEN" if file.up else "assumed: no POINT:Y_SCREEN"
    unit_from = "given" if unit else "POINT:UNITS" if file.units else "assumed: no POINT:UNITS"
    return Recording(
        positions=to_y_up(joints, axis).astype(np.float32),
        fps=fps or file.rate,
        name=path.stem,
        subject=subject or (f"cmu{int(number):03d}" if number.isdigit() else path.stem),
        action=action,
        kind=kind,
        taken=f"{axis} up ({axis_from}), 1 unit = {metres:.4g} m ({unit_from})",
        notes=(f"points hidden in {hidden} of {len(joints)} frames were filled in",) if hidden else (),
    )


def _hip_centres(points: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hip joints from the four waist markers: in units of the distance between the front two, 0.19 behind their
    middle, 0.30 below and 0.36 to each side (Bell, Pedersen & Brand 1990)."""
    front, back = 0.5 * (points["LFWT"] + points["RFWT"]), 0.5 * (points["LBWT"] + points["RBWT"])
    across = points["LFWT"] - points["RFWT"]
    width = np.linalg.norm(across, axis=-1, keepdims=True)
    left = across / width
    ahead = front - back
    ahead = ahead - (ahead * left).sum(-1, keepdims=True) * left
    ahead = ahead / np.linalg.norm(ahead, axis=-1, keepdims=True)
    middle = front - width * (0.19 * ahead + 0.30 * np.cross(ahead, left))
    return {"left": middle + 0.36 * across, "right": middle - 0.36 * across}


def _rules(points: Mapping[str, np.ndarray], path: Path) -> tuple[dict[str, tuple[str, ...]], str]:
    for rules, kind in ((JOINT_CENTRES, "c3d"), (MARKERS, "c3d_markers")):
        if {name for names in rules.values() for name in names} <= set(points):
            return rules, kind
    absent = sorted({name for names in MARKERS.values() for name in names} - set(points))
    raise InputError(
        f"{path}: lacks the markers {', '.join(absent)} of CMU's set (and the points of a fitted skeleton)"
    )


def _filled(joints: np.ndarray, path: Path) -> np.ndarray:
    """Gaps of (T, 17, 3) closed linearly in time."""
    seen = np.isfinite(joints).all(-1)
    if seen.any(0).all():
        times = np.arange(len(joints))
        for joint in np.flatnonzero(~seen.all(0)):
            known = seen[:, joint]
            for axis in range(3):
                joints[:, joint, axis] = np.interp(times, times[known], joints[known, joint, axis])
        return joints
    absent = [H36M_17.joint_names[j] for j in np.flatnonzero(~seen.any(0))]
    raise InputError(f"{path}: the points of {', '.join(absent)} are seen in no frame")
