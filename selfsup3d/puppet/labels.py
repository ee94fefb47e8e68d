"""Labels from the puppet: part labels y^p, foreground w_fg, the uncertain band w_unc, and the soft silhouette."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfsup3d.puppet.coverage import Tiles, pixel_centres, tile_distances, touched_tiles
from selfsup3d.puppet.puppet import Puppet
from selfsup3d.puppet.stack import TileStack, flat_parts, inverse_depth
from selfsup3d.puppet.transform import PartGeometry

__all__ = ["Labels", "part_labels", "soft_silhouette"]

UNCERTAIN_BAND = 0.25
"""Full width of the uncertain band around an outline, in part widths."""


@dataclass(frozen=True)
class Labels:
    """Hard labels of the puppet, without gradients.

    Attributes:
        parts: (..., H, W) int64 y^p: id of the nearest part that covers the pixel, P for the background.
        foreground: (..., 1, H, W) w_fg, 1 where any part covers.
        uncertain: (..., 1, H, W) w_unc, 1 in a band around every visible outline.
    """

    parts: Tensor
    foreground: Tensor
    uncertain: Tensor


def part_labels(maps: Tensor, geometry: PartGeometry, size: tuple[int, int], puppet: Puppet) -> Labels:
    """Depth-aware labels of drawn part maps. **[ours in form; named in Kundu et al. 2020]**

    A part covers the pixels where its map is at least 1/2. Depth is interpolated along the limb as a straight segment
    in space projects (linear in 1/depth, held constant beyond the joints); a part seen end-on takes its nearer end.
    Ties go to the lower id. An outline is uncertain within +-1/8 part width, unless a nearer part lies over it.

    Args:
        maps: (..., P, H, W) of `part_maps`, either path.
        geometry: what they were drawn from.
        size: (H, W) px.
        puppet: the table of parts.

    Returns:
        Labels with the leading dimensions of `maps`; no gradients.

    Raises:
        ValueError: maps, geometry and size do not belong together.
    """
    lead, P, (H, W) = maps.shape[:-3], len(puppet), size
    if maps.shape != (*geometry.width.shape, H, W) or maps.shape[-3] != P:
        raise ValueError(f"maps {tuple(maps.shape)} do not fit geometry {tuple(geometry.width.shape)} and size {size}")
    with torch.no_grad(), torch.autocast(maps.device.type, enabled=False):
        parts = flat_parts(geometry)
        band = UNCERTAIN_BAND / 2 * parts.width
        margin = (band + torch.where(parts.share < 1, parts.width / 2, 0.0)).clamp(min=1.0)
        tiles = touched_tiles(parts.planes, parts.visible > 0, margin, size)
        stack = TileStack(tiles, P, maps.shape[:-3].numel(), size)

        nearness = inverse_depth(parts, tiles)
        keys = stack.keys(nearness) * (stack.gather(maps) >= 0.5)
        labels = stack.image(stack.layer_of(stack.spread(keys).amax(1)), P).view(*lead, H, W)
        distance, limit = _distances(parts, tiles), band[tiles.shape, None]
        known = stack.spread(nearness * (distance > limit)).amax(1)
        doubtful = stack.spread(nearness * (distance.abs() <= limit)).amax(1)
        uncertain = stack.image((doubtful > known).to(maps.dtype), 0).view(*lead, 1, H, W)
        foreground = (labels != P).to(maps.dtype).unsqueeze(-3)
    return Labels(labels, foreground, uncertain)


def _distances(parts: PartGeometry, tiles: Tiles) -> Tensor:
    """(K, TILE²) signed px to the outline; foreshortened parts blended with their disc like their maps."""
    distance = tile_distances(parts.planes, tiles)
    short = (parts.share[tiles.shape] < 1).nonzero().flatten()
    if len(short):
        shape = tiles.shape[short]
        centre = (parts.q1[shape] + parts.q2[shape]) / 2
        x, y = pixel_centres(tiles[short], centre.dtype)
        away = torch.hypot(x - centre[:, 0, None, None], y - centre[:, 1, None, None]).flatten(1)
        disc = parts.width[shape, None] / 2 - away
        distance[short] = torch.lerp(disc, distance[short], parts.share[shape, None])
    return distance


def soft_silhouette(maps: Tensor) -> Tensor:
    """1 - prod over parts of (1 - phi): the only direct gradient from shape to pose.

    (..., P, H, W) in [0, 1] -> (..., 1, H, W). Differentiable; exact gradients where any phi is 1.
    """
    return _SoftSilhouette.apply(maps)


class _SoftSilhouette(torch.autograd.Function):
    """The product by hand: autograd's own handles zeros, which are most of the pixels here, on a slow path."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.save_for_backward(maps)
        clear = 1.0 - maps.select(-3, 0)
        for p in range(1, maps.shape[-3]):
            clear = torch.addcmul(clear, clear, maps.select(-3, p), value=-1.0)
        return (1.0 - clear).unsqueeze(-3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (maps,) = ctx.saved_tensors
        result = torch.empty_like(maps)
        before = gradient.squeeze(-3).clone()
        for p in range(maps.shape[-3]):  # gradient · prod of the parts before p
            result.select(-3, p).copy_(before)
            before.addcmul_(before.clone(), maps.select(-3, p), value=-1.0)
        after = torch.ones_like(before)
        for p in range(maps.shape[-3] - 1, -1, -1):
            result.select(-3, p).mul_(after)
            after.addcmul_(after.clone(), maps.select(-3, p), value=-1.0)
        return result
