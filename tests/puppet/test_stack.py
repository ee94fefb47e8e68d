import pytest
import torch

from selfsup3d.puppet.coverage import TILE, touched_tiles
from selfsup3d.puppet.stack import TileStack, flat_parts, inverse_depth
from selfsup3d.puppet.transform import part_geometry


def _stack(puppet, scene, size, dtype=torch.float32):
    joints, K = scene(3, 64, dtype=dtype)
    parts = flat_parts(part_geometry(joints, K, puppet))
    tiles = touched_tiles(parts.planes, parts.visible > 0, 1.0, size)
    return parts, tiles, TileStack(tiles, len(puppet), 3, size)


@pytest.mark.parametrize("size", [(64, 64), (37, 53)])
def test_what_is_gathered_and_spread_comes_back(puppet, scene, size):
    _, tiles, stack = _stack(puppet, scene, size)
    maps = torch.zeros(3, 10, *size)
    maps[:, :, 3:-2, 1:-5] = torch.rand(3, 10, size[0] - 5, size[1] - 6)
    layers = stack.spread(stack.gather(maps))  # (T, P, TILE²)
    assert layers.shape[1:] == (10, TILE * TILE)
    for p in range(10):
        image = stack.image(layers[:, p], 0)
        touched = torch.zeros(3, *size, dtype=torch.bool)
        for shape, row, column in zip(tiles.shape, tiles.row * TILE, tiles.column * TILE, strict=True):
            if shape % 10 == p:
                touched[shape // 10, row : row + TILE, column : column + TILE] = True
        assert torch.equal(image, maps[:, p] * touched)


def test_locate_names_the_pixel(puppet, scene):
    size = (37, 53)
    _, _, stack = _stack(puppet, scene, size)
    tile, pixel = torch.meshgrid(torch.arange(len(stack.image_of)), torch.arange(TILE * TILE), indexing="ij")
    image, x, y = stack.locate(tile.flatten(), pixel.flatten())
    number = torch.arange(3 * size[0] * size[1]).view(3, *size)
    seen = stack.image((image * size[0] * size[1] + y * size[1] + x).view(tile.shape), -1)
    assert torch.equal(seen[seen >= 0], number[seen >= 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keys_order_by_nearness_then_by_lower_layer(puppet, scene, dtype):
    _, tiles, stack = _stack(puppet, scene, (64, 64), dtype)
    nearness = torch.rand(len(tiles), TILE * TILE, dtype=dtype)
    nearness[:, ::3] = 0.25  # ties of all parts
    winner = stack.layer_of(stack.spread(stack.keys(nearness)).amax(1))
    layers = stack.spread(nearness)
    present = stack.spread(torch.ones_like(nearness)) > 0
    expected = torch.where(present, layers, -1.0).max(1).indices  # the first of equals
    assert torch.equal(winner, expected)
    nothing = stack.layer_of(torch.zeros(1, dtype=torch.int64))
    assert nothing.item() == 10


def test_inverse_depth_along_limbs_and_end_on(puppet, scene):
    parts, tiles, _ = _stack(puppet, scene, (64, 64), torch.float64)
    nearness = inverse_depth(parts, tiles)
    low = torch.minimum(1 / parts.depth1, 1 / parts.depth2)[tiles.shape, None]
    high = torch.maximum(1 / parts.depth1, 1 / parts.depth2)[tiles.shape, None]
    assert (nearness >= low - 1e-12).all()
    assert (nearness <= high + 1e-12).all()
    # a straight limb in space: half-way in the image, the mean of the inverse depths
    u = (parts.matrix[tiles.shape, 0, :2] * (parts.q1 + parts.q2)[tiles.shape] / 2).sum(-1)
    torch.testing.assert_close(u, -parts.matrix[tiles.shape, 0, 2])
    share = parts.share[tiles.shape, None]
    assert (nearness >= share * low + (1 - share) * high - 1e-12).all()
