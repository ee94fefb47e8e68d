"""The skeleton: 17 joints and two trees.

Joint order is Human3.6M's, right leg first. Every other file reads joints, limbs, left/right pairs and groups
from here; an index or a name is written nowhere else.

Two trees. `parents` is the tree people draw (pelvis-spine-neck-...). `FK_PARENTS` is the tree of the forward
kinematics (Kundu et al. 2020, suppl.): neck and spine are both children of the pelvis, and the spine is a leaf.

Other joint formats are converted to it in `structures.joint_formats`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = [
    "ALPHA_JOINTS",
    "FK_PARENTS",
    "H36M_17",
    "LOCAL_JOINTS",
    "NUM_JOINTS",
    "NUM_LOCAL",
    "Skeleton",
    "fk_levels",
    "joint_index",
]


@dataclass(frozen=True)
class Skeleton:
    """Names, drawing tree and left/right pairs of a set of joints.

    Attributes:
        name: identifier used in configs and files.
        joint_names: J names, unique.
        parents: J indices of the drawing tree, -1 at the root; a parent precedes its children.
        pairs: (left, right) index pairs; joints in no pair lie on the mid-line.
    """

    name: str
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(set(self.joint_names)) != len(self.joint_names):
            raise ValueError(f"skeleton {self.name!r}: joint names repeat")
        if len(self.parents) != len(self.joint_names):
            raise ValueError(f"skeleton {self.name!r}: {len(self.joint_names)} names but {len(self.parents)} parents")
        if any(p >= j for j, p in enumerate(self.parents)) or self.parents.count(-1) != 1:
            raise ValueError(f"skeleton {self.name!r}: parents must precede their children, with exactly one root (-1)")
        paired = [joint for pair in self.pairs for joint in pair]
        if len(set(paired)) != len(paired) or not set(paired) <= set(range(len(self.parents))):
            raise ValueError(f"skeleton {self.name!r}: each of a pair must be a joint of its own, in no other pair")

    def __len__(self) -> int:
        return len(self.joint_names)

    @property
    def root(self) -> int:
        """Index of the root joint."""
        return self.parents.index(-1)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) of the J-1 bones, in order of the child."""
        return tuple((p, j) for j, p in enumerate(self.parents) if p >= 0)

    @cached_property
    def flip_order(self) -> tuple[int, ...]:
        """Permutation that swaps left and right: `mirrored = joints[..., flip_order, :]` (then negate an axis)."""
        order = list(range(len(self)))
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return tuple(order)

    @cached_property
    def left(self) -> tuple[int, ...]:
        """Indices of the left joints."""
        return tuple(left for left, _ in self.pairs)

    @cached_property
    def right(self) -> tuple[int, ...]:
        """Indices of the right joints, in the order of `left`."""
        return tuple(right for _, right in self.pairs)

    @cached_property
    def adjacency(self) -> np.ndarray:
        """(J, J) symmetric boolean adjacency of the drawing tree, self-loops included."""
        matrix = np.eye(len(self), dtype=bool)
        for parent, child in self.bones:
            matrix[parent, child] = matrix[child, parent] = True
        return matrix


H36M_17 = Skeleton(
    name="h36m_17",
    joint_names=(
        "pelvis",
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
        "spine",
        "neck",  # the thorax of Human3.6M
        "nose",
        "head",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "right_shoulder",
        "right_elbow",
        "right_wrist",
    ),
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    pairs=((4, 1), (5, 2), (6, 3), (11, 14), (12, 15), (13, 16)),
)
"""The skeleton of this project."""

NUM_JOINTS = len(H36M_17)

FK_PARENTS: tuple[int, ...] = (-1, 0, 1, 2, 0, 4, 5, 0, 0, 8, 9, 8, 11, 12, 8, 14, 15)
"""Kinematic tree: neck (8) and spine (7) are both children of the pelvis."""

LOCAL_JOINTS: tuple[int, ...] = (2, 3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16)
"""The 13 joints placed by a local limb vector, in the order of `local_vectors`: all but pelvis, hips and neck."""

NUM_LOCAL = len(LOCAL_JOINTS)

ALPHA_JOINTS: tuple[int, ...] = tuple(range(1, NUM_JOINTS))
"""Joints that own a bone of the kinematic tree (all but the pelvis, whose length is 0)."""


def fk_levels() -> tuple[tuple[int, ...], ...]:
    """Local joints grouped by their depth below the placed frame (pelvis, hips, neck), parents before children."""
    depth = {0: 0, 1: 0, 4: 0, 8: 0}
    for joint in LOCAL_JOINTS:
        depth[joint] = depth[FK_PARENTS[joint]] + 1
    deepest = max(depth.values())
    return tuple(tuple(j for j in LOCAL_JOINTS if depth[j] == level) for level in range(1, deepest + 1))


def joint_index(name: str) -> int:
    """Index of a joint of `H36M_17` by name; KeyError names the choices."""
    try:
        return H36M_17.joint_names.index(name)
    except ValueError:
        raise KeyError(f"no joint {name!r}; the joints are {', '.join(H36M_17.joint_names)}") from None
