"""From joint angles to 17 joints: the skeleton chain that procedural motion is made with.

Angles are in degrees and mean the same on both sides: a pose whose left and right angles agree is symmetric. All are
0 when standing upright with the arms hanging. Positive means: forward (pelvis pitch, spine bend, head nod, hip
flexion), to the left (roll, side bend, turns), outwards (abduction, hip rotation), bent (knee, elbow). The upper arm
is raised by `raise` in a vertical plane: 0 to the side, 90 forward, more across the chest; `twist` turns it inwards.
"""

from __future__ import annotations

import numpy as np

from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS, joint_index

__all__ = [
    "ANGLES",
    "BONES",
    "LIMITS",
    "angle_index",
    "clearance",
    "limited",
    "pose_joints",
    "retarget",
    "stand_on_floor",
    "unit",
]

_CENTRAL = {
    "pelvis_pitch": (-25.0, 75.0),
    "pelvis_roll": (-15.0, 15.0),
    "pelvis_turn": (-40.0, 40.0),
    "spine_bend": (-30.0, 70.0),
    "spine_side": (-35.0, 35.0),
    "spine_turn": (-45.0, 45.0),
    "head_nod": (-35.0, 45.0),
    "head_side": (-30.0, 30.0),
    "head_turn": (-70.0, 70.0),
}
_SIDED = {
    "hip_flex": (-30.0, 125.0),
    "hip_out": (-20.0, 60.0),
    "hip_turn": (-30.0, 45.0),
    "knee": (0.0, 145.0),
    "raise": (0.0, 175.0),
    "plane": (-90.0, 130.0),
    "twist": (-90.0, 90.0),
    "elbow": (0.0, 148.0),
}

LIMITS: dict[str, tuple[float, float]] = _CENTRAL | {
    f"{side}_{name}": limits for side in ("left", "right") for name, limits in _SIDED.items()
}
"""Lowest and highest value of each angle, degrees."""

ANGLES = tuple(LIMITS)
"""Names of the D angles, in order."""

_LOW, _HIGH = np.array(list(LIMITS.values())).T

BONES = np.array(
    [0, 0.133, 0.443, 0.454, 0.133, 0.443, 0.454, 0.233, 0.257, 0.121, 0.115, 0.151, 0.279, 0.252, 0.151, 0.279, 0.252]
)
"""(17,) metres of the average person: |joint - parent in the drawing tree| (the means usual for Human3.6M)."""

ANKLE_HEIGHT, KNEE_RADIUS, HAND_REACH, SEAT_HEIGHT = 0.085, 0.06, 0.1, 0.12
"""Metres between the floor and an ankle, a knee, a wrist or the pelvis that rests on it."""


def angle_index(name: str) -> int:
    """Column of an angle."""
    return ANGLES.index(name)


def limited(angles: np.ndarray) -> np.ndarray:
    """Angles (..., D) held within `LIMITS`."""
    return np.clip(angles, _LOW, _HIGH)


def unit(vector: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) divided by their length (at least 1e-9)."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def _about(axis: int, degrees: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rotations about a coordinate axis by (N,) degrees."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., i, i] = matrix[..., j, j] = c
    matrix[..., i, j], matrix[..., j, i] = -s, s
    return matrix


def _raised(plane: np.ndarray, elevation: np.ndarray, side: int) -> np.ndarray:
    """(N, 3, 3) rotation that lifts a hanging arm by `elevation` in the vertical plane `plane`, without twisting it."""
    towards = _about(2, -side * plane)  # the plane's direction, counted from the side forwards
    return towards @ _about(0, side * elevation) @ towards.swapaxes(-1, -2)


