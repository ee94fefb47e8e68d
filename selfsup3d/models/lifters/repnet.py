"""RepNet (Wandt & Rosenhahn 2019): a pose that re-projects and that a critic takes for motion capture.

Weakly supervised: 3D poses are needed, but none that belongs to an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from selfsup3d.config.lifters import RepNetConfig
from selfsup3d.geometry.rotation import rotate, rotation_6d_to_matrix
from selfsup3d.models.lifters.base import Lifter, mean_over_joints
from selfsup3d.models.modules.critic import ChainCritic, critic_loss, generator_loss, gradient_penalty
from selfsup3d.models.modules.mlp import ResidualMLP
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.models.system import Update
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import uniform_noise
from selfsup3d.structures.skeleton import NUM_JOINTS, joint_index

__all__ = ["RepNet", "camera_loss", "reproject", "view_axes"]

_DISTAL = tuple(
    joint_index(f"{side}_{name}") for side in ("left", "right") for name in ("knee", "ankle", "elbow", "wrist")
)


def reproject(camera: Tensor, joints: Tensor) -> Tensor:
    """K X: (..., 2, 3), (..., 17, 3) -> (..., 17, 2), elementwise so that autocast does not round it."""
    return (joints[..., :, None, :] * camera[..., None, :, :]).sum(-1)


def camera_loss(camera: Tensor) -> Tensor:
    """|2 / trace(K K^T) K K^T - I|_F of cameras (..., 2, 3): rows orthogonal and of one length, the scale free."""
    gram = (camera[..., :, None, :] * camera[..., None, :, :]).sum(-1)  # (..., 2, 2)
    trace = torch.diagonal(gram, dim1=-2, dim2=-1).sum(-1)[..., None, None].clamp(min=1e-8)
    difference = 2.0 * gram / trace - torch.eye(2, dtype=gram.dtype, device=gram.device)
    return (difference.square().sum((-1, -2)) + 1e-12).sqrt()


def view_axes(camera: Tensor) -> Tensor:
    """The rotation (..., 3, 3) whose first two rows are those of a camera (..., 2, 3), made orthonormal."""
    return rotation_6d_to_matrix(camera.flatten(-2)).transpose(-1, -2)


class RepNet(Lifter):
    """Pose network and camera network over normalised 2D poses; a critic with a kinematic-chain path.

    Args:
        settings: `frame` of the critic's poses, and so of the pose network's output: "body" (the camera network finds the
            whole rotation) or "camera" (poses as random cameras see them; the camera network corrects). The weight
            `distal` is ours.
    """

    requires = ("joints_2d", "unpaired", "unpaired_camera", "seeds")
    unit = "m"
    pose_scale: Tensor
    joint_weights: Tensor

    def __init__(self, settings: RepNetConfig) -> None:
        super().__init__(Normalizer("centred"))
        width = settings.width
        self.pose_network = ResidualMLP(2 * NUM_JOINTS, 3 * NUM_JOINTS, width, 2, activation="leaky_relu")
        self.camera_network = ResidualMLP(2 * NUM_JOINTS, 6, width, 2, activation="leaky_relu")
        self.critic = ChainCritic(width, settings.chain)
        self.settings = settings
        self.register_buffer("pose_scale", torch.ones(()))
        weight = torch.ones(NUM_JOINTS)
        weight[list(_DISTAL)] = settings.weights.distal
        self.register_buffer("joint_weights", weight, persistent=False)

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Lifter (pose and camera) and critic."""
        lifter = [*self.pose_network.parameters(), *self.camera_network.parameters()]
        return {"lifter": lifter, "critic": self.critic.parameters()}

    def updates(self, step: int, progress: float) -> list[Update]:
        """`critic_updates` of the critic, one of the lifter."""
        critics = [Update(f"critic/{k}", ("critic",), "critic") for k in range(self.settings.critic_updates)]
        return [*critics, Update("lifter", ("lifter",), "lifter")]

    def fit_poses(self, batches: list[Batch]) -> None:
        """Size of the unpaired poses, by which networks see them divided."""
        for batch in batches:
            batch.require(("unpaired",), by="RepNet.fit")
        poses = torch.cat([batch.unpaired for batch in batches if batch.unpaired is not None])
        self.pose_scale.copy_(poses.square().mean().sqrt())

    # ---------------------------------------------------------------------------------------------------------------

    def estimate(self, observed: Normalized) -> tuple[Tensor, Tensor]:
        """Pose (B, 17, 3) in units of `pose_scale`, root at 0, and camera (B, 2, 3)."""
        pose = self.pose_network(observed.features).unflatten(-1, (NUM_JOINTS, 3))
        return pose - pose[:, :1], self.camera_network(observed.features).unflatten(-1, (2, 3))

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) metres: the estimated pose, rotated by the estimated camera."""
        pose, camera = self.estimate(observed)
        return rotate(view_axes(camera), pose) * self.pose_scale

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Wasserstein GAN with gradient penalty, weighted L1 re-projection, orthogonality of the camera."""
        assert batch.seeds is not None
        observed = self.observe(batch)
        if update.startswith("critic"):
            with torch.no_grad():
                fake, _ = self.estimate(observed)
            mix = uniform_noise(batch.seeds, (), stream=int(update.partition("/")[2]))
            real = self._real(batch)
            penalty = gradient_penalty(self.critic, real, fake, mix)
            loss = critic_loss(self.critic(real), self.critic(fake), "wasserstein")
            return {"wasserstein": loss.mean(), "penalty": self.settings.weights.penalty * penalty.mean()}
        pose, camera = self.estimate(observed)
        miss = (reproject(camera, pose) - observed.values).abs().sum(-1) * self.joint_weights  # (B, 17)
        return {
            "wasserstein": self.settings.weights.adversarial * generator_loss(self.critic(pose), "wasserstein").mean(),
            "reprojection": self.settings.weights.reprojection * mean_over_joints(miss, observed.visible).mean(),
            "camera": self.settings.weights.camera * camera_loss(camera).mean(),
        }

    def _real(self, batch: Batch) -> Tensor:
        """(B, 17, 3) unpaired poses in the critic's frame and scale."""
        assert batch.unpaired is not None
        assert batch.unpaired_camera is not None
        poses = batch.unpaired / self.pose_scale
        return rotate(batch.unpaired_camera.rotation, poses) if self.settings.frame == "camera" else poses
