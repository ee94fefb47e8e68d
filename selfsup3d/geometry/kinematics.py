"""Forward kinematics T_fk (Kundu et al. 2020, suppl.), its inverse, and mirroring.

Body frame, right-handed, metres: pelvis at the origin, +X the way the hips face, +Y left, +Z from pelvis to neck. The
pose of a body is the tilt h of its hip line in the YZ plane and 13 limb vectors, each in the frame of its parent limb:

    neck = (0, 0, alpha), left hip = +alpha (0, cos h, sin h), right hip = -alpha (0, cos h, sin h)
    p(j) = p(parent) + alpha_j unit(v_x a + v_y b + v_z n)

a is the unit vector of the parent limb (+Z for children of the pelvis), b = +X made orthogonal to a, n = a x b; how b is
carried over the whole sphere is `limb_frames`' matter. Inside, the batch is the last dimension and all joints at one
depth of the tree are placed at once: a few long operations for any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup3d.geometry.limb_frames import FRAMES, Frame, Frames, carry, local_coordinates, tilted_frame, to_direction
from selfsup3d.geometry.rotation import rotate, unit
from selfsup3d.geometry.shapes import batch_first, batch_last, broadcast_batch, check_shape, working_dtype
from selfsup3d.structures.skeleton import (
    FK_PARENTS,
    H36M_17,
    LOCAL_JOINTS,
    NUM_JOINTS,
    NUM_LOCAL,
    fk_levels,
    joint_index,
)

__all__ = [
    "Frames",
    "LocalPose",
    "body_frame",
    "bone_lengths",
    "canonicalize",
    "forward_kinematics",
    "inverse_kinematics",
    "mirror_joints",
    "normalize_local_vectors",
]

PELVIS_TOLERANCE = 1e-3
"""Metres that the pelvis may lie off the middle stretch of the hip line before inverse kinematics refuses it."""
SHORTEST_BONE = 1e-5
"""Metres below which a bone has no direction."""

_PELVIS, _NECK = joint_index("pelvis"), joint_index("neck")
_RIGHT_HIP, _LEFT_HIP = joint_index("right_hip"), joint_index("left_hip")


def _levels() -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Local joints by depth, ordered so that the k-th joint of a level is the child of the k-th of the level above.

    Below hips, pelvis and neck the tree is a set of chains (each joint has at most one child). With longer chains
    first, the joints of a level are children of the first joints of the level above, so no gather is needed.
    """
    levels = fk_levels()
    chains = [[joint] for joint in levels[0]]
    for level in levels[1:]:
        for joint in level:
            next(chain for chain in chains if chain[-1] == FK_PARENTS[joint]).append(joint)
    chains.sort(key=len, reverse=True)
    ordered = tuple(tuple(chain[depth] for chain in chains if len(chain) > depth) for depth in range(len(levels)))
    return ordered, tuple(FK_PARENTS[chain[0]] for chain in chains)


_LEVELS, _CHAIN_ROOTS = _levels()
_PLACING_ORDER = (*_CHAIN_ROOTS, *(joint for level in _LEVELS for joint in level))  # the neck stands there three times
_JOINT_ROWS = [_PLACING_ORDER.index(joint) for joint in range(NUM_JOINTS)]
_LOCAL_ROWS = [LOCAL_JOINTS.index(joint) for level in _LEVELS for joint in level]
_LOCAL_FLIP = [LOCAL_JOINTS.index(H36M_17.flip_order[joint]) for joint in LOCAL_JOINTS]


class LocalPose(NamedTuple):
    """A pose as joint angles of a kind, and where it stands: `rotation @ forward_kinematics(...) + translation`.

    Attributes:
        local_vectors: (..., 13, 3) unit limb vectors in their parents' frames, in the order of `LOCAL_JOINTS`.
        hip_angle: (..., 2) cos h, sin h of the hip line in the YZ plane.
        bone_lengths: (..., 17) metres, to the parent in `FK_PARENTS`; 0 at the pelvis.
        rotation: (..., 3, 3) body frame -> the joints' frame.
        translation: (..., 3) pelvis in the joints' frame, metres.
    """

    local_vectors: Tensor
    hip_angle: Tensor
    bone_lengths: Tensor
    rotation: Tensor
    translation: Tensor

    def joints(self, frames: Frames = "parallel_transport") -> Tensor:
        """(..., 17, 3) joints in the frame that `rotation` and `translation` lead to."""
        body = forward_kinematics(self.local_vectors, self.hip_angle, self.bone_lengths, frames)
        return rotate(self.rotation, body) + self.translation[..., None, :]


