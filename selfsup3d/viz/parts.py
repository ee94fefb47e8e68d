"""Part labels in colours, batched on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.puppet.puppet import Puppet, default_puppet

__all__ = ["colour_labels"]

_BACKGROUND = 0.12


def colour_labels(
    labels: Tensor, image: Tensor | None = None, *, puppet: Puppet | None = None, opacity: float = 0.65
) -> Tensor:
    """Part labels in the colours of the part table.

    Args:
        labels: (B, H, W) part ids, background = P.
        image: (B, 3, H, W) in [0, 1] to composite them over; None = a dark background.
        puppet: the part table; None = the default one.
        opacity: of the parts over the image.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    colours = _palette(puppet, labels.device)  # (P + 1, 3)
    coloured = colours[labels.clamp(0, len(colours) - 1)].permute(0, 3, 1, 2)
    if image is None:
        return coloured
    person = (labels < len(colours) - 1)[:, None].to(image.dtype) * opacity
    return image * (1.0 - person) + coloured.to(image.dtype) * person


def _palette(puppet: Puppet | None, device: torch.device) -> Tensor:
    """(P + 1, 3) colours in [0, 1], the background's last."""
    colours = torch.tensor((puppet or default_puppet()).colours, dtype=torch.float32, device=device)
    return torch.cat([colours, torch.full((1, 3), _BACKGROUND, device=device)])
