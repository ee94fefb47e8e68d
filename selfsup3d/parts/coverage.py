"""Fill convex polygons with anti-aliased edges: the kernel under the analytic part maps.

A pixel's coverage is clamp(1/2 + d / edge), d the least of its signed distances to the polygon's sides. Nearly all
pixels are 0 or 1 and have no gradient, so the work is done on the small tiles that a polygon touches, and backward
only on the band of pixels that its outline crosses. `polygon_coverage_plain` says the same in two lines of autograd and
is the reference that the fast one is tested against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "Tiles",
    "pixel_centres",
    "polygon_coverage",
    "polygon_coverage_plain",
    "tile_distances",
    "tile_size",
    "touched_tiles",
]

_CHUNK = 1 << 17  # values a pass, so that the intermediate distances stay in the processor's cache


def polygon_coverage_plain(
    planes: Tensor, weight: Tensor, owner: Tensor, maps: int, size: tuple[int, int], edge: float = 1.0
) -> Tensor:
    """The definition of `polygon_coverage`, written plainly: every polygon at every pixel, gradients by autograd."""
    H, W = size
    x = torch.arange(W, dtype=planes.dtype, device=planes.device) + 0.5
    y = torch.arange(H, dtype=planes.dtype, device=planes.device) + 0.5
    a, b, c = planes[..., None, None].unbind(2)  # (S, E, 1, 1)
    distance = (a * x + b * y[:, None] + c).amin(1)  # (S, H, W)
    coverage = (0.5 + distance / edge).clamp(0.0, 1.0) * weight[:, None, None]
    return coverage.new_zeros(maps, H, W).index_add(0, owner, coverage)


def polygon_coverage(
    planes: Tensor, weight: Tensor, owner: Tensor, maps: int, size: tuple[int, int], edge: float = 1.0
) -> Tensor:
    """Sum weighted convex polygons into maps; differentiable (once) in `planes` and `weight`.

    Args:
        planes: (S, E, 3) sides (a, b, c), a² + b² = 1, px: inside is where a x + b y + c >= 0 for all E.
        weight: (S,) of each polygon; polygons of weight 0 cost nothing and get no gradient.
        owner: (S,) int64, the map each polygon is added to; the first `maps` polygons own maps 0, 1, 2, ...
        maps: number N of maps.
        size: (H, W) px.
        edge: px over which coverage falls from 1 to 0 across a side.

    Returns:
        (N, H, W), dtype of `planes`.
    """
    return _PolygonCoverage.apply(planes, weight, owner, maps, size, edge)


@dataclass(frozen=True)
class Tiles:
    """K square tiles of side t, each of one polygon: `shape` (K,) its polygon, `row`, `column` (K,) in tiles."""

    shape: Tensor
    row: Tensor
    column: Tensor
    side: int


def tile_size(size: tuple[int, int]) -> int:
    """Side of the tiles in px: small images need small ones to skip anything."""
    return 8 if min(size) < 160 else 16


def touched_tiles(planes: Tensor, keep: Tensor, margin: Tensor | float, size: tuple[int, int], side: int) -> Tiles:
    """Tiles that may hold a pixel with distance > -margin to a polygon.

    planes (S, E, 3); keep (S,) bool, other polygons get none; margin in px, a number or (S,).
    """
    H, W = size
    half = (side - 1) / 2  # from a tile's centre to its outermost pixel centres
    rows, columns = -(-H // side), -(-W // side)
    x = torch.arange(columns, dtype=planes.dtype, device=planes.device) * side + side / 2
    y = torch.arange(rows, dtype=planes.dtype, device=planes.device) * side + side / 2
    a, b, c = planes.unbind(-1)  # (S, E)
    best = c + half * (a.abs() + b.abs())  # highest value of each side over a tile, less its value at the centre
    reach = (a[..., None] * x)[:, :, None, :] + (b[..., None] * y + best[..., None])[..., None]  # (S, E, rows, columns)
    near = (
        reach.amin(1)
        > -torch.as_tensor(margin, dtype=planes.dtype, device=planes.device).expand(len(planes))[:, None, None]
    )
    shape, row, column = (near & keep[:, None, None]).nonzero().unbind(1)
    return Tiles(shape, row, column, side)


def tile_distances(planes: Tensor, tiles: Tiles) -> Tensor:
    """(K, t²) signed distance in px of every pixel of every tile to its polygon's outline, positive inside."""
    t = tiles.side
    E = planes.shape[1]
    local = planes.new_empty(E, len(tiles.shape), 3)
    chosen = planes[tiles.shape].transpose(0, 1)  # (E, K, 3)
    local.copy_(chosen)
    local[..., 2] += chosen[..., 0] * (tiles.column * t) + chosen[..., 1] * (tiles.row * t)
    steps = torch.arange(t, dtype=planes.dtype, device=planes.device) + 0.5
    basis = torch.stack((steps.repeat(t), steps.repeat_interleave(t), torch.ones(t * t).to(steps)))  # (3, t²)
    chunk = max(1, _CHUNK // (E * t * t))
    with torch.autocast(planes.device.type, enabled=False):  # bfloat16 products would be off by pixels
        pieces = [(part.flatten(0, 1) @ basis).view(E, -1, t * t).amin(0) for part in local.split(chunk, dim=1)]
    return torch.cat(pieces) if pieces else planes.new_zeros(0, t * t)


def pixel_centres(tiles: Tiles, chosen: Tensor | slice, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Pixel centres of tiles: x (K, 1, t), y (K, t, 1)."""
    steps = torch.arange(tiles.side, device=tiles.row.device).to(dtype) + 0.5
    x = (tiles.column[chosen] * tiles.side).to(dtype)[:, None, None] + steps
    y = (tiles.row[chosen] * tiles.side).to(dtype)[:, None, None] + steps[:, None]
    return x, y


class _PolygonCoverage(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, planes: Tensor, weight: Tensor, owner: Tensor, maps: int, size: tuple[int, int], edge: float
    ) -> Tensor:
        H, W = size
        t = tile_size(size)
        tiles = touched_tiles(planes, weight > 0, edge / 2, size, t)
        coverage = tile_distances(planes, tiles).div_(edge).add_(0.5).clamp_(0.0, 1.0)  # (K, t²)
        drawn = planes.new_zeros(maps, -(-H // t), t, -(-W // t), t)
        view = drawn.transpose(2, 3)  # (N, rows, columns, t, t)
        weighted = (coverage * weight[tiles.shape, None]).view(-1, t, t)
        first = int((tiles.shape < maps).sum())  # tiles come in order of their polygon
        view[owner[tiles.shape[:first]], tiles.row[:first], tiles.column[:first]] = weighted[:first]
        where = (owner[tiles.shape[first:]], tiles.row[first:], tiles.column[first:])
        view.index_put_(where, weighted[first:], accumulate=True)
        ctx.save_for_backward(planes, weight, owner, coverage, tiles.shape, tiles.row, tiles.column)
        ctx.size, ctx.edge, ctx.side = size, edge, t
        drawn = drawn.view(maps, drawn.shape[1] * t, drawn.shape[3] * t)
        return drawn if drawn.shape[1:] == (H, W) else drawn[:, :H, :W].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        planes, weight, owner, coverage, shape, row, column = ctx.saved_tensors
        t, (H, W) = ctx.side, ctx.size
        rows, columns = -(-H // t), -(-W // t)
        if (rows * t, columns * t) != (H, W):
            gradient = torch.nn.functional.pad(gradient, (0, columns * t - W, 0, rows * t - H))
        view = gradient.contiguous().view(-1, rows, t, columns, t).transpose(2, 3)
        local = view[owner[shape], row, column].flatten(1)  # (K, t²)
        grad_weight = torch.zeros_like(weight).index_add_(0, shape, (local * coverage).sum(1))

        tile, pixel = ((coverage > 0) & (coverage < 1)).nonzero().unbind(1)  # the band along the outlines
        polygon = shape[tile]
        x = (column[tile] * t + pixel % t).to(planes.dtype) + 0.5
        y = (row[tile] * t + pixel // t).to(planes.dtype) + 0.5
        a, b, c = planes.unbind(-1)
        distance = torch.addcmul(torch.addcmul(c[polygon], a[polygon], x[:, None]), b[polygon], y[:, None])  # (M, E)
        side = polygon * planes.shape[1] + distance.argmin(1)
        flow = local[tile, pixel] * weight[polygon] / ctx.edge
        grad_planes = planes.new_zeros(planes.shape[0] * planes.shape[1], 3)
        grad_planes.index_add_(0, side, torch.stack((flow * x, flow * y, flow), 1))
        return grad_planes.view_as(planes), grad_weight, None, None, None, None
