"""Whom an image shows: the person whose parts have the nearest colours. No network judges, so nobody is recognised by face.

A person is the mean of the colour histograms of the parts in their true images; an image is taken for the person whose
histograms are nearest to its own. Distances are between cumulative histograms (the earth mover's distance of each channel),
so that a slightly other shade is slightly farther, not in another bin.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["part_colours", "shows_own_person"]

_BINS = 16


def part_colours(image: Tensor, labels: Tensor, parts: int) -> Tensor:
    """Cumulative colour histograms of the parts.

    Args:
        image: (B, 3, H, W) in [0, 1].
        labels: (B, H, W) int64, where each part is in it; `parts` = background.
        parts: P.

    Returns:
        (B, P, 3, 16): the share of a part's pixels at or below each level of each channel; NaN where a part has no pixel.
    """
    masks = torch.nn.functional.one_hot(labels, parts + 1)[..., :parts].flatten(1, 2).transpose(1, 2).to(image)
    levels = torch.arange(1, _BINS + 1, device=image.device) / _BINS
    below = (image.clamp(0, 1)[..., None] <= levels).to(image).flatten(2, 3)  # (B, 3, HW, 16)
    counts = torch.einsum("bpn,bcnk->bpck", masks, below)
    return counts / masks.sum(-1)[..., None, None]


def shows_own_person(colours: Tensor, true_colours: Tensor, people: np.ndarray) -> Tensor:
    """(N,) 1 where an image's colours are nearest to those of its own person, else 0; NaN where it has none.

    Args:
        colours: (N, P, 3, K) of the images, from `part_colours`.
        true_colours: (N, P, 3, K) of true images of the same people: their mean is the person.
        people: (N,) who each is.
    """
    names, own = np.unique(people, return_inverse=True)
    gallery = [true_colours[own == person].nanmean(0) for person in range(len(names))]
    distance = torch.stack([(colours - person).abs().nanmean((1, 2, 3)) for person in gallery], 1)  # (N, people)
    nearest = distance.nan_to_num(nan=torch.inf).argmin(1)
    right = (nearest == torch.from_numpy(own).to(nearest)).to(colours.dtype)
    return torch.where(distance.isnan().all(1), torch.full_like(right, torch.nan), right)
