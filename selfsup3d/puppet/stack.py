"""Where the parts of an image meet: the touched tiles, one layer a part, and the depth of every part in them."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.puppet.coverage import TILE, Tiles, padded, pixel_centres, tile_counts, tile_rows
from selfsup3d.puppet.transform import NEAR, PartGeometry

__all__ = ["TileStack", "flat_parts", "inverse_depth", "nearness_along"]


def flat_parts(geometry: PartGeometry) -> PartGeometry:
    """All parts of all samples in one leading dimension (S = B · P)."""
    flat = {name: getattr(geometry, name).detach().flatten(0, geometry.width.dim() - 1) for name in vars(geometry)}
    return PartGeometry(**flat)


def inverse_depth(parts: PartGeometry, tiles: Tiles) -> Tensor:
    """(K, TILE²) 1/depth of the part of every tile at its pixels; parts have one leading dimension."""
    base, slope, low, high = (value[tiles.shape] for value in _depth_line(parts))
    matrix = parts.matrix[tiles.shape, 0]
    x, y = pixel_centres(tiles, matrix.dtype)
    m = (matrix * slope[:, None])[:, :, None, None]
    value = m[:, 0] * x + (m[:, 1] * y + (m[:, 2] + base[:, None, None]))  # (K, TILE, TILE)
    return torch.clamp(value, low[:, None, None], high[:, None, None]).flatten(1)


def nearness_along(geometry: PartGeometry, along: Tensor) -> Tensor:
    """1/depth (..., P, H, W) of every part at pixels with the canonical coordinates u_x `along` (..., P, H, W)."""
    base, slope, low, high = (value[..., None, None] for value in _depth_line(geometry))
    return torch.clamp(along * slope + base, low, high)


def _depth_line(parts: PartGeometry) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """1/depth of parts as a line in u_x: value at its middle, slope, least and greatest value; each as `parts.width`."""
    share = parts.share
    start, end = 1.0 / parts.depth1.clamp(min=NEAR), 1.0 / parts.depth2.clamp(min=NEAR)
    nearer, slope = torch.maximum(start, end), (end - start) * share
    base = share * start + (1 - share) * nearer + slope / 2
    ends = torch.stack((share * start, share * end)) + (1 - share) * nearer
    return base, slope, ends.amin(0), ends.amax(0)


class TileStack:
    """The image tiles that any part touches, with a layer for each part: what pixels compare their parts in.

    Args:
        tiles: K tiles of the S = B · P parts.
        layers: P.
        images: B.
        size: (H, W) px.
    """

    def __init__(self, tiles: Tiles, layers: int, images: int, size: tuple[int, int]) -> None:
        self.tiles, self.layers, self.images, self.size = tiles, layers, images, size
        self.rows, self.columns = tile_counts(size)
        self._layer = tiles.shape % layers
        place = (tiles.shape // layers * self.rows + tiles.row) * self.columns + tiles.column
        used = torch.zeros(images * self.rows * self.columns, dtype=torch.bool, device=place.device)
        used[place] = True
        place_of_slot = used.nonzero().flatten()  # (T,) image tiles in use
        self.image_of, within = place_of_slot // (self.rows * self.columns), place_of_slot % (self.rows * self.columns)
        self.row, self.column = within // self.columns, within % self.columns
        self._slot = (used.cumsum(0) - 1)[place] * layers + self._layer  # (K,)

    def gather(self, maps: Tensor) -> Tensor:
        """(..., P, H, W) -> (K, TILE²) the maps' values in the tiles."""
        by_rows = padded(maps.detach().reshape(-1, *self.size)).view(-1, TILE)
        where = tile_rows(self.tiles.shape, self.tiles.row, self.tiles.column, self.size)
        return by_rows.index_select(0, where).view(-1, TILE * TILE)

    def spread(self, values: Tensor) -> Tensor:
        """(K, TILE²) -> (T, P, TILE²), 0 where a part does not touch the tile."""
        stack = values.new_zeros(len(self.image_of) * self.layers, values.shape[1])
        stack[self._slot] = values
        return stack.view(len(self.image_of), self.layers, values.shape[1])

    def keys(self, nearness: Tensor) -> Tensor:
        """(K, TILE²) non-negative floats -> integers of the same order that also name the layer, for `spread`.

        Non-negative floats order like their bits. The last few bits are replaced by the layer, the lowest layer highest:
        the greatest key is that of the nearest part, and of the lowest id among equals (to 2e-6 of the depth in
        float32). Taking the greatest of integers is far faster than finding its index.
        """
        bits = nearness.view(torch.int32 if nearness.dtype == torch.float32 else torch.int64)
        mask = self._key_mask
        return (bits & ~mask) | (mask - self._layer[:, None]).to(bits.dtype)

    def layer_of(self, keys: Tensor) -> Tensor:
        """The layer that a key names (int64); P for 0, no part."""
        mask = self._key_mask
        return torch.where(keys > 0, mask - (keys & mask), self.layers).long()

    @property
    def _key_mask(self) -> int:
        return (1 << (self.layers - 1).bit_length()) - 1

    def locate(self, tile: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, column and row of the pixels (tile in [0, T), pixel in [0, TILE²)); each (N,)."""
        y = pixel // TILE
        return self.image_of[tile], self.column[tile] * TILE + (pixel - y * TILE), self.row[tile] * TILE + y

    def image(self, values: Tensor, empty: int) -> Tensor:
        """(T, TILE²) -> (B, H, W), `empty` outside the tiles in use."""
        full = values.new_full((self.images, self.rows * TILE, self.columns * TILE), empty)
        full.view(-1, TILE)[tile_rows(self.image_of, self.row, self.column, self.size)] = values.reshape(-1, TILE)
        return full[:, : self.size[0], : self.size[1]].contiguous()
