"""The decoder D: appearance and part maps to an image and its part segmentation.

Up-convolutions conditioned at every scale on the part maps and on the appearance painted through them; two small ends,
D_I for the picture and D_seg for the parts (Kundu et al. 2020, suppl.). The finest level is thin: most of a step's time
would go there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup3d.models.layers import ConvNormAct

__all__ = ["Decoded", "Decoder"]


class Decoded(NamedTuple):
    """image: (N, 3, H, W) in [0, 1], the person over the constant background. segmentation: (N, P+1, H, W) logits."""

    image: Tensor
    segmentation: Tensor

    @property
    def alpha(self) -> Tensor:
        """(N, 1, H, W) probability of the person: one minus the background's."""
        return 1.0 - self.segmentation.float().softmax(1)[:, -1:]

    def over(self, plate: Tensor) -> Tensor:
        """The person laid over a plate (N, 3, H, W) by `alpha`."""
        alpha = self.alpha
        return alpha * self.image + (1.0 - alpha) * plate


class Decoder(nn.Module):
    """Appearance (N, P+1, C) and part maps (N, P, H, W) to a `Decoded`.

    Args:
        parts: P. channels: C of the appearance.
        widths: channels of the levels from the coarsest to the full resolution; each level doubles the side.
    """

    def __init__(self, parts: int, channels: int, widths: tuple[int, ...] = (128, 64, 48, 24)) -> None:
        super().__init__()
        condition = parts + channels
        self.whole = nn.Linear(channels, widths[0])
        self.levels = nn.ModuleList()
        previous = widths[0]
        for level, width in enumerate(widths):
            layers = [ConvNormAct(previous + condition, width)]
            if level < len(widths) - 1:
                layers.append(ConvNormAct(width, width))
            self.levels.append(nn.Sequential(*layers))
            previous = width
        self.to_image = nn.Conv2d(previous + channels, 3, 3, padding=1)  # D_I
        self.to_parts = nn.Conv2d(previous + parts, parts + 1, 3, padding=1)  # D_seg

    def forward(self, appearance: Tensor, maps: Tensor) -> Decoded:
        """Decode; H and W must divide by 2^(levels - 1)."""
        depth = len(self.levels) - 1
        height, width = maps.shape[-2:]
        if height % 2**depth or width % 2**depth:
            raise ValueError(f"a decoder of {depth + 1} levels needs sides that divide by {2**depth}, got {height}x{width}")
        per_part, whole = appearance[:, :-1], appearance[:, -1]
        x = self.whole(whole)[:, :, None, None].expand(-1, -1, height >> depth, width >> depth)
        for level, layers in enumerate(self.levels):
            shrink = 2 ** (depth - level)
            scaled = F.avg_pool2d(maps, shrink) if shrink > 1 else maps
            painted = paint(per_part, scaled)
            if level:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            condition = torch.cat([scaled, painted], 1)
            x = layers(torch.cat([x, condition.to(x.dtype)], 1))
        # The painted colours enter once more: the picture is a correction of them.
        image = self.to_image(torch.cat([x, painted.to(x.dtype)], 1)).float()
        image = torch.sigmoid(image + 4.0 * (painted[:, :3] - 0.5))
        return Decoded(image, self.to_parts(torch.cat([x, scaled.to(x.dtype)], 1)).float())


def paint(appearance: Tensor, maps: Tensor) -> Tensor:
    """Each pixel's mixture of part appearances: (N, P, C), (N, P, H, W) -> (N, C, H, W).

    sum_l φ_l a_l / max(1, sum_l φ_l): where parts overlap their vectors are averaged, outside them it is zero.
    """
    weights = maps / maps.sum(1, keepdim=True).clamp_min(1.0)
    return torch.einsum("npc,nphw->nchw", appearance, weights.to(appearance.dtype))