def normalize_local_vectors(raw: Tensor) -> Tensor:
    """A network's output as local vectors: tanh, then unit length (Kundu 2020, suppl.).

    A vector shorter than 0.001 after the tanh is moved along its parent limb first (see `rotation.unit`), so gradients
    are finite, bounded by 1000 and alive for an all-zero output.

    Args:
        raw: (..., 13, 3).

    Returns:
        (..., 13, 3) unit vectors; float32 at least.
    """
    check_shape(raw, (NUM_LOCAL, 3), "raw local vectors")
    return unit(torch.tanh(raw if raw.dtype == torch.float64 else raw.float()))


def bone_lengths(joints: Tensor) -> Tensor:
    """(..., 17, 3) -> (..., 17) distances to the parents in `FK_PARENTS`; 0 at the pelvis. Unit of the input.

    The gradient at a zero-length bone is zero.
    """
    check_shape(joints, (NUM_JOINTS, 3), "joints")
    offsets = joints[..., 1:, :] - _rows(joints, FK_PARENTS[1:], -2)
    squared = (offsets * offsets).sum(-1)
    positive = squared > 0
    lengths = torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)
    return torch.nn.functional.pad(lengths, (1, 0))


# --------------------------------------------------------------------------------------------------------------------
# Forward and inverse
# --------------------------------------------------------------------------------------------------------------------


def forward_kinematics(
    local_vectors: Tensor, hip_angle: Tensor, bone_lengths: Tensor, frames: Frames = "parallel_transport"
) -> Tensor:
    """Joint positions in the body frame from limb vectors, hip tilt and bone lengths (T_fk, Kundu 2020, suppl.).

    Leading dimensions broadcast, so one (17,) set of bone lengths serves a batch. Thighs of a standing person hang at
    v_z = -1 (right) and +1 (left).

    Args:
        local_vectors: (..., 13, 3), of any length (scaled to 1 here), in the order of `LOCAL_JOINTS`.
        hip_angle: (..., 2) cos h, sin h, of any length.
        bone_lengths: (..., 17) metres; the pelvis entry is not read.
        frames: field of frames, see the module; must match the inverse's.

    Returns:
        (..., 17, 3) metres, pelvis at the origin; float32 at least.

    Raises:
        ValueError: a shape does not fit, or `frames` is unknown.
    """
    check_shape(local_vectors, (NUM_LOCAL, 3), "local_vectors")
    check_shape(hip_angle, (2,), "hip_angle")
    check_shape(bone_lengths, (NUM_JOINTS,), "bone_lengths")
    _check_frames(frames)
    batch = broadcast_batch(local_vectors[..., 0, 0], hip_angle[..., 0], bone_lengths[..., 0])
    dtype = working_dtype(local_vectors, hip_angle, bone_lengths)
    local = _rows(batch_last(local_vectors.to(dtype), batch, 2), _LOCAL_ROWS)
    local = unit(local, dim=1)  # (13, 3, N)
    hip = unit(batch_last(hip_angle.to(dtype), batch, 1), dim=0)  # (2, N)
    bones = list(batch_last(bone_lengths.to(dtype), batch, 1).unbind(0))  # 17 x (N)
    bones[_PELVIS] = torch.zeros_like(bones[_PELVIS])
    lengths = torch.stack([bones[joint] for joint in _PLACING_ORDER])[:, None]  # (6 + 13, 1, N)

    roots = len(_CHAIN_ROOTS)
    frame = _root_frames(hip)
    above = lengths[:roots] * frame.along  # a root stands at the end of its frame's own limb
    placed, limb, carrier = list(above.unbind(0)), above, above  # limb and carrier of the roots are not read
    for depth, (level, stretch) in enumerate(zip(_split(local), _split(lengths[roots:]), strict=True)):
        count = len(level)
        if depth:
            frame = carry(frame.first(count), carrier[:count], limb[:count], frames)
        limb, carrier = to_direction(frame, level), level
        above = torch.addcmul(above[:count], stretch, limb)
        placed += above.unbind(0)
    return batch_first(torch.stack([placed[row] for row in _JOINT_ROWS]), batch, 2)


