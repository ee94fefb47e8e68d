"""Camera degradation, strong augmentation of the images that a student learns pseudo-labels from, and people in other colours.

After Xie et al. 2020, "Self-training with Noisy Student": a student learns more from pseudo-labels if
the teacher sees clear images and the student augmented ones. Which augmentation: **[ours]**.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup3d.structures.random import uniform_noise

__all__ = ["recoloured", "strongly_augmented", "camera_degradation"]

_STREAMS = {"camera": 2, "grain": 3, "holes": 5, "colours": 7}
_HOLES = 3
_HOLE = (0.03, 0.12)  # half sides, of the image's
_FREQUENCY = 0.6  # of each hole


def strongly_augmented(images: Tensor, seeds: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] of a cheap camera, with wrong colours, and with up to three plain holes in them.

    It depends on the samples' seeds (B,) alone.
    """
    height, width = images.shape[-2:]
    u = uniform_noise(seeds, (4 + 8 * _HOLES,), _STREAMS["holes"])
    image = camera_degradation(images, seeds)
    mean = image.mean((2, 3), keepdim=True)
    contrast, gains = 0.5 + u[:, 0, None, None, None], 0.6 + 0.8 * u[:, 1:4, None, None]
    image = ((image - mean) * contrast + mean) * gains
    ys = (torch.arange(height, device=images.device)[None, :, None] + 0.5) / height
    xs = (torch.arange(width, device=images.device)[None, None, :] + 0.5) / width
    for hole in u[:, 4:].chunk(_HOLES, 1):
        there, x, y, wide, high = (value[:, None, None] for value in hole[:, :5].unbind(1))
        wide, high = (_HOLE[0] + (_HOLE[1] - _HOLE[0]) * side for side in (wide, high))
        inside = (there < _FREQUENCY) & ((xs - 0.2 - 0.6 * x).abs() < wide) & ((ys - 0.15 - 0.7 * y).abs() < high)
        image = torch.where(inside[:, None], hole[:, 5:, None, None], image)
    return image.clamp(0.0, 1.0)


def recoloured(images: Tensor, seeds: Tensor, share: float) -> Tensor:
    """Images (B, 3, H, W) in [0, 1], a share of them in other colours: hue turned, saturation, contrast and gains changed.

    It depends on the samples' seeds (B,) alone: all images of a sample are changed alike.
    """
    u = uniform_noise(seeds, (7,), _STREAMS["colours"])
    angle, saturation = 2 * torch.pi * u[:, 1], 0.4 + u[:, 2]
    # A turn about the grey axis: c I + (1 - c) G + s X, with G the mean of the channels (Rodrigues).
    grey = torch.full((3, 3), 1.0 / 3.0, device=images.device)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=images.device) / 3.0**0.5
    colourful = torch.eye(3, device=images.device) - grey
    cosine, sine = (saturation * angle.cos())[:, None, None], (saturation * angle.sin())[:, None, None]
    matrix = grey + cosine * colourful + sine * cross
    contrast, gains = 0.6 + 0.7 * u[:, 3, None], 0.8 + 0.4 * u[:, 4:]
    turned = torch.einsum("bij,bjhw->bihw", matrix, images.float())
    other = (turned - 0.5) * (contrast * gains)[:, :, None, None] + 0.5
    return torch.where((u[:, 0] < share)[:, None, None, None], other.clamp(0.0, 1.0), images)


def camera_degradation(image: Tensor, seeds: Tensor) -> Tensor:
    """Blur, exposure and noise of a cheap camera on (B, 3, H, W), by the samples' seeds."""
    u = uniform_noise(seeds, (4,), _STREAMS["camera"])[:, :, None, None, None]  # (B, 4, 1, 1, 1)
    blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    image = torch.lerp(image, blurred, 0.8 * (u[:, 0] - 0.5).clamp_min(0.0))
    image = (0.8 + 0.4 * u[:, 1]) * image + 0.1 * (u[:, 2] - 0.5)
    # Grain from two short hashed rows: hashing every pixel would cost more than rendering it.
    grain = uniform_noise(seeds, (image.shape[-1],), _STREAMS["grain"])  # (B, W)
    rows = grain[:, None, :, None] * 37.0 + grain[:, None, None, :] * 91.0  # (B, 1, W, W)
    noise = torch.frac(torch.sin(rows * 12.9898) * 43758.5453) - 0.5
    return (image + 0.06 * u[:, 3] * noise[..., : image.shape[-2], :]).clamp(0.0, 1.0)
