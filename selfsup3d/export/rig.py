"""A skeleton of joints that turn and bones that do not stretch: what animation files hold, made from 17 joints.

Files turn all children of a joint together, but our hips, spine and neck leave the pelvis each in its own direction,
and shoulders and nose the neck. So each of those bones gets a joint of its own at its start ("neck_base" ...), of no
length; the hips' line turns with the root.

Twist rule **[ours]**: 17 points do not show how a limb turns about itself. The root's frame is the hips' line (Y) and
the upright closest to pelvis-neck (Z); every other joint turns by the smallest rotation, in its parent's frame, that
brings its bone from the rest pose to its direction (parallel transport), so no limb twists about itself.

Bone lengths are the mean over the frames, by our inverse kinematics: joints are given back exactly where a person's
bones keep their length, as a system's own predictions do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfsup3d.errors import InputError
from selfsup3d.geometry.kinematics import forward_kinematics, inverse_kinematics
from selfsup3d.geometry.rotation import minimal_rotation, unit
from selfsup3d.structures.skeleton import FK_PARENTS, H36M_17, joint_index

__all__ = ["Node", "RigMotion", "fit_rig", "grounded"]

_UP_FROM_CAMERA = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
"""Camera axes (x right, y down, z forward) to those of animation files (x right, y up, z towards the viewer)."""

_FRAME = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""Body axes (x ahead, y left, z up) to the rig's rest pose (x left, y up, z ahead), which faces a viewer on +z."""

_REST = {
    "neck": (0, 0, 1),
    "spine": (0, 0, 1),
    "nose": (0.5, 0, 1),
    "head": (-0.3, 0, 1),
    "hip": (0, 1, 0),
    "knee": (0, 0, -1),
    "ankle": (0, 0, -1),
    "shoulder": (0, 1, 0),
    "elbow": (0, 1, 0),
    "wrist": (0, 1, 0),
}
"""Direction of each bone at rest in body axes (left side; y is negated on the right): a T-pose."""


@dataclass(frozen=True)
class Node:
    """A joint of the rig.

    Attributes:
        name: of our joint, or `<joint>_base` for the joints that only turn a bone.
        parent: index of its parent, -1 at the root.
        joint: index of our joint that lies there.
        bone: index of our joint at the end of the one bone that it turns; -1 = it turns none (leaves; the root).
    """

    name: str
    parent: int
    joint: int
    bone: int


@dataclass(frozen=True)
class RigMotion:
    """A rig and how it moves; x right, y up, z towards the viewer, metres.

    Attributes:
        nodes: K joints, parents first.
        offsets: (K, 3) float64 from the parent, in the parent's frame; the rest pose is a T-pose facing +z.
        rotations: (T, K, 3, 3) against the parent.
        translation: (T, 3) of the root.
        fps: frames per second.
    """

    nodes: tuple[Node, ...]
    offsets: np.ndarray
    rotations: np.ndarray
    translation: np.ndarray
    fps: float

    def __len__(self) -> int:
        return len(self.rotations)


def _nodes() -> tuple[Node, ...]:
    names = H36M_17.joint_names
    children = {j: [c for c, p in enumerate(FK_PARENTS) if p == j] for j in range(len(names))}
    hips = (joint_index("left_hip"), joint_index("right_hip"))
    nodes: list[Node] = []

    def add(joint: int, parent: int) -> None:
        below = children[joint]
        alone = below[0] if len(below) == 1 else -1
        own = len(nodes)
        nodes.append(Node(names[joint], parent, joint, alone))
        for child in below:
            if len(below) == 1 or child in hips:
                add(child, own)
            else:
                nodes.append(Node(f"{names[child]}_base", own, joint, child))
                add(child, len(nodes) - 1)

    add(0, -1)
    return tuple(nodes)


_NODES = _nodes()


def _rest(joint: int) -> Tensor:
    """(3,) unit direction of the bone that ends at a joint, in the rig's axes."""
    name = H36M_17.joint_names[joint]
    x, y, z = _REST[name.removeprefix("left_").removeprefix("right_")]
    sided = torch.tensor([x, -y if name.startswith("right_") else y, z], dtype=torch.float64)
    return unit(_FRAME.double() @ sided)


