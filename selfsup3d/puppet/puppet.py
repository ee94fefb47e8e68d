"""The puppet: one table of body parts that the part maps, labels, drawings, renderers and IoU all read.

A part is a flat shape pinned to the skeleton between a start and an end point. Its canonical frame has the start at
(-1/2, 0), the end at (+1/2, 0) and the part's full width as the unit of y; its outline is the half-width `h(x)`.
The puppet is a prior of the method (one 2D puppet for all people), and is **ours**: the paper does not print its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from selfsup3d.structures.skeleton import H36M_17

__all__ = ["Part", "Puppet", "default_puppet"]

Profile = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Part:
    """One part of the puppet.

    Attributes:
        id: its index in the puppet, its channel in the part maps and its value in the labels.
        name: unique.
        start, end: points whose mean is the point at x = -1/2 and at x = +1/2. Two joints each make a part with a
            lateral extent of its own (the torso).
        profile: knots (x, h) of the half-width, x increasing, h > 0 in part widths and at most 1/2, concave, straight
            between knots; the part ends at the first and the last knot.
        width: full width in units of the torso length.
        partner: id of the mirror image; its own id on the mid-line.
        lateral, least_lateral: for parts with four anchors: the lateral extent is `lateral` times the mean projected
            distance of the two pairs, and at least `least_lateral` of what `width` gives (a body has depth in side
            view).
        colour: (r, g, b) in [0, 1] for drawings.
    """

    id: int
    name: str
    start: tuple[str, ...]
    end: tuple[str, ...]
    profile: Profile
    width: float
    partner: int
    colour: tuple[float, float, float]
    lateral: float = 1.0
    least_lateral: float = 0.45

    def __post_init__(self) -> None:
        x, h = np.array(self.profile).T
        if len(x) < 2 or (np.diff(x) <= 0).any() or (h <= 0).any() or (h > 0.5).any():
            raise ValueError(f"part {self.name!r}: profile knots need increasing x and 0 < h <= 1/2")
        if (np.diff(np.diff(h) / np.diff(x)) > 1e-9).any():
            raise ValueError(f"part {self.name!r}: the profile must be concave (each part is one convex shape)")
        if self.width <= 0 or not 1 <= len(self.start) == len(self.end) <= 2:
            raise ValueError(f"part {self.name!r}: needs a positive width and one or two joints at either end")

    @property
    def anchors(self) -> tuple[str, ...]:
        """All points that place the part."""
        return self.start + self.end

    @property
    def four_anchors(self) -> bool:
        """Whether the joints give the lateral extent (the torso rule)."""
        return len(self.start) == 2

    def half_width(self, x: np.ndarray) -> np.ndarray:
        """h(x) in part widths, negative beyond the tips; any shape."""
        knots, heights = np.array(self.profile).T
        return np.interp(x, knots, heights, left=-1.0, right=-1.0)


@dataclass(frozen=True)
class Puppet:
    """A tuple of parts and the arrays that follow from it.

    Attributes:
        parts: P parts, `parts[p].id == p`.
        points: names of the points that parts are pinned to, in the order they are given in: the 17 joints, and any
            that are made of them (`parts.feet`).
        torso: the two joints whose distance is the torso length, the unit of the widths. Neck and pelvis: the one
            bone of the kinematic tree that no motion of a limb changes.
        fixed_torso: torso length over image height at which `width="fixed"` draws the table's widths.
    """

    parts: tuple[Part, ...]
    points: tuple[str, ...] = H36M_17.joint_names
    torso: tuple[str, str] = ("neck", "pelvis")
    fixed_torso: float = 0.25

    def __post_init__(self) -> None:
        if [part.id for part in self.parts] != list(range(len(self.parts))):
            raise ValueError("part ids must count 0, 1, 2, ... in order")
        if len({part.name for part in self.parts}) != len(self.parts):
            raise ValueError("part names repeat")
        for part in self.parts:
            other = self.parts[part.partner]
            if other.partner != part.id or (other.width, other.profile) != (part.width, part.profile):
                raise ValueError(f"part {part.name!r} and its partner {other.name!r} must mirror each other")

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, name: str) -> Part:
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(f"no part {name!r}; the parts are {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """P names in order of id."""
        return tuple(part.name for part in self.parts)

    @property
    def background(self) -> int:
        """The label of pixels that no part covers: P."""
        return len(self.parts)

    @cached_property
    def flip_order(self) -> tuple[int, ...]:
        """Permutation that swaps left and right: `mirrored = maps.flip(-1)[..., flip_order, :, :]`."""
        return tuple(part.partner for part in self.parts)

    @cached_property
    def widths(self) -> np.ndarray:
        """(P,) full widths in torso lengths."""
        return np.array([part.width for part in self.parts])

    @cached_property
    def colours(self) -> np.ndarray:
        """(P, 3) drawing colours in [0, 1]."""
        return np.array([part.colour for part in self.parts])

    @cached_property
    def four_anchors(self) -> tuple[int, ...]:
        """Ids of the parts whose lateral extent is projected."""
        return tuple(part.id for part in self.parts if part.four_anchors)

    @cached_property
    def anchor_matrix(self) -> np.ndarray:
        """(2P + 4L, N): `anchors = anchor_matrix @ points`, the P starts, the P ends, then the 4 anchors (start pair,
        end pair) of each of the L parts in `four_anchors`.
        """
        ends = [part.start for part in self.parts] + [part.end for part in self.parts]
        ends += [(joint,) for p in self.four_anchors for joint in self.parts[p].anchors]
        matrix = np.zeros((len(ends), len(self.points)))
        for row, joints in enumerate(ends):
            for joint in joints:
                matrix[row, self.points.index(joint)] = 1.0 / len(joints)
        return matrix

    @cached_property
    def edges(self) -> np.ndarray:
        """(P, E, 3) canonical half-planes: the part is where `n_x u_x + n_y u_y + c >= 0` for all E rows (n_x, n_y, c).

        Two rows for each straight piece of the profile (upper and lower side) and one for each tip; parts with fewer
        pieces repeat a tip.
        """
        rows = []
        for part in self.parts:
            x, h = np.array(part.profile).T
            slope = np.diff(h) / np.diff(x)
            c = h[:-1] - slope * x[:-1]
            sides = [(m, sign, k) for m, k in zip(slope, c, strict=True) for sign in (-1.0, 1.0)]
            rows.append([*sides, (1.0, 0.0, -x[0]), (-1.0, 0.0, x[-1])])
        most = max(len(row) for row in rows)
        return np.array([row + [row[-1]] * (most - len(row)) for row in rows])

    def scaled(self, factors: float | np.ndarray) -> Puppet:
        """This puppet with its widths multiplied by one factor or by (P,) factors (equal for partners)."""
        factors = np.broadcast_to(factors, len(self))
        parts = (
            replace(part, width=part.width * float(factor), lateral=part.lateral * float(factor))
            for part, factor in zip(self.parts, factors, strict=True)
        )
        return replace(self, parts=tuple(parts))


# Outlines, from the start of a limb to its end. Hands and feet are the rounded ends of forearm and shin.
_HEAD: Profile = ((-0.54, 0.21), (-0.02, 0.47), (0.25, 0.50), (0.46, 0.36), (0.56, 0.13))
_TORSO: Profile = ((-0.60, 0.28), (-0.52, 0.48), (-0.10, 0.50), (0.47, 0.46), (0.62, 0.27))
_UPPER_ARM: Profile = ((-0.63, 0.26), (-0.48, 0.49), (-0.25, 0.50), (0.49, 0.40), (0.61, 0.20))
_FOREARM: Profile = ((-0.61, 0.22), (-0.46, 0.48), (-0.22, 0.50), (0.75, 0.33), (0.98, 0.16))
_THIGH: Profile = ((-0.60, 0.24), (-0.44, 0.49), (-0.25, 0.50), (0.45, 0.36), (0.60, 0.18))
_SHIN: Profile = ((-0.57, 0.24), (-0.42, 0.46), (-0.18, 0.50), (0.56, 0.30), (0.68, 0.15))

_LIMBS: tuple[tuple[str, str, str, Profile, float], ...] = (
    ("upper_arm", "shoulder", "elbow", _UPPER_ARM, 0.23),
    ("forearm", "elbow", "wrist", _FOREARM, 0.19),
    ("thigh", "hip", "knee", _THIGH, 0.34),
    ("shin", "knee", "ankle", _SHIN, 0.25),
)
_LEFT_COLOURS = ((0.95, 0.65, 0.25), (0.99, 0.85, 0.45), (0.85, 0.30, 0.25), (0.97, 0.55, 0.55))
_RIGHT_COLOURS = ((0.20, 0.60, 0.40), (0.55, 0.85, 0.50), (0.20, 0.35, 0.75), (0.45, 0.70, 0.95))


@cache
def default_puppet() -> Puppet:
    """The puppet of this project, P = 10: head, torso, left then right upper arm and forearm, thigh and shin. **[ours]**

    Widths are those of a clothed adult in units of the neck-pelvis distance (0.47 m on average); the torso's is that
    across the shoulders.
    """
    parts = [
        Part(0, "head", ("neck",), ("head",), _HEAD, 0.42, 0, (0.85, 0.75, 0.65)),
        Part(
            1,
            "torso",
            ("left_shoulder", "right_shoulder"),
            ("left_hip", "right_hip"),
            _TORSO,
            0.80,
            1,
            (0.60, 0.50, 0.70),
        ),
    ]
    for first in (0, 2):  # arms, then legs; left before right
        for side, shift, colours in (("left", 2, _LEFT_COLOURS), ("right", -2, _RIGHT_COLOURS)):
            for row in (first, first + 1):
                name, start, end, profile, width = _LIMBS[row]
                number = len(parts)
                parts.append(
                    Part(
                        number,
                        f"{side}_{name}",
                        (f"{side}_{start}",),
                        (f"{side}_{end}",),
                        profile,
                        width,
                        number + shift,
                        colours[row],
                    )
                )
    return Puppet(tuple(parts))
