"""Which joints of a BVH hierarchy are ours: tables for the versions people pass round, and a file format for others.

A rule is one joint or the mean of several, and for some an offset in the first joint's own frame. Equal names do not
mean equal points, so each table states its unit and was checked against the same motion in another format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.data.mocap.hierarchy import Hierarchy
from selfsup3d.errors import InputError
from selfsup3d.io.json_yaml import parse_yaml
from selfsup3d.structures.skeleton import H36M_17, joint_index

__all__ = ["TABLES", "JointTable", "find_table", "load_table"]

_AXES = ("y", "z", "auto")
_LEG = 0.85  # metres of thigh and shin of the body that unknown units are scaled to


@dataclass(frozen=True)
class JointTable:
    """Rules that bring a hierarchy to our joints.

    Attributes:
        name: of the version.
        joints: our joint -> joints of the file to average.
        offsets: our joint -> (x, y, z) metres, added in the frame of its (first) file joint.
        unit: metres of one file unit; None = scaled so that thigh and shin measure 0.85 m together.
        up: the file's up axis: "y", "z" or "auto".
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
            like = hierarchy.offsets[place[bone]]
            length = float(np.linalg.norm(like))
            offsets[place[child]] = offsets[place[child]] + [like[0], length, self.lean * length]
        for child, factor in self.along.items():
            offsets[place[child]] = offsets[place[child]] * factor
        return replace(hierarchy, offsets=offsets)

    def convert(
        self,
        names: Sequence[str],
        positions: np.ndarray,
        rotations: np.ndarray,
        unit: float | None = None,
        source: str = "hierarchy",
    ) -> np.ndarray:
        """Our joints (T, 17, 3) in metres, the file's axes, pelvis in the middle of the hips.

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
        return joints

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


def find_table(names: Sequence[str], source: str) -> JointTable:
    """The first known table all of whose joints are there.

    Raises:
        InputError: none fits; the message lists the file's joints and how to give a table.
    """
    for table in TABLES.values():
        if table.needed.union(table.telling) <= set(names):
            return table
    raise InputError(
        f"{source}: no known table fits its joints ({', '.join(n for n in names if not n.endswith('_end'))}). Give one: "
        "a YAML file `joints: {pelvis: [Hips], right_hip: [RightUpLeg], ...}` naming all 17 of "
        f"{', '.join(H36M_17.joint_names)}, with `unit:` (metres) and `up:` (y or z)"
    )


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
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
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

OWN = JointTable(  # what `export.bvh` writes
    "selfsup3d", {name: (name,) for name in H36M_17.joint_names}, unit=0.01, up="y", telling=("neck_base",)
)

TABLES: dict[str, JointTable] = {table.name: table for table in (OWN, CGSPEED, DAZ, BIPED)}
"""Known versions, the most particular first."""
