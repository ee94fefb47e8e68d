"""Which joints of a BVH hierarchy are ours: tables for the versions people pass round, and a file format for others.

A rule is one joint or the mean of several, and for some an offset in the first joint's own frame. Equal names do not
mean equal points, so each table states its unit and was checked against the same motion in another format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.config.choices import UP_AXES
from selfsup3d.data.mocap.hierarchy import Hierarchy
from selfsup3d.errors import InputError
from selfsup3d.io.json_yaml import parse_yaml
from selfsup3d.io.limits import DOCUMENT, read_within
from selfsup3d.structures.skeleton import H36M_17, joint_index

__all__ = ["TABLES", "JointTable", "find_table", "load_table", "rest_up"]

_AXES = (*UP_AXES, "auto")
_LEG = 0.85  # metres of thigh and shin of the body that unknown units are scaled to


@dataclass(frozen=True)
class JointTable:
    """Rules that bring a hierarchy to our joints.

    Attributes:
        name: of the version.
        joints: our joint -> joints of the file to average.
        offsets: our joint -> (x, y, z) metres, added in the frame of its (first) file joint.
        unit: metres of one file unit; None = scaled so that thigh and shin measure 0.85 m together.
        up: the file's up axis, of `choices.UP_AXES`, or "auto": y unless the rest pose says otherwise.
        along: joint of the file -> factor by which its offset from its parent is lengthened (a dropped bone).
        inserted: joints of the file that were moved onto their parent when a bone was dropped: child -> the joint
            whose offset is put back: its length up the parent's y axis, its sideways x, and forwards (z) `lean` of the
            length.
        lean: of the bones that are put back.
        telling: further joints that tell this version from others with the same names.
    """

    name: str
    joints: Mapping[str, tuple[str, ...]]
    offsets: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    unit: float | None = None
    up: str = "auto"
    along: Mapping[str, float] = field(default_factory=dict)
    inserted: Mapping[str, str] = field(default_factory=dict)
    lean: float = 0.0
    telling: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for ours in (*self.joints, *self.offsets):
            joint_index(ours)
        absent = [ours for ours in H36M_17.joint_names if not self.joints.get(ours)]
        if absent:
            raise ValueError(f"joint table {self.name!r} has no rule for {', '.join(absent)}")
        if self.up not in _AXES or not (self.unit is None or 0 < self.unit < np.inf):
            raise ValueError(
                f"up is {self.up!r}, unit is {self.unit!r}; expected {', '.join(_AXES)} and metres above 0"
            )
        numbers = [self.lean, *self.along.values(), *(x for offset in self.offsets.values() for x in offset)]
        if not np.isfinite(numbers).all() or any(len(offset) != 3 for offset in self.offsets.values()):
            raise ValueError("offsets must be three numbers each, along and lean numbers, all of them finite")

    @property
    def needed(self) -> set[str]:
        """Names that the file must have."""
        return {name for names in self.joints.values() for name in names} | {
            *self.inserted,
            *self.inserted.values(),
            *self.along,
        }

    def restored(self, hierarchy: Hierarchy, source: str = "hierarchy") -> Hierarchy:
        """The hierarchy with the bones put back that this version dropped.

        Raises:
            InputError: it lacks a joint that these rules name.
        """
        self._check_names({*self.inserted, *self.inserted.values(), *self.along}, hierarchy.names, source)
        offsets = hierarchy.offsets.copy()
        place = {name: i for i, name in enumerate(hierarchy.names)}
        for child, bone in self.inserted.items():
            like = hierarchy.offsets[..., place[bone], :]
            length = np.linalg.norm(like, axis=-1)
            offsets[..., place[child], :] += np.stack([like[..., 0], length, self.lean * length], -1)
        for child, factor in self.along.items():
            offsets[..., place[child], :] *= factor
        return replace(hierarchy, offsets=offsets)

    def convert(
        self,
        names: Sequence[str],
        positions: np.ndarray,
        rotations: np.ndarray,
        unit: float | None = None,
        source: str = "hierarchy",
    ) -> tuple[np.ndarray, float]:
        """Our joints (T, 17, 3) in metres, the file's axes, pelvis in the middle of the hips; and metres of one unit.

        Args:
            names: (J,) of the file.
            positions: (T, J, 3) file units.
            rotations: (T, J, 3, 3) world rotation of each joint's frame.
            unit: metres of one file unit, in place of the table's.
            source: what an error calls the file.

        Raises:
            InputError: the file lacks a joint of the table, its legs have no length, or numbers overflow.
        """
        self._check_names(self.needed, names, source)
        place = {name: i for i, name in enumerate(names)}
        raw = np.stack([positions[:, [place[n] for n in self.joints[j]]].mean(1) for j in H36M_17.joint_names], 1)
        unit = unit or self.unit or _unit_from_legs(raw, source)
        joints = raw * unit
        for ours, offset in self.offsets.items():
            joints[:, joint_index(ours)] += rotations[:, place[self.joints[ours][0]]] @ np.array(offset)
        hips = [joint_index("left_hip"), joint_index("right_hip")]
        joints[:, joint_index("pelvis")] = joints[:, hips].mean(1)
        if not np.isfinite(joints).all():
            raise InputError(f"{source}: its joints are not finite by the numbers of table {self.name!r}")
        return joints, unit

    def _check_names(self, needed: set[str], names: Sequence[str], source: str) -> None:
        absent = sorted(needed - set(names))
        if absent:
            raise InputError(f"{source}: lacks the joints {', '.join(absent)} of table {self.name!r}")


def _unit_from_legs(joints: np.ndarray, source: str) -> float:
    """Metres of a unit, from the legs of (T, 17, 3) joints."""
    total = 0.0
    for side in ("left", "right"):
        hip, knee, ankle = (joints[0, joint_index(f"{side}_{part}")] for part in ("hip", "knee", "ankle"))
        total += 0.5 * float(np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle))
    if not total > 0:
        raise InputError(f"{source}: its legs have no length")
    return _LEG / total


def find_table(
    hierarchy: Hierarchy, source: str = "hierarchy", table: JointTable | None = None
) -> tuple[JointTable, Hierarchy]:
    """The first known table all of whose joints are there, and the hierarchy by the names that it knows.

    Names are tried as they stand, without what stands before a colon (`mixamorig7:Hips`), and without a prefix that all
    of them share (`Character1_Hips`).

    Args:
        table: the one to use; its names are looked for in the same way.

    Raises:
        InputError: none fits; the message lists the file's joints and how to give a table.
    """
    for names in _spellings(hierarchy.names):
        for known in TABLES.values() if table is None else (table,):
            if known.needed.union(known.telling) <= set(names):
                return known, replace(hierarchy, names=names)
    if table is not None:
        return table, hierarchy  # which says what is lacking
    joints = ", ".join(n for n in hierarchy.names if not n.endswith("_end"))
    raise InputError(
        f"{source}: no known table fits its joints ({joints}). Give one (--table FILE): "
        "a YAML file `joints: {pelvis: [Hips], right_hip: [RightUpLeg], ...}` naming all 17 of "
        f"{', '.join(H36M_17.joint_names)}, with `unit:` (metres) and `up:` (y or z)"
    )


def _spellings(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The names as they stand and without their namespaces, as long as they stay apart."""
    bare = tuple(re.split(r"[:|]", name)[-1] for name in names)
    prefixes = [bare[0][: found.end()] for found in re.finditer(r"[_. -]", bare[0])]
    shared = [prefix for prefix in prefixes if all(name.startswith(prefix) for name in bare)]
    short = tuple(name.removeprefix(shared[-1]) for name in bare) if shared else bare
    return [names, *(tried for tried in (bare, short) if len(set(tried)) == len(names) and all(tried))]


