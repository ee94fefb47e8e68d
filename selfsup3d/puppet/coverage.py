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
    "TILE",
    "Tiles",
    "padded",
    "pixel_centres",
    "polygon_coverage",
    "polygon_coverage_plain",
    "tile_counts",
    "tile_distances",
    "tile_rows",
    "touched_tiles",
]

TILE = 8
"""Side of the square tiles, px: small enough that few pixels are visited in vain, large enough for whole vectors."""

_CHUNK = 1 << 19  # distances computed at once: few enough to stay near the processor until reduced


def polygon_coverage_plain(
    planes: Tensor, weight: Tensor, owner: Tensor, maps: int, size: tuple[int, int], edge: float = 1.0
) -> Tensor:
    """The definition of `polygon_coverage`, written plainly: every polygon at every pixel, gradients by autograd."""
    H, W = size
    x = torch.arange(W, dtype=planes.dtype, device=planes.device) + 0.5
    y = torch.arange(H, dtype=planes.dtype, device=planes.device) + 0.5
    a, b, c = planes[..., None, None].unbind(2)  # (S, E, 1, 1)
    distance = (a * x + b * y[:, None] + c).amin(1)  # (S, H, W)
    solid = torch.ones(len(planes) - len(weight), dtype=planes.dtype, device=planes.device)
    coverage = (0.5 + distance / edge).clamp(0.0, 1.0) * torch.cat((solid, weight))[:, None, None]
    return coverage.new_zeros(maps, H, W).index_add(0, owner, coverage)


def polygon_coverage(
    planes: Tensor, weight: Tensor, owner: Tensor, maps: int, size: tuple[int, int], edge: float = 1.0
) -> Tensor:
    """Draw S convex polygons into N maps; differentiable (once) in `planes` and `weight`.

    Args:
        planes: (S, E, 3) sides (a, b, c), a² + b² = 1, px: inside is where a x + b y + c >= 0 for all E.
        weight: (F,) of the last F polygons, which are added to their maps; those of weight 0 cost nothing and get no
            gradient. The first S - F polygons are solid (weight 1) and each is alone in its map.
        owner: (S,) int64, the map of each polygon.
        maps: N.
        size: (H, W) px.
        edge: px over which coverage falls from 1 to 0 across a side.

    Returns:
        (N, H, W), dtype of `planes`.
    """
    return _PolygonCoverage.apply(planes, weight, owner, maps, size, edge)


@dataclass(frozen=True)
class Tiles:
    """K tiles, each of one polygon: `shape` (K,) its polygon, `row`, `column` (K,) its place in units of tiles."""

    shape: Tensor
    row: Tensor
    column: Tensor

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, chosen: Tensor) -> Tiles:
        return Tiles(self.shape[chosen], self.row[chosen], self.column[chosen])


