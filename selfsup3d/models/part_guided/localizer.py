"""The square that holds the person, and the image cropped to it: a spatial transformer ahead of the pose path **[ours]**.

A person who fills a quarter of an image's side is a handful of cells to a small backbone, too few to tell a left from a
right limb. A network of a tenth of its cost finds a square around the person, and the backbone reads the image cropped to it.
 After Jaderberg et al. 2015, "Spatial transformer networks"; the crop is not learned through the sampling,
but from the joints' extent, which is known of a rendered puppet.

Images are square. A crop is (N, 3): the centre's x and y and half the side, in units of the image's side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup3d.models.part_guided.backbone import PatchResNet
from selfsup3d.models.part_guided.layers import standardized

__all__ = ["Localizer", "into_image", "into_crop", "jittered", "crop_around", "crop_images"]

_MARGIN = 1.3  # of the joints' extent: hands, feet and clothes reach beyond the joints
_LEAST, _MOST = 0.08, 0.6  # half sides: from 10 px of 64 to a little more than the image


class Localizer(nn.Module):
    """Images to the crops that hold the person.

    Args:
        side: px that it reads; images of another size are resized.
        channels: of its two stages.
    """

    def __init__(self, side: int = 64, channels: tuple[int, int] = (24, 48)) -> None:
        super().__init__()
        self.side = side
        self.backbone = PatchResNet(channels, (1, 1))
        self.lateral = nn.Conv2d(channels[1], channels[0], 1)
        self.heat = nn.Conv2d(channels[0], 1, 3, padding=1)
        self.extent = nn.Sequential(nn.Linear(channels[1] + 4, 64), nn.GELU(), nn.Linear(64, 3))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> crops (N, 3) float32."""
        if images.shape[-1] != self.side:
            images = F.interpolate(images, (self.side, self.side), mode="area")
        fine, coarse = self.backbone(standardized(images))
        merged = fine + F.interpolate(self.lateral(coarse), fine.shape[-2:], mode="nearest")
        heat = self.heat(merged).float().flatten(1).softmax(-1).view(images.shape[0], *fine.shape[-2:])
        at = (torch.arange(heat.shape[-1], device=heat.device, dtype=heat.dtype) + 0.5) / heat.shape[-1]
        marginals = torch.stack([heat.sum(1), heat.sum(2)], 1)  # (N, 2, side): over x, over y
        centre = (marginals * at).sum(-1)  # (N, 2)
        spread = ((marginals * (at - centre[..., None]) ** 2).sum(-1) + 1e-6).sqrt()  # (N, 2)
        pooled = (heat.flatten(1)[:, None] @ F.interpolate(coarse.float(), fine.shape[-2:]).flatten(2).mT)[:, 0]
        raw = self.extent(torch.cat([centre * 2 - 1, spread.log() + 2, pooled], 1)).float()
        half = torch.exp(raw[:, 2:] - 1.0).clamp(_LEAST, _MOST)
        return torch.cat([centre + 0.1 * raw[:, :2], half], 1)


def crop_around(points: Tensor, seen: Tensor | None = None) -> Tensor:
    """Crops (N, 3) around points (N, J, 2) in units of the image side, as far as they lie inside the image.

    Of points that are not `seen` (N, J) nothing is known, NaN included; where none is, the crop is the whole image.
    """
    low = high = points.clamp(0, 1)
    if seen is not None:
        known, nobody = seen[..., None], ~seen.any(1)[:, None, None]
        low = torch.where(nobody, 0.0, torch.where(known, low, 1.0))
        high = torch.where(nobody, 1.0, torch.where(known, high, 0.0))
    low, high = low.amin(1), high.amax(1)
    half = 0.5 * _MARGIN * (high - low).amax(-1, keepdim=True)
    return torch.cat([(low + high) / 2, half.clamp(_LEAST, _MOST)], 1)


def jittered(crops: Tensor, uniform: Tensor) -> Tensor:
    """Crops (N, 3) as badly placed as a localizer places them; `uniform` (N, 3) in [0, 1).

    Off by up to 0.15 half sides along x and y, and by a factor of up to exp(0.15) in size.
    """
    shift = (uniform - 0.5) * 0.3
    centre, half = crops[:, :2], crops[:, 2:]
    return torch.cat([centre + shift[:, :2] * half, half * torch.exp(shift[:, 2:])], 1)


def crop_images(images: Tensor, crops: Tensor, mode: str = "bilinear", side: int | None = None) -> Tensor:
    """Images (N, C, H, W) cropped to squares (N, 3), at the same size or `side`; the border is repeated outside."""
    h, w = images.shape[-2:] if side is None else (side, side)
    y = (torch.arange(h, device=images.device, dtype=crops.dtype) + 0.5) / h * 2 - 1
    x = (torch.arange(w, device=images.device, dtype=crops.dtype) + 0.5) / w * 2 - 1
    centre, scale = crops[:, :2] * 2 - 1, crops[:, 2:] * 2  # grid_sample counts from -1 to 1
    grid_x = centre[:, :1] + scale * x  # (N, W)
    grid_y = centre[:, 1:] + scale * y  # (N, H)
    grid = torch.stack([grid_x[:, None, :].expand(-1, h, -1), grid_y[:, :, None].expand(-1, -1, w)], -1)
    return F.grid_sample(images, grid.to(images.dtype), mode=mode, padding_mode="border", align_corners=False)


def into_image(points: Tensor, crops: Tensor) -> Tensor:
    """Points (N, J, 2) in units of the crop's side to units of the image's side."""
    return crops[:, None, :2] + crops[:, None, 2:] * (points * 2 - 1)


def into_crop(points: Tensor, crops: Tensor) -> Tensor:
    """The inverse of `into_image`."""
    return ((points - crops[:, None, :2]) / crops[:, None, 2:] + 1) / 2
