import pytest
import torch

from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.puppet.transform import part_geometry, part_maps
from selfsup3d.viz.parts import colour_labels, colour_part_maps, error_heat
from selfsup3d.viz.sheets import to_uint8


@pytest.fixture
def puppet_maps(pose):
    joints = torch.from_numpy(pose).float()[None] + torch.tensor([0.0, -0.1, 4.0])
    K = torch.tensor([[[180.0, 0, 48], [0, 180, 48], [0, 0, 1]]])
    geometry = part_geometry(joints, K, default_puppet())
    maps = part_maps(geometry, (96, 96), default_puppet())
    return maps, part_labels(maps, geometry, (96, 96), default_puppet()).parts


def test_labels_and_maps_of_one_pose_agree_inside_the_parts(puppet_maps):
    maps, labels = puppet_maps
    alone = (maps.sum(1) > 0.999) & (maps.sum(1) < 1.001) & (maps.amax(1) > 0.999)  # one part, and all of it
    by_labels, by_maps = colour_labels(labels), colour_part_maps(maps)
    assert alone.sum() > 100
    difference = (by_labels - by_maps).abs().amax(1)
    torch.testing.assert_close(difference[alone], torch.zeros_like(difference[alone]), rtol=0, atol=2e-3)


def test_parts_and_error_heat_look_as_stored(puppet_maps, matches_golden):
    maps, labels = puppet_maps
    slope = torch.linspace(0, 1, 96).expand(1, 3, 96, 96)
    for name, shown in (
        ("parts", colour_labels(labels, slope)),
        ("part_maps", colour_part_maps(maps)),
        ("error_heat", error_heat(slope, slope * (1 - maps.sum(1).clamp(max=1)[:, None]))),
    ):
        matches_golden(to_uint8(shown)[0], name)


def test_label_colours_are_those_of_the_part_table():
    puppet = default_puppet()
    labels = torch.arange(11).view(1, 1, 11)
    painted = colour_labels(labels)
    torch.testing.assert_close(painted[0, :, 0, :10].T, torch.tensor(puppet.colours, dtype=torch.float32))
    assert painted[0, :, 0, 10].max() < 0.2


def test_background_of_a_image_is_kept_and_people_are_mixed_in():
    image = torch.rand(1, 3, 1, 11)
    laid = colour_labels(torch.arange(11).view(1, 1, 11), image, opacity=0.5)
    torch.testing.assert_close(laid[..., 10], image[..., 10])
    torch.testing.assert_close(laid[..., 3], 0.5 * image[..., 3] + 0.5 * colour_labels(torch.tensor([[[3]]]))[..., 0])


def test_part_maps_cover_by_their_value():
    maps = torch.zeros(1, 10, 1, 3)
    maps[0, 4, 0, 1], maps[0, 4, 0, 2] = 0.5, 1.0
    image = torch.rand(1, 3, 1, 3)
    laid = colour_part_maps(maps, image)
    colour = torch.tensor(default_puppet().colours[4], dtype=torch.float32)
    torch.testing.assert_close(laid[0, :, 0, 0], image[0, :, 0, 0])
    torch.testing.assert_close(laid[0, :, 0, 1], 0.5 * image[0, :, 0, 1] + 0.5 * colour)
    torch.testing.assert_close(laid[0, :, 0, 2], colour)


def test_error_heat_is_green_where_images_agree():
    a = torch.zeros(1, 3, 4, 4)
    b = a.clone()
    b[..., 0] = 0.5
    shown = error_heat(a, b, limit=0.5)
    assert (shown[0, 1, :, 1] > shown[0, 0, :, 1]).all()
    assert (shown[0, 0, :, 0] > shown[0, 1, :, 0]).all()