def fit_rig(joints: np.ndarray, fps: float) -> RigMotion:
    """The rig's motion of 3D joints.

    Args:
        joints: (T, 17, 3) metres, camera axes (+x right, +y down, +z forward).
        fps: frames per second.

    Raises:
        InputError: not (T, 17, 3), not finite, or poses without a body frame; a frame rate that is not positive.
    """
    if not fps > 0:
        raise InputError(f"an animation needs frames per second above 0, got {fps}")
    if joints.ndim != 3 or joints.shape[1:] != (len(H36M_17), 3) or len(joints) == 0:
        raise InputError(f"expected joints of shape (T, 17, 3), got {joints.shape}")
    points = torch.from_numpy(np.asarray(joints, dtype=np.float64)) @ _UP_FROM_CAMERA.double().T
    try:
        local = inverse_kinematics(points, recentre=True)
    except ValueError as error:
        raise InputError(f"these poses cannot be animated: {error}") from error
    lengths = local.bone_lengths.mean(0)
    body = forward_kinematics(local.local_vectors, local.hip_angle, lengths.expand(len(points), -1))
    upright = body @ local.rotation.transpose(-1, -2)  # (T, 17, 3) the joints that the file will show, root at 0
    rotations = _rotations(upright)
    offsets = np.zeros((len(_NODES), 3))
    for k, node in enumerate(_NODES):
        if node.parent >= 0 and node.joint != _NODES[node.parent].joint:
            offsets[k] = (lengths[node.joint] * _rest(node.joint)).numpy()
    return RigMotion(_NODES, offsets, rotations.numpy(), local.translation.numpy(), float(fps))


ANKLE_HEIGHT = 0.08
"""Metres from the ankle joint of a standing adult to the floor."""

_OTHER_HEIGHT = 0.04  # of any other joint that lies on the floor: half a limb's thickness


def grounded(joints: np.ndarray, each_frame: bool) -> np.ndarray:
    """Poses put on the floor of an animation program: y = 0 under the feet, y up, first pose over the origin, facing +z.

    The camera is taken as level **[ours]**: nothing in 17 joints tells its tilt. The floor is where the lowest joint
    is: an ankle `ANKLE_HEIGHT` above it, or whatever else a lying or kneeling person rests on.

    Args:
        joints: (T, 17, 3) metres, camera axes.
        each_frame: put every pose on the floor by itself, where the pelvis' path is not known; else one floor for all,
            which the lowest twentieth of the poses touches or, by a little, breaks.

    Returns:
        (T, 17, 3) metres, camera axes, as `fit_rig` takes them.
    """
    points = np.asarray(joints, dtype=np.float64) * (1.0, -1.0, -1.0)  # y up, z towards the viewer
    pelvis, neck = points[:, 0], points[:, joint_index("neck")]
    left = points[0, joint_index("left_hip")] - points[0, joint_index("right_hip")]
    ahead = np.cross(left, neck[0] - pelvis[0])
    if np.hypot(ahead[0], ahead[2]) < 0.3 * np.linalg.norm(ahead):  # lies on the back or the belly: head first
        ahead = neck[0] - pelvis[0]
    angle = -np.arctan2(ahead[0], ahead[2])
    cosine, sine = np.cos(angle), np.sin(angle)
    points = (points - [pelvis[0, 0], 0.0, pelvis[0, 2]]) @ np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    height = np.full(points.shape[1], _OTHER_HEIGHT)
    height[[joint_index("left_ankle"), joint_index("right_ankle")]] = ANKLE_HEIGHT
    floor = (points[..., 1] - height).min(1)  # (T,)
    points[..., 1] -= floor[:, None] if each_frame else np.quantile(floor, 0.05)
    return points * (1.0, -1.0, -1.0)


def _rotations(joints: Tensor) -> Tensor:
    """(T, K, 3, 3) of each node against its parent, of joints (T, 17, 3) with fixed bone lengths."""
    world: list[Tensor] = []
    found = []
    for node in _NODES:
        if node.parent < 0:
            turned = _root_frame(joints)
            found.append(turned)
        else:
            parent = world[node.parent]
            turn = torch.eye(3, dtype=joints.dtype).expand_as(parent)
            if node.bone >= 0:
                way = unit(joints[:, node.bone] - joints[:, node.joint])
                inside = (parent.transpose(-1, -2) @ way[..., None])[..., 0]
                turn = minimal_rotation(_rest(node.bone).expand_as(inside), inside)
            turned = parent @ turn
            found.append(turn)
        world.append(turned)
    return torch.stack(found, dim=1)


def _root_frame(joints: Tensor) -> Tensor:
    """(T, 3, 3): x along the hips to the left, y the upright closest to pelvis-neck."""
    left = unit(joints[:, joint_index("left_hip")] - joints[:, joint_index("right_hip")])
    up = joints[:, joint_index("neck")]
    ahead = unit(torch.linalg.cross(left, up))
    return torch.stack([left, torch.linalg.cross(ahead, left), ahead], dim=-1)
