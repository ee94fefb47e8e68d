"""Backbones: any `timm` network by name, or our own small one for two CPU cores.

Every backbone is a module that gives a list of feature maps, fine to coarse, and knows their channels.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from selfsup3d.models.layers import group_norm

__all__ = ["PatchResNet", "TimmBackbone"]


class TimmBackbone(nn.Module):
    """A `timm` network's features. GroupNorm takes the place of BatchNorm in its ResNets.

    Args:
        name: a `timm` name. levels: which feature levels, fine to coarse.
        weights: a checkpoint file; None = random weights. Nothing is ever downloaded.
    """

    def __init__(self, name: str, levels: tuple[int, ...] = (1, 2, 3, 4), weights: str | None = None) -> None:
        super().__init__()
        options: dict[str, Any] = {}
        if name.startswith("resnet"):
            # Residual branches that start at zero take a longer run than ours to open.
            options = {"norm_layer": group_norm, "zero_init_last": False}
        if weights is not None:
            options["pretrained_cfg_overlay"] = {"file": weights}
        network: Any = timm.create_model(
            name, pretrained=weights is not None, features_only=True, out_indices=levels, **options
        )
        self.network = network
        self.channels: list[int] = network.feature_info.channels()

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> feature maps."""
        return self.network(images)


class PatchResNet(nn.Module):
    """A residual network on 4 x 4 patches, for small images on a CPU **[ours]**.

    A usual stem spends a third of the time on 64 channels at half resolution; a patch of 48 numbers fits into the first
    stage's channels as it is.

    Args:
        channels: of the stages at strides 4, 8, 16, ... depths: residual blocks of each.
    """

    def __init__(self, channels: tuple[int, ...] = (64, 128, 192), depths: tuple[int, ...] = (2, 2, 2)) -> None:
        super().__init__()
        self.channels = list(channels)
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, 4, bias=False), group_norm(channels[0]))
        self.stages = nn.ModuleList()
        previous = channels[0]
        for stage, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            blocks = [ResidualBlock(previous, width, stride=2 if stage else 1)]
            blocks += [ResidualBlock(width, width) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
            previous = width

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> feature maps at strides 4, 8, 16, ..."""
        x = self.stem(images)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            group_norm(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            group_norm(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), group_norm(outputs))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        return self.act(self.body(x) + self.shortcut(x))
