"""Part labels, part maps and image errors in colours, batched on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.puppet.puppet import Puppet, default_puppet
from selfsup3d.viz.colours import heat

__all__ = ["colour_labels", "colour_part_maps", "error_heat"]

_BACKGROUND = 0.12


def colour_labels(
    labels: Tensor, image: Tensor | None = None, *, puppet: Puppet | None = None, opacity: float = 0.65
) -> Tensor:
    """Part labels in the colours of the part table.

    Args:
        labels: (B, H, W) part ids, background = P.
        image: (B, 3, H, W) in [0, 1] to lay them over; None = a dark background.
        puppet: the part table; None = the default one.
        opacity: of the parts over the image.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    colours = _palette(puppet, labels.device)  # (P + 1, 3)
    painted = colours[labels.clamp(0, len(colours) - 1)].permute(0, 3, 1, 2)
    if image is None:
        return painted
    person = (labels < len(colours) - 1)[:, None].to(image.dtype) * opacity
    return image * (1.0 - person) + painted.to(image.dtype) * person


def colour_part_maps(maps: Tensor, image: Tensor | None = None, *, puppet: Puppet | None = None) -> Tensor:
    """Soft part maps (B, P, H, W) in [0, 1] as a mixture of the parts' colours -> (B, 3, H, W) in [0, 1]."""
    colours = _palette(puppet, maps.device)
    covered = maps.amax(1, keepdim=True)
    mixture = torch.einsum("bphw,pc->bchw", maps.float(), colours[:-1]) / maps.float().sum(1, keepdim=True).clamp_min(
        1e-6
    )
    behind = colours[-1].view(1, 3, 1, 1) if image is None else image
    return behind * (1.0 - covered) + mixture * covered


def error_heat(image: Tensor, target: Tensor, limit: float = 0.5) -> Tensor:
    """Mean absolute difference of two images (B, 3, H, W) as heat from 0 (green) to `limit` (dark red)."""
    difference = (image - target).abs().mean(1).detach().cpu().numpy()
    colours = torch.from_numpy(heat(difference, limit)).to(image.device)
    return colours.permute(0, 3, 1, 2).to(image.dtype) / 255.0


def _palette(puppet: Puppet | None, device: torch.device) -> Tensor:
    """(P + 1, 3) colours in [0, 1], the background's last."""
    colours = torch.tensor((puppet or default_puppet()).colours, dtype=torch.float32, device=device)
    return torch.cat([colours, torch.full((1, 3), _BACKGROUND, device=device)])
