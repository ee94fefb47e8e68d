"""Encoders and decoders of each modality (Budaraju, after Spurr et al. 2018).

Batch normalisation in the image's networks makes two processes differ from one, as in the work they come from;
"group" takes its place on request, and the pose networks of the thesis have no normalisation at all.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.models.modules.gaussian import Gaussian
from selfsup3d.models.modules.mlp import ResidualMLP
from selfsup3d.models.part_guided.backbone import PatchResNet, check_backbone
from selfsup3d.models.part_guided.layers import group_norm

__all__ = [
    "GaussianHead",
    "ImageCritic",
    "ImageDecoder",
    "ImageEncoder",
    "ImageNorm",
    "PoseDecoder",
    "PoseEncoder",
]

ImageNorm = Literal["batch", "group"]

_SMALLEST = 8  # side of the decoder's first feature map, px
_MOST_STEPS = 5  # to 256 px
_HIDDEN = 512
PATCH = "patch"
_LOG_VARIANCE = 10.0
"""Log-variances are kept within +- this: exp of more overflows half precision, and no posterior needs it."""


class GaussianHead(nn.Module):
    """Two linear layers: mean and log-variance."""

    def __init__(self, inputs: int, latent: int) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(inputs, latent), nn.Linear(inputs, latent)

    def forward(self, features: Tensor) -> Gaussian:
        """(B, inputs) -> N over (B, latent), float32 whatever the autocast."""
        log_variance = self.log_variance(features).float()
        return Gaussian(self.mean(features).float(), log_variance.clamp(-_LOG_VARIANCE, _LOG_VARIANCE))


def _trunk(settings: CrossModalConfig, inputs: int, outputs: int | None) -> ResidualMLP:
    """Hidden layers of a pose network: one layer, then blocks of two; `outputs` None ends after the last hidden one."""
    s = settings
    return ResidualMLP(inputs, outputs, s.width, s.blocks, norm=s.norm, dropout=s.dropout, skip=s.residual)


class PoseEncoder(nn.Module):
    """Hidden layers, then mean and log-variance.

    Args:
        inputs: numbers of a pose.
        settings: size of the latent and of the hidden layers; the norm "batch" makes two processes differ from one.
    """

    def __init__(self, inputs: int, settings: CrossModalConfig) -> None:
        super().__init__()
        self.trunk = _trunk(settings, inputs, None)
        self.head = GaussianHead(settings.width, settings.latent)

    def forward(self, pose: Tensor) -> Gaussian:
        """(B, inputs) -> N over (B, D)."""
        return self.head(self.trunk(pose))


class PoseDecoder(nn.Module):
    """The pose encoder mirrored: hidden layers, then a linear layer.

    Args:
        outputs: numbers of a pose.
        settings: as of the encoder; with `upsampling` a linear layer from the latent to the width comes before the
            hidden layers, as the mirror of the encoder's layers behind its hidden ones.
    """

    def __init__(self, outputs: int, settings: CrossModalConfig) -> None:
        super().__init__()
        self.upsampling = nn.Linear(settings.latent, settings.width) if settings.upsampling else nn.Identity()
        self.trunk = _trunk(settings, settings.width if settings.upsampling else settings.latent, outputs)

    def forward(self, z: Tensor) -> Tensor:
        """(B, D) -> (B, outputs), float32."""
        return self.trunk(self.upsampling(z))


class ImageEncoder(nn.Module):
    """Features of an image, then mean and log-variance.

    A timm network's features are averaged over the image, as in the thesis. "patch" is our own small network for CPUs
    (`models.backbone.PatchResNet`), whose 16 last cells go through a hidden layer side by side: what is where in the
    image is kept **[ours]**.

    Args:
        backbone: "patch", or a timm name (the thesis has resnet18). size: of the images, px. latent: D.
        weights: file with weights of a timm backbone; None = random. Nothing is ever downloaded.
        norm: of a timm backbone: "batch" (its own) or "group". "patch" has GroupNorm.

    Raises:
        ValueError: weights for "patch", or images too small for it.
    """

    def __init__(
        self,
        backbone: str,
        size: int,
        latent: int,
        weights: str | Path | None = None,
        norm: ImageNorm = "batch",
    ) -> None:
        super().__init__()
        if backbone == PATCH:
            if weights is not None:
                raise ValueError("there are no weights for the backbone 'patch'; name a timm backbone")
            self.backbone: Any = _patch_network(size)
            self.head = GaussianHead(_HIDDEN, latent)
            return
        check_backbone(backbone, None if weights is None else str(weights))
        options: dict[str, Any] = {"norm_layer": group_norm} if norm == "group" else {}
        if weights is not None:
            options["pretrained_cfg_overlay"] = {"file": str(weights)}
        import timm  # slow to load, and needed for this alone

        network: Any = timm.create_model(backbone, pretrained=weights is not None, num_classes=0, **options)
        self.backbone = network
        self.head = GaussianHead(int(network.num_features), latent)

    def forward(self, images: Tensor) -> Gaussian:
        """(B, 3, S, S) in [-1, 1] -> N over (B, D)."""
        return self.head(self.backbone(images))


class _Coarsest(nn.Module):
    """The last of a backbone's feature maps."""

    def __init__(self, network: PatchResNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[-1]


def _patch_network(size: int) -> nn.Module:
    """(B, 3, S, S) -> (B, hidden); the last map has 4 x 4 cells."""
    stages = round(math.log2(size / 8)) if size > 0 else 0
    if not 1 <= stages <= 5 or 8 << stages != size:
        raise ValueError(f"the backbone 'patch' reads images of 16 to 256 px, not {size}")
    channels = tuple(min(64 * (k + 1), 192) for k in range(stages))
    return nn.Sequential(
        _Coarsest(PatchResNet(channels, (2,) * stages)),
        nn.Flatten(),
        nn.Linear(16 * channels[-1], _HIDDEN),
        nn.LayerNorm(_HIDDEN),
        nn.ReLU(),
    )


class ImageDecoder(nn.Module):
    """Linear to 256 x 8 x 8, then up-convolutions to the image's size; tanh at the end.

    256 px take the five of the thesis, 64 px the first two and a last one to 3 channels. Each is followed by a
    normalisation and ReLU, but none follows the last except tanh.

    Args:
        size: of the image, px; 8 times a power of two. latent: D. norm: "batch" or "group".
        width: channels at 8 px, halved at each up-convolution.

    Raises:
        ValueError: a size that up-convolutions cannot make.
    """

    def __init__(self, size: int, latent: int, norm: ImageNorm = "batch", width: int = 256) -> None:
        super().__init__()
        steps = round(math.log2(size / _SMALLEST)) if size > 0 else 0
        if width >> (steps - 1 if steps else 0) < 1:
            raise ValueError(f"image_width {width} cannot be halved {steps - 1} times")
        self.width = width
        if not 1 <= steps <= _MOST_STEPS or _SMALLEST << steps != size:
            raise ValueError(f"images of {size} px cannot be decoded: 16, 32, 64, 128 and 256 can")
        self.enter = nn.Linear(latent, width * _SMALLEST**2)
        layers: list[nn.Module] = []
        for step in range(1, steps):
            before, after = width >> (step - 1), width >> step
            layers += [
                nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after) if norm == "batch" else group_norm(after),
                nn.ReLU(inplace=True),
            ]
        layers.append(nn.ConvTranspose2d(width >> (steps - 1), 3, 4, 2, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """(B, D) -> (B, 3, S, S) in [-1, 1], float32."""
        start = self.enter(z).view(-1, self.width, _SMALLEST, _SMALLEST)
        return torch.tanh(self.layers(start).float())


class ImageCritic(nn.Module):
    """Convolutions of stride 2 down to 4 x 4, then one logit; the last feature map is what VAE-GAN compares.

    Args:
        size: of the image, px. width: channels of the first layer, doubled at each up to eight times.
    """

    def __init__(self, size: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, side, channels = 3, size, width
        while side > 4:
            layers += [nn.Conv2d(before, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
            before, side, channels = channels, side // 2, min(2 * channels, 8 * width)
        self.trunk = nn.Sequential(*layers)
        self.leave = nn.Linear(before * side * side, 1)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, 4, 4)."""
        return self.trunk(images)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B,) logits."""
        return self.leave(self.features(images).flatten(1))[:, 0].float()
