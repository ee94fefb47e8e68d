"""A decoded person over another background.

The decoder draws people over its constant colour BG_c, so its images are C = F + (1 - a) BG_c with the person's share
F already weighed by the coverage a: over a background they are C + (1 - a)(background - BG_c) (constant-colour matting: Smith & Blinn
1996). Blended as if the constant colour were the person's, they would keep a rim of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["coverage", "composite"]


def coverage(image: Tensor, maps: Tensor, colour: Tensor) -> Tensor:
    """(N, 1, H, W) share of each pixel that the person covers **[ours]**.

    All that the part maps cover, since the decoder draws the puppet there; and wherever else the image departs from
    the constant colour (hair, clothes), the least share of any colour in [0, 1] that explains it. `Decoded.alpha` does
    not serve: a short training leaves the background's probability near one third in the empty part of the image,
    and a grey veil over every background.

    Args:
        image: (N, 3, H, W) in [0, 1]. maps: (N, P, H, W) that it was decoded from. colour: (3,) BG_c, inside (0, 1).
    """
    covered = maps.float().sum(1, keepdim=True).clamp(max=1.0)
    base = colour.view(1, 3, 1, 1)
    departs = torch.maximum((image - base) / (1.0 - base), (base - image) / base)
    return torch.maximum(covered, departs.amax(1, keepdim=True))


def composite(image: Tensor, maps: Tensor, colour: Tensor, background: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1]: decoded people over a background (N or 1, 3, H, W); see `coverage` for the rest.

    Over the constant colour itself this is the decoded image as it is.
    """
    behind = background - colour.view(1, 3, 1, 1)
    return (image + (1.0 - coverage(image, maps, colour)) * behind).clamp(0.0, 1.0)
