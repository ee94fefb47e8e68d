"""A body pose: canonical joints and the camera that sees them, with what follows from the two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup3d.geometry.camera import project
from selfsup3d.geometry.kinematics import Frames, forward_kinematics, inverse_kinematics
from selfsup3d.models.part_guided.encoder import PoseCode
from selfsup3d.structures.batch import Camera, TensorFields

__all__ = ["BodyPose", "pose_of", "pose_of_joints"]


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
