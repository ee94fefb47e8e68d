"""How far away a person is: the root's depth, from keypoints (PoseLifter) or from an image (RootNet).

Depth in metres cannot be read off an image without its focal length. Both forms divide that out: keypoints give the
*canonical* depth Z * 1000 / sqrt(fx fy), as a camera of focal length 1000 would have seen the person (Chang et al.
2019); an image gives a correction gamma of k = sqrt(fx fy A_real / A_image), the depth at which an area of 2 m x 2 m
fills the person's box (Moon et al. 2019). Both give the root-relative pose besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from selfsup3d.config.lifters import ImageRootConfig, RootDepthConfig
from selfsup3d.geometry.camera import normalize_pixels
from selfsup3d.models.lifters.base import Lifter
from selfsup3d.models.modules.mlp import ResidualMLP
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.models.modules.poses import PoseScaler, labelled_poses
from selfsup3d.models.part_guided.backbone import check_backbone
from selfsup3d.models.system import System, Update
from selfsup3d.structures.batch import Batch, PoseOutput
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["ImageRoot", "KeypointRoot", "focal_length"]

REAL_SIDE = 2.0
"""Metres: the side of A_real."""


def focal_length(K: Tensor) -> Tensor:
    """sqrt(fx fy) (...) px of (..., 3, 3)."""
    return (K[..., 0, 0] * K[..., 1, 1]).sqrt()


class KeypointRoot(Lifter):
    """Pose and canonical root depth of keypoints, whose size and place in the image are features.

    Args:
        settings: sizes of the network.
    """

    requires = ("joints_2d", "joints_3d", "K")
    unit = "m"
    depth_mean: Tensor
    depth_std: Tensor

    def __init__(self, settings: RootDepthConfig) -> None:
        super().__init__(Normalizer("moments"))
        self.scaler = PoseScaler()
        outputs = 3 * (NUM_JOINTS - 1) + 1
        self.network = ResidualMLP(
            2 * NUM_JOINTS + 3, outputs, settings.width, settings.blocks, norm="batch", dropout=settings.dropout
        )
        self.register_buffer("depth_mean", torch.zeros(()))
        self.register_buffer("depth_std", torch.ones(()))

    def fit_poses(self, batches: list[Batch]) -> None:
        """Statistics of poses and of canonical depths."""
        self.scaler.fit(labelled_poses(batches))
        for batch in batches:
            batch.require(("K",), by="KeypointRoot.fit")
        depth = torch.cat([canonical_depth(batch) for batch in batches])
        depth = depth[torch.isfinite(depth)]
        self.depth_mean.copy_(depth.mean())
        self.depth_std.copy_(depth.std().clamp(min=1e-6))

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) metres."""
        return self.scaler.inverse(self.network(observed.features)[:, :-1])

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """L1 of the canonical depth, mean squared error of the pose, both standardised; NaN labels count as 0."""
        assert batch.joints_3d is not None
        found = self.network(self.observe(batch).features)
        target = torch.cat(
            (self.scaler(batch.joints_3d), ((canonical_depth(batch) - self.depth_mean) / self.depth_std)[:, None]), -1
        )
        known = torch.isfinite(target)
        error = (found - torch.where(known, target, 0.0)) * known
        return {"depth": error[:, -1].abs().mean(), "pose": error[:, :-1].square().mean()}

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1) -> PoseOutput:
        """Pose and root; without K the training data's mean K stands in."""
        batch.require(self.predict_requires, by="KeypointRoot.predict")
        observed = self.observe(batch)
        found = self.network(observed.features)
        depth = (found[:, -1] * self.depth_std + self.depth_mean) * focal_length(observed.K) / 1000.0
        plane = torch.nn.functional.pad(observed.plane[:, 0], (0, 1), value=1.0)
        return PoseOutput(
            pose=self.scaler.inverse(found[:, :-1])[:, None], unit=self.unit, root=(plane * depth[:, None])[:, None]
        )


def canonical_depth(batch: Batch) -> Tensor:
    """(B,) the root's depth in metres as a camera of focal length 1000 px would have it."""
    assert batch.joints_3d is not None
    assert batch.K is not None
    return batch.joints_3d[:, 0, 2] * 1000.0 / focal_length(batch.K)


class ImageRoot(System):
    """Root and pose of the person in a square crop: gamma, read off the image, times k.

    The crop is the person's box, so A_image is its area and K that of the crop.

    Args:
        settings: `backbone` is any timm network by name, with random weights. Its BatchNorm makes two processes differ from one.
    """

    requires = ("target", "joints_3d", "K")
    predict_requires = ("target", "K")

    def __init__(self, settings: ImageRootConfig) -> None:
        super().__init__()
        import timm  # slow to load, and needed for this alone

        check_backbone(settings.backbone)
        self.backbone = timm.create_model(settings.backbone, pretrained=False, num_classes=0)
        features: int = self.backbone.num_features  # type: ignore[assignment]
        self.gamma, self.place = nn.Linear(features, 1), nn.Linear(features, 2)
        for layer, bias in ((self.gamma, 1.0), (self.place, 0.0)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, bias)
        self.pose = nn.Linear(features, 3 * (NUM_JOINTS - 1))
        self.scaler = PoseScaler()

    def fit(self, batches: Iterable[Batch]) -> None:
        """Statistics of the poses."""
        self.scaler.fit(labelled_poses(list(batches)))

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """All in one."""
        return {"root": self.parameters()}

    def updates(self, step: int, progress: float) -> list[Update]:
        """One."""
        return [Update("root", ("root",), "main")]

    def estimate(self, images: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised pose (B, 48), root (B, 3) in metres and k (B,) of crops (B, 3, S, S)."""
        features = self.backbone(2.0 * images - 1.0).float()
        size = images.shape[-1]
        k = focal_length(K) * REAL_SIDE / size
        depth = self.gamma(features)[:, 0].float() * k
        pixels = size * (0.5 + 0.5 * self.place(features).float())
        plane = normalize_pixels(pixels[:, None], K)[:, 0]
        return self.pose(features).float(), nn.functional.pad(plane, (0, 1), value=1.0) * depth[:, None], k

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """L1 of the root, in units of k (so, of gamma), and mean squared error of the standardised pose; NaN labels
        count as 0."""
        assert batch.target is not None
        assert batch.joints_3d is not None
        assert batch.K is not None
        pose, root, k = self.estimate(batch.target, batch.K)
        place, target = batch.joints_3d[:, 0], self.scaler(batch.joints_3d)
        placed, known = torch.isfinite(place), torch.isfinite(target)
        miss = ((root - torch.where(placed, place, 0.0)) * placed).abs().sum(-1) / k
        error = (pose - torch.where(known, target, 0.0)) * known
        return {"root": miss.mean(), "pose": error.square().mean()}

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1) -> PoseOutput:
        """Pose and root of the person in `target`."""
        batch.require(self.predict_requires, by="ImageRoot.predict")
        assert batch.target is not None
        assert batch.K is not None
        pose, root, _ = self.estimate(batch.target, batch.K)
        return PoseOutput(pose=self.scaler.inverse(pose)[:, None], unit="m", root=root[:, None])
