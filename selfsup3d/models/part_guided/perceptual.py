"""A perceptual distance: how far apart two images are in the features of a network that was trained on photographs.

After Johnson et al. 2016, "Perceptual losses for real-time style transfer": mean absolute difference of feature maps within
a mask, each channel in units of its own mean size **[ours]**. The network stands still, and its weights come from a file.
Those of ImageNet know class labels, so a system that is trained with them is a named variant.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup3d.models.part_guided.backbone import TimmBackbone
from selfsup3d.models.part_guided.layers import standardized

__all__ = ["PerceptualDistance"]

_LEVELS = (0, 1, 2)
"""Strides 2, 4 and 8: edges and textures; what lies above knows things, and hardly where their edges are."""


class PerceptualDistance(nn.Module):
    """Distance of images by a frozen `timm` network.

    Args:
        name: of the network, an EfficientNet. weights: its safetensors file.

    Raises:
        InputError: see `TimmBackbone`.
    """

    def __init__(self, name: str, weights: str | Path) -> None:
        super().__init__()
        self.network = TimmBackbone(name, levels=_LEVELS, weights=str(weights))
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """(B,) of images (B, 3, H, W) in [0, 1] that may differ within the mask (B, 1, H, W); gradients reach `image` alone."""
        image = mask * image + (1.0 - mask) * target
        with torch.no_grad():
            wanted = self.network(standardized(target))
        total = torch.zeros(len(image), device=image.device)
        for found, true in zip(self.network(standardized(image)), wanted, strict=True):
            size = true.float().abs().mean((0, 2, 3), keepdim=True) + 1e-3
            difference = ((found.float() - true.float()) / size).abs().mean(1, keepdim=True)
            share = F.adaptive_avg_pool2d(mask, (true.shape[-2], true.shape[-1]))
            total = total + (share * difference).mean((1, 2, 3)) / share.mean((1, 2, 3)).clamp_min(1e-3)
        return total / len(_LEVELS)