def rest_up(hierarchy: Hierarchy, table: JointTable) -> str | None:
    """The axis along which the rest pose (no joint turned) stands upright; None where it shows no standing person.

    Trunk and both legs must leave the hips along one axis, in opposite senses, to 37 degrees. Many files rest in no
    pose at all (every bone along its own x), and then nothing is told.
    """
    positions, _ = hierarchy.forward(np.broadcast_to(np.eye(3), (1, len(hierarchy), 3, 3)))
    place = {name: i for i, name in enumerate(hierarchy.names)}

    def at(ours: str) -> np.ndarray:
        return positions[0, [place[name] for name in table.joints[ours]]].mean(0)

    hips = 0.5 * (at("left_hip") + at("right_hip"))
    ways = [at("neck") - hips, *(at(f"{side}_hip") - at(f"{side}_ankle") for side in ("left", "right"))]
    lengths = [float(np.linalg.norm(way)) for way in ways]
    if not min(lengths) > 0:
        return None
    upright = np.min([way / length for way, length in zip(ways, lengths, strict=True)], axis=0)  # (3,) all along +axis
    downward = np.max([way / length for way, length in zip(ways, lengths, strict=True)], axis=0)
    for k, axis in enumerate("xyz"):
        if upright[k] > 0.8:
            return axis
        if downward[k] < -0.8:
            return f"-{axis}"
    return None


