"""C3D: points over time. CMU's files hold the joint centres of the fitted skeleton beside the markers.

Those points are named after the ASF bones ("LFE0": the end of the left femur, the knee) and agree with the AMC of the
same take to 0.2 mm (checked on 05_13). A file with markers only is read too, its joints estimated from pairs of markers
(CMU's marker set): 5 cm off on that take on average, 10 cm at the knees.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.data.mocap.recording import Recording, to_y_up
from selfsup3d.errors import InputError
from selfsup3d.structures.skeleton import H36M_17, joint_index

__all__ = ["JOINT_CENTRES", "MARKERS", "read_c3d", "read_c3d_points"]

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

_METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "in": 0.0254}


def read_c3d_points(path: str | Path) -> tuple[dict[str, np.ndarray], float, float]:
    """Points by label (without the subject's prefix), their rate, and metres per unit.

    Returns:
        label -> (T, 3) file units, NaN where the point was not seen; frames per second; metres of one unit.

    Raises:
        InputError: the package `c3d` is not installed, the file is absent or damaged.
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
            units = (reader.get("POINT:UNITS").string_value or "mm").strip().lower()
            rate = float(reader.point_rate)
    except Exception as error:  # the package raises whatever a damaged header leads it to
        raise InputError(f"{path}: not a readable C3D file ({type(error).__name__}: {error})") from error
    if units not in _METRES or len(frames) == 0 or not rate > 0:
        raise InputError(f"{path}: {len(frames)} frames at {rate} per second in units {units!r}; expected mm, cm or m")
    frames[frames[..., 3] < 0] = np.nan
    names = [label.strip().split(":")[-1].upper() for label in labels]
    return {name: frames[:, i, :3] for i, name in enumerate(names[: frames.shape[1]])}, rate, _METRES[units]


def _reader_class(path: Path) -> Any:
    try:
        import c3d
    except ImportError:
        raise InputError(f"{path}: reading C3D needs the package c3d: pip install 'selfsup3d[datasets]'") from None

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


def read_c3d(path: str | Path, *, subject: str = "", action: str = "", up: str = "z") -> Recording:
    """One C3D file as 17 joints; frames in which a needed point was not seen are filled in linearly.

    Args:
        subject, action: text; an empty subject of a CMU name such as `05_13` is "cmu005".
        up: the file's up axis, "y" or "z".

    Raises:
        InputError: as `read_c3d_points`, or neither joint centres nor CMU's markers are in it.
    """
    path = Path(path)
    points, rate, metres = read_c3d_points(path)
    rules, kind = _rules(points, path)
    joints = np.stack([np.mean([points[n] for n in rules[j]], axis=0) for j in H36M_17.joint_names], 1) * metres
    if kind == "c3d_markers":
        for side, centre in _hip_centres(points).items():
            joints[:, joint_index(f"{side}_hip")] = centre * metres
    joints = _filled(joints, path)
    hips = [joint_index("left_hip"), joint_index("right_hip")]
    joints[:, joint_index("pelvis")] = joints[:, hips].mean(1)
    number = path.stem.split("_")[0]
    subject = subject or (f"cmu{int(number):03d}" if number.isdigit() else path.stem)
    return Recording(to_y_up(joints, up).astype(np.float32), rate, path.stem, subject, action, kind)


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
