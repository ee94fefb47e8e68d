"""A body pose: canonical joints and the camera that sees them, with what follows from the two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup3d.geometry.camera import project
from selfsup3d.geometry.kinematics import Frames, forward_kinematics, inverse_kinematics
from selfsup3d.models.part_guided.encoder import PoseCode
from selfsup3d.structures.batch import Camera, TensorFields
from selfsup3d.structures.skeleton import FK_PARENTS, joint_index

__all__ = ["BodyPose", "mean_joints", "pose_of", "pose_of_joints"]

_SHRUNK = 2e-3
"""Share of a bone's length below which the mean of several poses is no pose; the kinematics refuse less than half of it."""


@dataclass(frozen=True)
class BodyPose(TensorFields):
    """N poses.

    Attributes:
        canonical: (N, 17, 3) body frame, metres, pelvis at the origin.
        camera: body -> camera.
    """

    canonical: Tensor
    camera: Camera

    @property
    def posed(self) -> Tensor:
        """(N, 17, 3) camera axes, root-relative, metres: T_c's rotation."""
        return self.canonical @ self.camera.rotation.transpose(-1, -2)

    @property
    def joints(self) -> Tensor:
        """(N, 17, 3) camera frame, metres."""
        return self.posed + self.camera.translation[:, None]

    @property
    def pixels(self) -> Tensor:
        """(N, 17, 2) px."""
        return project(self.joints, self.camera.K)


def pose_of(encoding: PoseCode, bone_lengths: Tensor, frames: Frames) -> BodyPose:
    """The pose that an encoding stands for: T_fk on its limb vectors, or its camera-frame joints in the ablation.

    Without kinematics there is no body frame: `canonical` holds the joints in camera axes and the camera rotates nothing.

    Args:
        bone_lengths: (17,) or (N, 17) metres. frames: frame field of the kinematics.
    """
    if encoding.joints is not None:
        return BodyPose(encoding.joints, encoding.camera)
    lengths = bone_lengths.expand(encoding.local_vectors.shape[0], -1)
    canonical = forward_kinematics(encoding.local_vectors, encoding.hip_angle, lengths, frames=frames)
    return BodyPose(canonical, encoding.camera)


def pose_of_joints(joints: Tensor, K: Tensor) -> BodyPose:
    """The pose of camera-frame joints (N, 17, 3), metres: canonical by inverse kinematics, camera by what is left."""
    local = inverse_kinematics(joints, recentre=True)
    canonical = (joints - joints[:, :1]) @ local.rotation
    return BodyPose(canonical, Camera(local.rotation, joints[:, 0], K.to(torch.float32)))


def mean_joints(joints: Tensor) -> Tensor:
    """The mean (..., 17, 3) of L predictions (L, ..., 17, 3), or the first of them where they are opposed.

    Two predictions that see a body from opposite sides meet in a point or a line, which has no bones and no front: no
    kinematics take it, and one such image must not end a run.
    """
    mean = joints.mean(0)
    neck, left, right = (joint_index(name) for name in ("neck", "left_hip", "right_hip"))

    def extents(poses: Tensor) -> Tensor:  # (..., 17): bones, and the area between hip line and trunk
        bones = (poses[..., 1:, :] - poses[..., list(FK_PARENTS[1:]), :]).norm(dim=-1)
        hips, trunk = poses[..., left, :] - poses[..., right, :], poses[..., neck, :] - poses[..., 0, :]
        return torch.cat([bones, torch.linalg.cross(hips, trunk).norm(dim=-1, keepdim=True)], -1)

    whole = (extents(mean) > _SHRUNK * extents(joints).mean(0)).all(-1)
    return torch.where(whole[..., None, None], mean, joints[0])
