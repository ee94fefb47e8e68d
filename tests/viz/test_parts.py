import pytest
import torch

from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.puppet.transform import part_geometry, part_maps
from selfsup3d.viz.parts import colour_labels
from selfsup3d.viz.sheets import to_uint8


@pytest.fixture
def labels(pose):
    joints = torch.from_numpy(pose).float()[None] + torch.tensor([0.0, -0.1, 4.0])
    K = torch.tensor([[[180.0, 0, 48], [0, 180, 48], [0, 0, 1]]])
    geometry = part_geometry(joints, K, default_puppet())
    maps = part_maps(geometry, (96, 96), default_puppet())
    return part_labels(maps, geometry, (96, 96), default_puppet()).parts


def test_parts_look_as_stored(labels, matches_golden):
    slope = torch.linspace(0, 1, 96).expand(1, 3, 96, 96)
    matches_golden(to_uint8(colour_labels(labels, slope))[0], "parts")


def test_label_colours_are_those_of_the_part_table():
    puppet = default_puppet()
    labels = torch.arange(11).view(1, 1, 11)
    coloured = colour_labels(labels)
    torch.testing.assert_close(coloured[0, :, 0, :10].T, torch.tensor(puppet.colours, dtype=torch.float32))
    assert coloured[0, :, 0, 10].max() < 0.2


def test_background_of_a_image_is_kept_and_people_are_mixed_in():
    image = torch.rand(1, 3, 1, 11)
    composited = colour_labels(torch.arange(11).view(1, 1, 11), image, opacity=0.5)
    torch.testing.assert_close(composited[..., 10], image[..., 10])
    torch.testing.assert_close(
        composited[..., 3], 0.5 * image[..., 3] + 0.5 * colour_labels(torch.tensor([[[3]]]))[..., 0]
    )