def body_frame(joints: Tensor) -> tuple[Tensor, Tensor]:
    """The body frame of each pose: Z = unit(neck - pelvis), X = unit((left_hip - right_hip) x Z), Y = Z x X.

    Args:
        joints: (..., 17, 3) metres, any frame.

    Returns:
        rotation (..., 3, 3) body -> joints' frame, its columns X, Y, Z; translation (..., 3), the pelvis.

    Raises:
        ValueError: neck and pelvis coincide, or the hip line is parallel to the line from pelvis to neck.
    """
    check_shape(joints, (NUM_JOINTS, 3), "joints")
    translation = joints[..., _PELVIS, :]
    up = joints[..., _NECK, :] - translation
    length = _length(up)
    _refuse(~(length > SHORTEST_BONE), "neck and pelvis coincide (or are not finite): there is no up direction")
    up = up / length[..., None]
    hips = joints[..., _LEFT_HIP, :] - joints[..., _RIGHT_HIP, :]
    forward = torch.linalg.cross(hips, up)
    sine = _length(forward)
    parallel = ~(sine > 1e-3 * _length(hips.detach()) + SHORTEST_BONE)
    _refuse(
        parallel, "the hip line is parallel to the line from pelvis to neck (or has no length): no facing direction"
    )
    forward = forward / sine[..., None]
    return torch.stack((forward, torch.linalg.cross(up, forward), up), dim=-1), translation


def inverse_kinematics(joints: Tensor, frames: Frames = "parallel_transport", recentre: bool = False) -> LocalPose:
    """Local vectors, hip tilt, bone lengths and place of poses: `result.joints(frames)` gives the joints back.

    Exact to 1e-5 m in float32 for people near the origin. The frames are those that `forward_kinematics` will rebuild
    from the result, by the same operations, so both always fall on the same side of a switch.

    Args:
        joints: (..., 17, 3) metres, any frame.
        frames: field of frames.
        recentre: move the pelvis to the middle of the hips first. Without it, poses whose pelvis lies more than 1 mm
            off the stretch between the hips are refused: T_fk cannot express them.

    Returns:
        LocalPose with the leading dimensions of `joints`.

    Raises:
        ValueError: a bone of no length, non-finite joints, a hip line parallel to the line from pelvis to neck, or a
            pelvis off the hip line.
    """
    check_shape(joints, (NUM_JOINTS, 3), "joints")
    _check_frames(frames)
    joints = joints.to(working_dtype(joints))
    joints = _recentred(joints) if recentre else joints
    rotation, translation = body_frame(joints)
    if not recentre:
        _check_pelvis(joints)
    lengths = bone_lengths(joints)
    _refuse(~(lengths[..., 1:] > SHORTEST_BONE).all(-1), "a bone has no length (or is not finite)")

    batch = joints.shape[:-2]
    body = rotate(rotation.transpose(-1, -2), joints - translation[..., None, :])
    body = batch_last(body, batch, 2)  # (17, 3, N)
    hip = unit(body[_LEFT_HIP, 1:] - body[_RIGHT_HIP, 1:], dim=0, shortest=SHORTEST_BONE)  # (2, N)
    frame = _root_frames(unit(hip, dim=0))
    found = []
    for level in _LEVELS:
        frame = frame.first(len(level))
        offset = _rows(body, level) - _rows(body, [FK_PARENTS[joint] for joint in level])
        vectors = local_coordinates(frame, offset / (offset * offset).sum(1, keepdim=True).sqrt())
        found.append(vectors)
        rebuilt = unit(vectors, dim=1)  # what forward_kinematics will see
        frame = carry(frame, rebuilt, to_direction(frame, rebuilt), frames)
    local = _rows(torch.cat(found), [_LOCAL_ROWS.index(i) for i in range(NUM_LOCAL)])
    return LocalPose(batch_first(local, batch, 2), batch_first(hip, batch, 1), lengths, rotation, translation)