_TYPES: dict[str, Callable[[Any], Any]] = {
    "name": str,
    "offsets": lambda offsets: {ours: tuple(float(x) for x in offset) for ours, offset in offsets.items()},
    "unit": lambda unit: None if unit is None else float(unit),
    "along": lambda along: {str(joint): float(factor) for joint, factor in along.items()},
    "inserted": lambda inserted: {str(child): str(bone) for child, bone in inserted.items()},
    "lean": float,
    "telling": lambda telling: tuple(str(name) for name in telling),
}
"""What a file gives for a rule -> what `JointTable` holds."""


def load_table(path: str | Path) -> JointTable:
    """Read a table from YAML: `joints` (our joint -> name or names), and `unit`, `up`, `offsets`, `along` if needed.

    Raises:
        InputError: unreadable, unknown keys, or one of our joints without a rule.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a joint table (YAML)")
    try:
        values = parse_yaml(read_within(path, DOCUMENT).decode())
        values["joints"] = {j: (n,) if isinstance(n, str) else tuple(map(str, n)) for j, n in values["joints"].items()}
        for name, convert in _TYPES.items():
            if name in values:
                values[name] = convert(values[name])
        return JointTable(**{"name": path.stem, **values})
    except (OSError, AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = error.args[0] if error.args else error
        raise InputError(f"{path}: not a joint table ({reason}); it needs `joints:` with all 17 of ours") from error


def _sided(rows: Mapping[str, str], left: str, right: str) -> dict[str, tuple[str, ...]]:
    """Expand `{"hip": "{}UpLeg"}` to both sides."""
    return {
        f"{side}_{ours}": (pattern.format(word),)
        for side, word in (("left", left), ("right", right))
        for ours, pattern in rows.items()
    }


_BIPED = {
    "hip": "{}UpLeg",
    "knee": "{}Leg",
    "ankle": "{}Foot",
    "shoulder": "{}Arm",
    "elbow": "{}ForeArm",
    "wrist": "{}Hand",
}
_POSER = {"hip": "{}Thigh", "knee": "{}Shin", "ankle": "{}Foot", "shoulder": "{}Shldr", "elbow": "{}ForeArm"}

CGSPEED = JointTable(
    "cgspeed",
    {
        **_sided(_BIPED, "Left", "Right"),
        "pelvis": ("LeftUpLeg", "RightUpLeg"),
        "spine": ("Spine",),
        "neck": ("Neck",),
        "nose": ("Head",),
        "head": ("Head_end",),
    },
    unit=0.0254 / 0.45,
    up="y",
    # Made from CMU's AMC by B. Hahne; the conversion lost the `thorax` bone and the `wrist` bones (half as long as the
    # forearm's first part). In four ASF skeletons (02, 09, 16, 127) the thorax is as long as Spine1's bone to 2.6 mm,
    # leans sideways as that does to 1.2 mm, and forwards by 0.4, 5.5, 4.0 and 1.9 % of its length: their mean is taken,
    # and the joint comes within 3.9 mm of its place (straight up: 6.7 mm).
    inserted={"Neck": "Spine1", "LeftShoulder": "Spine1", "RightShoulder": "Spine1"},
    lean=0.0295,
    along={"LeftHand": 1.5, "RightHand": 1.5},
    telling=("LHipJoint", "LeftFingerBase"),
)

DAZ = JointTable(
    "daz",
    {
        **_sided(_POSER | {"wrist": "{}Hand"}, "l", "r"),
        "pelvis": ("lThigh", "rThigh"),
        "spine": ("abdomen", "chest"),
        "neck": ("neck",),
        "nose": ("head",),
        "head": ("head",),
    },
    offsets={"nose": (0.0, 0.09, 0.01), "head": (0.0, 0.18, 0.02)},  # the figure's head ends in no joint
    unit=0.01,
    up="y",
)

BIPED = JointTable(  # Motion Builder's names, as in Rokoko's and many shops' files; the root is above the hips
    "biped",
    {
        **_sided(_BIPED, "Left", "Right"),
        "pelvis": ("LeftUpLeg", "RightUpLeg"),
        "spine": ("Spine2",),
        "neck": ("Neck",),
        "nose": ("Head",),
        "head": ("Head_end",),
    },
)

MIXAMO = replace(BIPED, name="mixamo", joints={**BIPED.joints, "head": ("HeadTop_End",)})

OWN = JointTable(  # what `export.bvh` writes
    "selfsup3d", {name: (name,) for name in H36M_17.joint_names}, unit=0.01, up="y", telling=("neck_base",)
)

TABLES: dict[str, JointTable] = {table.name: table for table in (OWN, CGSPEED, DAZ, MIXAMO, BIPED)}
"""Known versions, the most particular first."""