def pose_joints(angles: np.ndarray, bones: np.ndarray = BONES) -> np.ndarray:
    """Joints of angles, pelvis at 0, in the upright frame of the heading (+X ahead, +Y left, +Z up).

    Args:
        angles: (N, D) degrees, columns `ANGLES`.
        bones: (17,) lengths to the drawing-tree parents, metres.

    Returns:
        (N, 17, 3) metres; the pelvis is exactly the middle of the hips.
    """
    a = dict(zip(ANGLES, angles.T, strict=True))
    joints = np.zeros((len(angles), NUM_JOINTS, 3))

    def place(name: str, frame: np.ndarray, direction: tuple[float, float, float]) -> None:
        joint = joint_index(name)
        joints[:, joint] = joints[:, H36M_17.parents[joint]] + frame @ (unit(np.array(direction)) * bones[joint])

    pelvis = _about(2, a["pelvis_turn"]) @ _about(1, a["pelvis_pitch"]) @ _about(0, -a["pelvis_roll"])
    half = _about(2, a["spine_turn"] / 2) @ _about(1, a["spine_bend"] / 2) @ _about(0, -a["spine_side"] / 2)
    lumbar = pelvis @ half
    chest = lumbar @ half
    nod = _about(1, a["head_nod"] / 2) @ _about(0, -a["head_side"] / 2)
    head = chest @ nod @ _about(2, a["head_turn"]) @ nod
    place("spine", lumbar, (-0.03, 0, 1))
    place("neck", chest, (-0.06, 0, 1))
    place("nose", head, (0.42, 0, 1))
    place("head", head, (-0.22, 0, 1))
    for side, sign in (("left", 1), ("right", -1)):
        place(f"{side}_hip", pelvis, (0, sign, 0))
        hip = pelvis @ _about(1, -a[f"{side}_hip_flex"]) @ _about(0, sign * a[f"{side}_hip_out"])
        hip = hip @ _about(2, sign * a[f"{side}_hip_turn"])
        place(f"{side}_knee", hip, (0, 0, -1))
        place(f"{side}_ankle", hip @ _about(1, a[f"{side}_knee"]), (0, 0, -1))
        shrug = _about(0, sign * 0.22 * np.clip(a[f"{side}_raise"] - 30.0, 0.0, None))  # the collar bone follows
        place(f"{side}_shoulder", chest @ shrug, (-0.05, sign, -0.18))
        arm = chest @ _raised(a[f"{side}_plane"], a[f"{side}_raise"], sign) @ _about(2, -sign * a[f"{side}_twist"])
        place(f"{side}_elbow", arm, (0, 0, -1))
        place(f"{side}_wrist", arm @ _about(1, -a[f"{side}_elbow"]), (0, 0, -1))
    return joints


def retarget(joints: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """The same directions of all bones with other lengths; the pelvis stays where it is.

    Args:
        joints: (..., 17, 3), any frame.
        bones: (17,) or (..., 17) lengths to the drawing-tree parents; equal hips keep the pelvis in their middle.
    """
    out = np.array(joints, dtype=np.float64)
    hip_line = unit(joints[..., joint_index("left_hip"), :] - joints[..., joint_index("right_hip"), :])
    for joint, parent in enumerate(H36M_17.parents):
        if parent < 0:
            continue
        direction = unit(joints[..., joint, :] - joints[..., parent, :])
        if joint in (joint_index("left_hip"), joint_index("right_hip")):
            direction = hip_line if joint == joint_index("left_hip") else -hip_line
        out[..., joint, :] = out[..., parent, :] + direction * bones[..., joint, None]
    return out


_CONTACTS = {"ankle": ANKLE_HEIGHT, "knee": KNEE_RADIUS, "wrist": HAND_REACH}


def clearance(joints: np.ndarray) -> np.ndarray:
    """(...) metres between the floor z = 0 and the lowest foot, knee, hand or seat of poses (..., 17, 3), z up."""
    limbs = [
        joints[..., joint_index(f"{side}_{name}"), 2] - height
        for name, height in _CONTACTS.items()
        for side in ("left", "right")
    ]
    return np.minimum(np.min(limbs, axis=0), joints[..., 0, 2] - SEAT_HEIGHT)


def stand_on_floor(joints: np.ndarray) -> np.ndarray:
    """Move each pose (..., 17, 3) vertically (z up) until the lowest point of its body rests on the floor z = 0."""
    out = np.array(joints)
    out[..., 2] -= clearance(joints)[..., None]
    return out