def canonicalize(joints: Tensor, recentre: bool = False) -> Tensor:
    """Poses turned and moved into the body frame (pelvis at the origin, facing +X, neck on +Z).

    Conditions and errors as in `inverse_kinematics`, bone lengths apart.

    Args:
        joints: (..., 17, 3) metres, any frame.
        recentre: move the pelvis to the middle of the hips first.

    Returns:
        (..., 17, 3) metres, body frame.
    """
    check_shape(joints, (NUM_JOINTS, 3), "joints")
    joints = joints.to(working_dtype(joints))
    joints = _recentred(joints) if recentre else joints
    rotation, translation = body_frame(joints)
    if not recentre:
        _check_pelvis(joints)
    return rotate(rotation.transpose(-1, -2), joints - translation[..., None, :])


# --------------------------------------------------------------------------------------------------------------------
# Mirroring
# --------------------------------------------------------------------------------------------------------------------


def mirror_joints(joints: Tensor, axis: int) -> Tensor:
    """The mirrored person: left and right joints swapped, one coordinate negated.

    Args:
        joints: (..., 17, D); body frame: `axis=1`; camera frame: `axis=0`.
        axis: the coordinate to negate.

    Returns:
        (..., 17, D).
    """
    if joints.dim() < 2 or joints.shape[-2] != NUM_JOINTS:
        raise ValueError(f"joints must have shape (..., {NUM_JOINTS}, D), got {tuple(joints.shape)}")
    sign = torch.ones(joints.shape[-1], dtype=joints.dtype, device=joints.device)
    sign[axis] = -1
    return _rows(joints, H36M_17.flip_order, -2) * sign


# --------------------------------------------------------------------------------------------------------------------
# Checks and layout
# --------------------------------------------------------------------------------------------------------------------


def _check_frames(frames: str) -> None:
    if frames not in FRAMES:
        raise ValueError(f"frames must be 'parallel_transport' or 'gram_schmidt', got {frames!r}")


def _refuse(bad: Tensor, reason: str) -> None:
    """Raise for the poses marked in `bad` (...), telling how many and which is the first."""
    if bool(bad.any()):
        where = bad.flatten().nonzero().flatten()
        raise ValueError(f"{len(where)} of {bad.numel()} poses cannot be used, the first at {int(where[0])}: {reason}")


def _check_pelvis(joints: Tensor) -> None:
    """Refuse poses whose pelvis is off the stretch between the hips by more than `PELVIS_TOLERANCE`."""
    pelvis, right = joints[..., _PELVIS, :].detach(), joints[..., _RIGHT_HIP, :].detach()
    line = joints[..., _LEFT_HIP, :].detach() - right
    along = ((pelvis - right) * line).sum(-1) / (line * line).sum(-1)
    offset = _length(pelvis - right - along.clamp(0, 1)[..., None] * line)
    _refuse(
        ~(offset <= PELVIS_TOLERANCE),
        f"the pelvis lies up to {1000 * float(offset.max() if offset.numel() else 0):.1f} mm off the line between the"
        " hips; where a source's pelvis is another point, pass recentre=True to take the middle of the hips",
    )


def _recentred(joints: Tensor) -> Tensor:
    """The pelvis moved to the middle of the hips."""
    middle = (joints[..., _LEFT_HIP, :] + joints[..., _RIGHT_HIP, :]) / 2
    return torch.cat((middle[..., None, :], joints[..., 1:, :]), dim=-2)


def _length(vector: Tensor) -> Tensor:
    return (vector * vector).sum(-1).sqrt()


def _root_frames(hip: Tensor) -> Frame:
    """Frames at the roots of the chains, from the unit hip direction (2, N); children of the neck too have a = +Z."""
    zero, one = torch.zeros_like(hip[0]), torch.ones_like(hip[0])
    tilt = {_LEFT_HIP: (hip[0], hip[1]), _RIGHT_HIP: (-hip[0], -hip[1]), _PELVIS: (zero, one), _NECK: (zero, one)}
    cosine, sine = (torch.stack([tilt[joint][i] for joint in _CHAIN_ROOTS]) for i in (0, 1))
    return tilted_frame(cosine, sine)


def _rows(tensor: Tensor, order: Sequence[int], dim: int = 0) -> Tensor:
    """Entries `order` along `dim`. Without an index tensor: a GPU would copy that over, and wait for it, at each call."""
    rows = tensor.unbind(dim)
    return torch.stack([rows[row] for row in order], dim)


def _split(rows: Tensor) -> tuple[Tensor, ...]:
    """Rows in placing order by level."""
    return rows.split([len(level) for level in _LEVELS])
