"""Where the parts of an image meet: the touched tiles, one layer a part, and the depth of every part in them."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.parts.coverage import Tiles, pixel_centres
from selfsup3d.parts.transform import NEAR, PartGeometry

__all__ = ["TileStack", "flat_parts", "inverse_depth"]


def flat_parts(geometry: PartGeometry) -> PartGeometry:
    """All parts of all samples in one leading dimension (S = B · P)."""
    flat = {name: getattr(geometry, name).detach().flatten(0, geometry.width.dim() - 1) for name in vars(geometry)}
    return PartGeometry(**flat)


def inverse_depth(parts: PartGeometry, tiles: Tiles) -> Tensor:
    """(K, t²) 1/depth of the part of every tile at its pixels; parts have one leading dimension."""
    matrix, share = parts.matrix[tiles.shape, 0], parts.share[tiles.shape]
    start = 1.0 / parts.depth1[tiles.shape].clamp(min=NEAR)
    end = 1.0 / parts.depth2[tiles.shape].clamp(min=NEAR)
    nearer, slope = torch.maximum(start, end), (end - start) * share
    x, y = pixel_centres(tiles, slice(None), matrix.dtype)
    m = (matrix * slope[:, None])[:, :, None, None]
    base = share * start + (1 - share) * nearer + slope / 2
    value = m[:, 0] * x + (m[:, 1] * y + (m[:, 2] + base[:, None, None]))  # (K, t, t)
    ends = torch.stack((share * start, share * end)) + (1 - share) * nearer
    low, high = ends.amin(0), ends.amax(0)
    return torch.clamp(value, low[:, None, None], high[:, None, None]).flatten(1)


class TileStack:
    """The image tiles that any part touches, with a layer for each part: what pixels compare their parts in.

    Args:
        tiles: K tiles of the S = B · P parts.
        layers: P.
        images: B.
        size: (H, W) px.
    """

    def __init__(self, tiles: Tiles, layers: int, images: int, size: tuple[int, int]) -> None:
        self.side, self.size, self.images, self.layers = tiles.side, size, images, layers
        self.rows, self.columns = -(-size[0] // self.side), -(-size[1] // self.side)
        self.padded = (self.rows * self.side, self.columns * self.side)
        self._tiles = tiles
        self.image_of, self.layer = tiles.shape // layers, tiles.shape % layers
        place = (self.image_of * self.rows + tiles.row) * self.columns + tiles.column
        used = torch.zeros(images * self.rows * self.columns, dtype=torch.bool, device=place.device)
        used[place] = True
        self.place = used.nonzero().flatten()  # (T,) image tiles in use
        self.slot = (used.cumsum(0) - 1)[place]  # (K,)

    def gather(self, maps: Tensor) -> Tensor:
        """(..., P, H, W) -> (K, t²) the maps' values in the tiles."""
        H, W = self.size
        t = self.side
        maps = maps.detach().reshape(-1, H, W)
        if self.padded != (H, W):
            maps = torch.nn.functional.pad(maps, (0, self.columns * t - W, 0, self.rows * t - H))
        view = maps.view(-1, self.rows, t, self.columns, t).transpose(2, 3)
        return view[self._tiles.shape, self._tiles.row, self._tiles.column].flatten(1)

    def spread(self, values: Tensor) -> Tensor:
        """(K, t²) -> (T, P, t²), 0 where a part does not touch the tile."""
        stack = values.new_zeros(len(self.place) * self.layers, values.shape[1])
        stack[self.slot * self.layers + self.layer] = values
        return stack.view(len(self.place), self.layers, values.shape[1])

    def locate(self, tile: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, column and row of the pixels (tile in [0, T), pixel in [0, t²)); each (N,)."""
        place = self.place[tile]
        x = place % self.columns * self.side + pixel % self.side
        y = place // self.columns % self.rows * self.side + pixel // self.side
        return place // (self.rows * self.columns), x, y

    def image(self, values: Tensor, empty: int) -> Tensor:
        """(T, t²) -> (B, H, W), `empty` outside the tiles in use."""
        t, (H, W) = self.side, self.size
        full = values.new_full((self.images, self.rows, t, self.columns, t), empty)
        view = full.transpose(2, 3)
        row, column = self.place // self.columns % self.rows, self.place % self.columns
        view[self.place // (self.rows * self.columns), row, column] = values.view(-1, t, t)
        return full.view(self.images, self.rows * t, self.columns * t)[:, :H, :W].contiguous()