def tile_counts(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of tiles that hold an image of (H, W) px."""
    return -(-size[0] // TILE), -(-size[1] // TILE)


def padded(maps: Tensor) -> Tensor:
    """(N, H, W) with zeros added below and to the right until tiles fit; contiguous."""
    H, W = maps.shape[1:]
    rows, columns = tile_counts((H, W))
    if (rows * TILE, columns * TILE) != (H, W):
        maps = torch.nn.functional.pad(maps, (0, columns * TILE - W, 0, rows * TILE - H))
    return maps.contiguous()


def tile_rows(image: Tensor, row: Tensor, column: Tensor, size: tuple[int, int]) -> Tensor:
    """(K · TILE,) where tiles lie in padded maps of (H, W) px viewed as rows of TILE pixels, (-1, TILE).

    Reading and writing whole rows is several times faster than indexing in two dimensions. image, row, column (K,).
    """
    rows, columns = tile_counts(size)
    start = ((image * rows + row) * (TILE * columns) + column)[:, None]
    return (start + torch.arange(TILE, device=row.device) * columns).flatten()


def touched_tiles(planes: Tensor, keep: Tensor, margin: Tensor | float, size: tuple[int, int]) -> Tiles:
    """Tiles that may hold a pixel with distance > -margin to a polygon, in order of the polygons.

    planes (S, E, 3); keep (S,) bool, other polygons get none; margin in px, a number or (S,).
    """
    return _touched(planes.permute(2, 0, 1).contiguous(), keep, margin, size)


def _touched(sides: Tensor, keep: Tensor, margin: Tensor | float, size: tuple[int, int]) -> Tiles:
    rows, columns = tile_counts(size)
    _, S, E = sides.shape
    best = sides.clone()  # a side's highest value over a tile's pixel centres, given the tile's middle
    best[2] += (sides[0].abs() + sides[1].abs()) * ((TILE - 1) / 2)
    middle = torch.arange(max(rows, columns), dtype=sides.dtype, device=sides.device) * TILE + TILE / 2
    with torch.autocast(sides.device.type, enabled=False):  # bfloat16 products would be off by pixels
        reach = best.view(3, -1).t() @ _points(middle[:columns], middle[:rows])
    reach = reach.view(S, E, rows * columns).amin(1)
    limit = margin.neg()[:, None] if isinstance(margin, Tensor) else -margin
    shape, place = ((reach > limit) & keep[:, None]).nonzero().unbind(1)
    return Tiles(shape, place // columns, place % columns)


def _points(x: Tensor, y: Tensor) -> Tensor:
    """(3, len(y) · len(x)) rows x, y, 1 of the points of a grid, y outermost."""
    return torch.stack((x.repeat(len(y)), y.repeat_interleave(len(x)), torch.ones_like(x).repeat(len(y))))


def tile_distances(planes: Tensor, tiles: Tiles) -> Tensor:
    """(K, TILE²) signed distance in px of every pixel of every tile to its polygon's outline, positive inside."""
    return _least(_local(planes.permute(2, 0, 1).contiguous(), tiles))


def _local(sides: Tensor, tiles: Tiles) -> Tensor:
    """Sides (3, S, E) to (3, K, E), in coordinates that start at each tile's corner."""
    local = sides.index_select(1, tiles.shape)
    local[2].addcmul_(local[0], (tiles.column * TILE).to(sides.dtype)[:, None])
    local[2].addcmul_(local[1], (tiles.row * TILE).to(sides.dtype)[:, None])
    return local


def _least(local: Tensor) -> Tensor:
    """(3, K, E) sides in tile coordinates -> (K, TILE²) the least of their distances."""
    _, K, E = local.shape
    local = local.transpose(1, 2)  # the reduction is vectorised over neighbouring pixels, so E goes outermost
    steps = torch.arange(TILE, dtype=local.dtype, device=local.device) + 0.5
    points, distance = _points(steps, steps), local.new_empty(K, TILE * TILE)
    chunk = max(1, min(K, _CHUNK // (E * TILE * TILE)))
    values = local.new_empty(E * chunk, TILE * TILE)
    with torch.autocast(local.device.type, enabled=False):  # bfloat16 products would be off by pixels
        for start in range(0, K, chunk):
            part = local[..., start : start + chunk]
            rows = values[: E * part.shape[2]]
            torch.mm(part.reshape(3, -1).t(), points, out=rows)
            torch.amin(rows.view(E, -1, TILE * TILE), 0, out=distance[start : start + chunk])
    return distance


def pixel_centres(tiles: Tiles, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Pixel centres of tiles: x (K, 1, TILE), y (K, TILE, 1)."""
    steps = torch.arange(TILE, device=tiles.row.device).to(dtype) + 0.5
    x = (tiles.column * TILE).to(dtype)[:, None, None] + steps
    y = (tiles.row * TILE).to(dtype)[:, None, None] + steps[:, None]
    return x, y


class _PolygonCoverage(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, planes: Tensor, weight: Tensor, owner: Tensor, maps: int, size: tuple[int, int], edge: float
    ) -> Tensor:
        solid = len(planes) - len(weight)
        keep = torch.ones(len(planes), dtype=torch.bool, device=planes.device)
        keep[solid:] = weight > 0
        sides = planes.permute(2, 0, 1).contiguous()  # (3, S, E)
        tiles = _touched(sides, keep, edge / 2, size)
        rows, columns = tile_counts(size)
        drawn = planes.new_zeros(maps, rows * TILE, columns * TILE)

        local = _local(sides, tiles)  # (3, K, E)
        lowest = torch.add(local[2], local[0] + local[1], alpha=TILE / 2)
        lowest = lowest.sub_(local[0].abs() + local[1].abs(), alpha=(TILE - 1) / 2).amin(1)
        crossed = (lowest < edge / 2) | (tiles.shape >= solid)  # the other tiles lie inside a solid polygon
        full, index = tiles[~crossed], crossed.nonzero().flatten()
        by_rows = drawn.view(-1, TILE)
        by_rows[tile_rows(owner[full.shape], full.row, full.column, size)] = 1.0
        tiles = tiles[index]
        ramps = local.index_select(1, index).div_(edge)
        ramps[2] += 0.5
        coverage = _least(ramps).clamp_(0.0, 1.0)  # (K, TILE²)
        first = int((tiles.shape < solid).sum())
        where = tile_rows(owner[tiles.shape], tiles.row, tiles.column, size)
        by_rows[where[: first * TILE]] = coverage[:first].view(-1, TILE)
        if first < len(tiles):
            above = coverage[first:] * weight[tiles.shape[first:] - solid, None]
            by_rows.index_add_(0, where[first * TILE :], above.view(-1, TILE))
        ctx.save_for_backward(sides, weight, owner, coverage, tiles.shape, tiles.row, tiles.column)
        ctx.edge, ctx.size = edge, size
        return drawn if drawn.shape[1:] == size else drawn[:, : size[0], : size[1]].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        sides, weight, owner, coverage, shape, row, column = ctx.saved_tensors
        _, S, E = sides.shape
        solid = S - len(weight)
        gradient = padded(gradient)
        first = int((shape < solid).sum())
        grad_weight, faint = torch.zeros_like(weight), shape[first:] - solid
        if len(faint):
            where = tile_rows(owner[shape[first:]], row[first:], column[first:], ctx.size)
            above = gradient.view(-1, TILE).index_select(0, where).view(-1, TILE * TILE)
            grad_weight.index_add_(0, faint, (above * coverage[first:]).sum(1))

        band = ((coverage > 0) & (coverage < 1)).flatten().nonzero().flatten()  # pixels that an outline crosses
        tile = band.div(TILE * TILE, rounding_mode="floor")
        pixel = band - tile * (TILE * TILE)
        within = torch.arange(TILE, device=band.device)
        x = (column * TILE)[tile] + within.repeat(TILE)[pixel]
        y = (row * TILE)[tile] + within.repeat_interleave(TILE)[pixel]
        polygon = shape[tile]
        place = (owner[polygon] * gradient.shape[1] + y) * gradient.shape[2] + x
        flow = gradient.flatten().index_select(0, place).div_(ctx.edge)
        if len(faint):
            start = int(torch.searchsorted(tile, first))
            flow[start:] *= weight[polygon[start:] - solid]
        x, y = x.to(sides.dtype) + 0.5, y.to(sides.dtype) + 0.5
        a, b, c = sides.index_select(1, polygon)  # (M, E)
        side = c.addcmul_(a, x[:, None]).addcmul_(b, y[:, None]).argmin(1).add_(polygon, alpha=E)
        grad_planes = sides.new_zeros(S * E, 3).index_add_(0, side, torch.stack((flow * x, flow * y, flow), 1))
        return grad_planes.view(S, E, 3), grad_weight, None, None, None, None
