"""Which part each pixel of an image shows: the puppet in the predicted pose, the encoder's own coarse parts, the pixels.

The puppet is sharp and knows what lies before what, but stands where the pose is wrong; the encoder's part logits
follow the image, at a quarter of its resolution. Their product is where a small network starts, which corrects it by
the image; it learns from that product times the saliency, and needs no saliency afterwards **[ours]**.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup3d.models.part_guided.layers import COLOUR, ConvNormAct, standardized
from selfsup3d.models.part_guided.localizer import into_crop

__all__ = ["PartSegmenter", "known_parts", "observed_parts"]

_DOUBT = 0.02  # probability that the puppet leaves to each part anywhere: it may stand wrong
_BLUR = 0.03  # of the image's side: how far the puppet's outlines are blurred, twice
_TRUST = 0.5  # power of the encoder's probabilities beside the puppet's
_SURE = 0.98  # probability that the saliency gives at most


def observed_parts(visible: Tensor, part_logits: Tensor, crop: Tensor) -> Tensor:
    """(N, P + 1, H, W) log-probabilities, background last: the puppet's, times the encoder's; no gradients.

    Args:
        visible: (N, P, H, W) each part's visible share of the pixels, by the puppet (`textures.visible_parts`).
        part_logits: (N, P + 1, h, w) of the encoder, over its crop. crop: (N, 3), see `PoseCode`.
    """
    with torch.no_grad():
        H, W = visible.shape[-2:]
        prior = torch.cat([visible, 1.0 - visible.sum(1, keepdim=True)], 1).clamp_min(0.0).float()
        side = 2 * round(_BLUR * W / 2) + 1
        for _ in range(2):
            prior = F.avg_pool2d(F.pad(prior, (side // 2,) * 4, mode="replicate"), side, 1)
        likelihood = _in_image(part_logits.float().log_softmax(1), crop, (H, W))
        return ((prior + _DOUBT).log() + _TRUST * likelihood).log_softmax(1)


def known_parts(log_parts: Tensor, saliency: Tensor) -> Tensor:
    """(N, P + 1, H, W) log-probabilities times those of a saliency (N, 1, H, W) in [0, 1]."""
    person = saliency.clamp(1.0 - _SURE, _SURE)
    return (log_parts + torch.cat([person.expand_as(log_parts[:, :-1]), 1.0 - person], 1).log()).log_softmax(1)


class PartSegmenter(nn.Module):
    """Corrects log-probabilities of parts by the image; starts as what it is given.

    Args:
        parts: P. widths: channels at full, half and quarter resolution.
    """

    def __init__(self, parts: int, widths: tuple[int, int, int] = (16, 32, 48)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.enter = ConvNormAct(COLOUR + parts + 1, fine)
        self.down = nn.ModuleList([ConvNormAct(fine, middle, 2), ConvNormAct(middle, coarse, 2)])
        self.bottom = ConvNormAct(coarse, coarse)
        self.up = nn.ModuleList([ConvNormAct(coarse + middle, middle), ConvNormAct(middle + fine, fine)])
        self.leave = nn.Conv2d(fine, parts + 1, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor, log_parts: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] and log-probabilities (N, P + 1, H, W) -> logits (N, P + 1, H, W)."""
        x = torch.cat([standardized(images), 0.5 * log_parts.clamp_min(-6.0)], 1)
        seen = [self.enter(x.contiguous(memory_format=torch.channels_last))]
        for layer in self.down:
            seen.append(layer(seen[-1]))
        x = self.bottom(seen.pop())
        for layer in self.up:
            finer = seen.pop()
            x = layer(torch.cat([F.interpolate(x, finer.shape[-2:], mode="nearest"), finer], 1))
        return log_parts + self.leave(x).float()


def _in_image(log_parts: Tensor, crop: Tensor, size: tuple[int, int]) -> Tensor:
    """Log-probabilities (N, P + 1, h, w) over a crop, brought to the image; outside the crop there is background."""
    N, H, W = len(crop), *size
    y = (torch.arange(H, device=crop.device, dtype=crop.dtype) + 0.5) / H
    x = (torch.arange(W, device=crop.device, dtype=crop.dtype) + 0.5) / W
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(1, H * W, 2).expand(N, -1, -1)
    inside = into_crop(pixels, crop).view(N, H, W, 2)
    found = F.grid_sample(log_parts, inside * 2 - 1, padding_mode="border", align_corners=False)
    outside = ((inside < 0) | (inside > 1)).any(-1)[:, None]
    nothing = torch.full_like(log_parts[:, :, :1, :1], -8.0)
    nothing[:, -1] = 0.0
    return torch.where(outside, nothing, found)
