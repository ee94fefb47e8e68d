import numpy as np
import pytest
import torch

from selfsup3d.errors import InputError
from selfsup3d.inference.backdrop import background_of, named_background
from selfsup3d.viz.sheets import write_png

SIZE = 32


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (50, 40, 3), np.uint8)


def test_the_background_of_a_still_camera_is_what_it_sees_without_the_person():
    rng = np.random.default_rng(0)
    wall = np.repeat(np.repeat(rng.integers(60, 160, (8, 8, 3), np.uint8), 8, 0), 8, 1)
    frames = np.stack([wall] * 12)
    for k in range(12):
        frames[k, 16:60, 4 * k + 4 : 4 * k + 16] = 250
    background = background_of(frames, 64).permute(1, 2, 0).numpy() * 255
    assert np.abs(background - wall).mean() < 8.0
    alone = background_of(frames[6], SIZE)
    assert alone.shape == (3, SIZE, SIZE)


def test_named_backgrounds(tmp_path, image):
    assert named_background("constant", image, SIZE) is None
    assert named_background("background", image, SIZE).shape == (3, SIZE, SIZE)
    write_png(tmp_path / "b.png", np.full((20, 50, 3), 51, np.uint8))
    assert float(named_background(str(tmp_path / "b.png"), image, SIZE).mean()) == pytest.approx(0.2)
    torch.testing.assert_close(named_background("#ff0080", image, SIZE), torch.tensor([1.0, 0.0, 128 / 255]))
    with pytest.raises(InputError, match="neither constant, #rrggbb, background nor an image"):
        named_background("beach", image, SIZE)


def test_a_single_image_is_filled_in_where_a_model_takes_the_person_to_be():
    """GrabCut takes what differs from the rim; a leg of the wall's colour is the model's to find."""
    wall = np.full((SIZE, SIZE, 3), 120, np.uint8)
    wall[8:24, 12:20] = (200, 40, 40)
    wall[26:30, 2:6] = (40, 200, 40)  # a foot that is far from the rest
    silhouette = np.zeros((SIZE, SIZE), np.float32)
    silhouette[25:31, 1:7] = 1.0
    alone, both = (background_of(wall, SIZE, s).permute(1, 2, 0).numpy() * 255 for s in (None, silhouette))
    assert np.abs(alone[26:30, 2:6] - 120).max() > 40
    assert np.abs(both[26:30, 2:6] - 120).max() < 25
    assert np.abs(both[8:24, 12:20] - 120).max() < 25
