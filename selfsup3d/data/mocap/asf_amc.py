"""ASF/AMC (Acclaim; the raw format of mocap.cs.cmu.edu): a skeleton file per subject, a motion file per take.

Conventions checked against mocap.cs.cmu.edu's data: a bone's `axis` gives its rest orientation C = Rz Ry Rx (for order
XYZ, applied right to left), a frame's angles give M the same way, and the bone's world orientation is
G = G_parent C M C^-1; its end lies at G (length * direction). One file unit is 0.0254 / length_unit metres
(`length 0.45` at CMU: inches scaled by 0.45).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selfsup3d.data.mocap.hierarchy import euler_to_matrix
from selfsup3d.data.mocap.recording import NO_RATE, Recording, to_y_up
from selfsup3d.errors import InputError
from selfsup3d.io.limits import read_within
from selfsup3d.structures.joint_formats import FOREIGN

__all__ = ["AsfSkeleton", "bone_ends", "read_amc", "read_asf", "read_asf_amc"]

_INCH = 0.0254


@dataclass(frozen=True)
class Bone:
    """A bone of an ASF file.

    Attributes:
        parent: name, "root" for the first.
        vector: (3,) direction times length, file units, in the world axes of the rest pose.
        rest: (3, 3) C of the module's docstring.
        dof: channels of a frame, in file order: "rx", "ry", "rz" (angles) or "l" (length).
    """

    parent: str
    vector: np.ndarray
    rest: np.ndarray
    dof: tuple[str, ...]


@dataclass(frozen=True)
class AsfSkeleton:
    """An ASF file.

    Attributes:
        bones: by name, parents before children.
        root_order: the root's channels in a frame: "tx" ... "rz".
        root_rest: (3, 3) rest orientation of the root.
        metres: of one file unit.
        degrees: angles are in degrees, else radians.
    """

    bones: Mapping[str, Bone]
    root_order: tuple[str, ...]
    root_rest: np.ndarray
    root_position: np.ndarray
    metres: float
    degrees: bool


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return read_within(path).decode("latin1").replace("\r\n", "\n").replace("\r", "\n")


def _sections(text: str) -> dict[str, str]:
    """Parts of an ASF file by their `:keyword`."""
    without_comments = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    parts = re.split(r"^\s*:(\w+)", without_comments, flags=re.MULTILINE)
    return {parts[i].lower(): parts[i + 1] for i in range(1, len(parts) - 1, 2)}


def _field(block: str, key: str) -> list[str]:
    found = re.search(rf"^\s*{key}\s+(.*)$", block, flags=re.MULTILINE | re.IGNORECASE)
    return found[1].split() if found else []


def _rest(numbers: list[str], order: str, unit: float) -> np.ndarray:
    """Rest orientation: "XYZ" rotates about x first, so x stands rightmost in the product."""
    angles = np.array([float(n) for n in numbers[:3]]) * unit
    return euler_to_matrix(angles[::-1], order.lower()[::-1])


def read_asf(path: str | Path) -> AsfSkeleton:
    """Read a skeleton file.

    Raises:
        InputError: absent, a part is missing, or bones that hang on nothing.
    """
    path = Path(path)
    sections = _sections(_text(path))
    missing = [key for key in ("units", "root", "bonedata", "hierarchy") if key not in sections]
    if missing:
        raise InputError(f"{path}: not an ASF skeleton: lacks {', '.join(':' + m for m in missing)}")
    try:
        return _parse_asf(sections)
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path}: damaged ASF skeleton ({error})") from error


def _parse_asf(sections: dict[str, str]) -> AsfSkeleton:
    degrees = (_field(sections["units"], "angle") or ["deg"])[0].lower().startswith("deg")
    unit = np.pi / 180.0 if degrees else 1.0
    length = float((_field(sections["units"], "length") or ["1"])[0])
    root = sections["root"]
    parents = _parents(sections["hierarchy"])
    blocks = re.findall(r"^\s*begin\s*$(.*?)^\s*end\s*$", sections["bonedata"], flags=re.MULTILINE | re.DOTALL)
    found: dict[str, Bone] = {}
    for block in blocks:
        name = _field(block, "name")[0]
        axis = _field(block, "axis")
        found[name] = Bone(
            parent=parents[name],
            vector=np.array([float(n) for n in _field(block, "direction")[:3]]) * float(_field(block, "length")[0]),
            rest=_rest(axis, axis[3], unit),
            dof=tuple(d.lower() for d in _field(block, "dof")),
        )
    ordered = {name: found[name] for name in parents if name in found}
    if not ordered:
        raise ValueError("it has no bones")
    return AsfSkeleton(
        bones=ordered,
        root_order=tuple(c.lower() for c in _field(root, "order")),
        root_rest=_rest(_field(root, "orientation") or ["0", "0", "0"], (_field(root, "axis") or ["XYZ"])[0], unit),
        root_position=np.array([float(n) for n in _field(root, "position") or ["0", "0", "0"]]),
        metres=_INCH / length,
        degrees=degrees,
    )


def _parents(hierarchy: str) -> dict[str, str]:
    """Child -> parent, parents first."""
    parents: dict[str, str] = {}
    for line in hierarchy.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] not in ("begin", "end"):
            if words[0] != "root" and words[0] not in parents:
                raise ValueError(f"bone {words[0]} has children but no parent")
            parents |= dict.fromkeys(words[1:], words[0])
    return parents


def read_amc(path: str | Path) -> tuple[dict[str, np.ndarray], bool | None]:
    """Channels by bone: name -> (T, channels), file units; and whether its header says degrees (None = nothing).

    Raises:
        InputError: absent, no frames, or a frame that lacks a bone the first has.
    """
    path = Path(path)
    frames: list[dict[str, list[float]]] = []
    degrees: bool | None = None
    try:
        for line in _text(path).splitlines():
            words = line.split("#")[0].split()
            if len(words) == 1 and words[0].isdigit():
                frames.append({})
            elif not frames and words and words[0].upper() in (":DEGREES", ":RADIANS"):
                degrees = words[0].upper() == ":DEGREES"
            elif frames and words:
                frames[-1][words[0]] = [float(w) for w in words[1:]]
        if not frames:
            raise ValueError("no frames")
        motion = {name: np.array([frame[name] for frame in frames]) for name in frames[0]}
        damaged = [name for name, values in motion.items() if not np.isfinite(values).all()]
        if damaged:
            raise ValueError(f"bone {damaged[0]} has numbers that are not finite")
        return motion, degrees
    except KeyError as error:
        raise InputError(f"{path}: a frame lacks bone {error}; the file is cut off or damaged") from error
    except ValueError as error:
        raise InputError(f"{path}: not an AMC motion ({error})") from error


def bone_ends(
    skeleton: AsfSkeleton, motion: Mapping[str, np.ndarray], degrees: bool | None = None
) -> dict[str, np.ndarray]:
    """World position of each bone's end in metres: name -> (T, 3); "root" is the root itself.

    Args:
        degrees: whether the motion's angles are in degrees; None = as the skeleton's.

    Raises:
        ValueError: a bone's channels do not fit the skeleton, or bones change their length.
    """
    degrees = skeleton.degrees if degrees is None else degrees
    strangers = sorted(set(motion) - set(skeleton.bones) - {"root"})
    if strangers:
        raise ValueError(f"it moves bones that the skeleton lacks: {', '.join(strangers)}")
    unit = np.pi / 180.0 if degrees else 1.0
    channels = motion["root"]
    moved = dict(zip(skeleton.root_order, channels.T, strict=True))
    count = len(channels)
    turn = [c for c in skeleton.root_order if c.startswith("r")]
    angles = np.stack([moved[c] for c in turn], -1) * unit  # (T, 3)
    frames = {"root": euler_to_matrix(angles[:, ::-1], [c[1] for c in turn][::-1]) @ skeleton.root_rest}
    ends = {"root": np.stack([moved[f"t{a}"] for a in "xyz"], -1) + skeleton.root_position}
    for name, bone in skeleton.bones.items():
        values = np.asarray(motion.get(name, np.zeros((count, 0))))
        if values.shape != (count, len(bone.dof)):
            raise ValueError(f"bone {name} has {values.shape[-1]} channels, the skeleton {len(bone.dof)}")
        turn = [d for d in bone.dof if d.startswith("r")]
        shifted = [k for k, d in enumerate(bone.dof) if not d.startswith("r")]
        if np.any(values[:, shifted]):
            raise ValueError(f"bone {name} changes its length or place ({', '.join(bone.dof)}), which is not read")
        angles = np.stack([values[:, bone.dof.index(d)] * unit for d in turn], -1) if turn else np.zeros((count, 0))
        local = bone.rest @ euler_to_matrix(angles[:, ::-1], [d[1] for d in turn][::-1]) @ bone.rest.T
        frames[name] = frames[bone.parent] @ local
        ends[name] = ends[bone.parent] + frames[name] @ bone.vector
    return {name: end * skeleton.metres for name, end in ends.items()}


def read_asf_amc(
    amc: str | Path,
    asf: str | Path | None = None,
    *,
    subject: str = "",
    action: str = "",
    fps: float | None = None,
    up: str | None = None,
    unit: float | None = None,
) -> Recording:
    """One take as 17 joints.

    Args:
        amc: motion file, such as `02_01.amc`.
        asf: skeleton file; None = the ASF beside it whose name the motion's starts with (`02.asf`).
        subject, action: text; an empty subject is "cmu" and the skeleton's number in three digits, where it is one.
        fps: the format does not say; None = 120, as at CMU, save for a few subjects at 60.
        up: the axis that points up; None = y, as at CMU.
        unit: metres of one file unit; None = by the skeleton's `length`.

    Raises:
        InputError: a file is absent or damaged, or the skeleton has other bones than CMU's.
    """
    amc = Path(amc)
    asf = Path(asf) if asf is not None else _beside(amc)
    skeleton, (motion, degrees) = read_asf(asf), read_amc(amc)
    if unit is not None:
        skeleton = replace(skeleton, metres=unit)
    table = FOREIGN["cmu_mocap"]
    absent = [name for name in table.joint_names if name != "root" and name not in skeleton.bones]
    if absent or "root" not in motion:
        raise InputError(
            f"{asf}: lacks the bones {', '.join(absent) or 'root'} of CMU's skeleton, so it cannot be mapped"
        )
    try:
        ends = bone_ends(skeleton, motion, degrees)
    except (ValueError, KeyError) as error:
        raise InputError(f"{amc}: does not belong to {asf.name}: {error}") from error
    joints, _ = table.convert(np.stack([ends[name] for name in table.joint_names], 1))
    stem = asf.stem
    subject = subject or (f"cmu{int(stem):03d}" if stem.isdigit() else stem)
    return Recording(
        positions=to_y_up(joints, up or "y").astype(np.float32),
        fps=fps or 120.0,
        name=amc.stem,
        subject=subject,
        action=action,
        kind="asf_amc",
        taken=f"{up or 'y'} up ({'given' if up else 'as at CMU'}), 1 unit = {skeleton.metres:.4g} m "
        f"({'given' if unit else '`length` of the ASF'})",
        notes=() if fps else (NO_RATE,),
    )


def _beside(amc: Path) -> Path:
    near = sorted(amc.parent.glob("*.asf"), key=lambda p: -len(p.stem))
    for candidate in near:
        if amc.stem.startswith(candidate.stem):
            return candidate
    raise InputError(f"{amc}: no skeleton beside it; expected {amc.stem.split('_')[0]}.asf, or give it")
