import dataclasses

import pytest
import torch
from torch.nn.functional import one_hot

from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.textures import (
    PartTextures,
    WholeTextures,
    complete,
    draw_textures,
    fill_holes,
    sample_textures,
    texture_size,
    visible_parts,
)
from selfsup3d.puppet.transform import part_geometry, part_maps

SIZE = 64
TEXELS = texture_size(SIZE)


@pytest.fixture
def drawn_people(scene, puppet):
    """(joints, K, textures, geometry, maps, labels as probabilities) of people in smooth random textures."""

    def make(count, seed=0):
        joints, K = scene(count, SIZE, seed)
        geometry = part_geometry(joints, K, puppet)
        maps = part_maps(geometry, (SIZE, SIZE), puppet)
        labels = part_labels(maps, geometry, (SIZE, SIZE), puppet).parts
        generator = torch.Generator().manual_seed(7)  # the same clothes whatever the pose
        coarse = torch.rand(1, 10, 3, 3, 4, generator=generator).expand(count, -1, -1, -1, -1)
        colour = torch.nn.functional.interpolate(coarse.flatten(0, 1), TEXELS, mode="bilinear", align_corners=True)
        ones = torch.ones(count, 10, 1, *TEXELS)
        textures = WholeTextures(colour.view(count, 10, 3, *TEXELS), ones, 0 * ones, ones)
        parts = one_hot(labels, 11).permute(0, 3, 1, 2).float()
        return joints, K, textures, geometry, maps, parts

    return make


def view(count):
    return torch.tensor([[0.0, 0.0, 1.0]]).expand(count, 3)


def test_a_person_sampled_and_drawn_in_the_same_pose_is_the_person(drawn_people, puppet):
    _, _, textures, geometry, maps, parts = drawn_people(6)
    image = draw_textures(textures, geometry, maps).colour
    sampled = sample_textures(image, geometry, parts, view(6), TEXELS)
    again = draw_textures(complete(sampled, puppet, torch.zeros(6, 10, 3)), geometry, maps)
    inside = parts[:, :-1].sum(1, keepdim=True)
    error = ((again.colour - image).abs() * inside).sum() / inside.sum() / 3
    assert error < 0.02
    assert ((again.seen > 0.5) & (inside > 0)).sum() > 0.9 * inside.sum()


def test_textures_carry_over_to_another_pose(drawn_people, puppet):
    _, _, textures, geometry, maps, parts = drawn_people(6, seed=0)
    _, _, _, other, other_maps, other_parts = drawn_people(6, seed=1)
    image = draw_textures(textures, geometry, maps).colour
    truth = draw_textures(textures, other, other_maps).colour
    sampled = sample_textures(image, geometry, parts, view(6), TEXELS)
    found = draw_textures(complete(sampled, puppet, torch.zeros(6, 10, 3)), other, other_maps)
    seen = other_parts[:, :-1].sum(1, keepdim=True) * (found.seen > 0.9)
    error = ((found.colour - truth).abs() * seen).sum() / seen.sum() / 3
    spread = ((truth - (truth * seen).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True)).abs() * seen).sum()
    assert error < 0.25 * spread / seen.sum() / 3


def test_what_lies_before_what_is_as_in_the_labels(drawn_people, puppet):
    _, _, _, geometry, maps, parts = drawn_people(12)
    visible = visible_parts(geometry, maps)
    solid = (maps.amax(1) == 1.0) & (parts[:, -1] == 0)
    agree = visible.argmax(1) == parts[:, :-1].argmax(1)
    assert agree[solid].float().mean() > 0.995
    assert ((visible.sum(1) - (1 - (1 - maps).prod(1))).abs() < 1e-4).all()


def test_a_hidden_part_takes_its_mirror_partners_texture_mirrored(puppet):
    left, right = puppet["left_forearm"].id, puppet["right_forearm"].id
    colour, shown = torch.rand(1, 1, 10, 3, *TEXELS), torch.ones(1, 1, 10, 1, *TEXELS)
    shown[:, :, left] = 0.0
    whole = complete(PartTextures(colour, shown, 0 * shown, shown, view(1)[:, None]), puppet, torch.zeros(1, 10, 3))
    torch.testing.assert_close(whole.colour[:, left], colour[:, 0, right].flip(-2), atol=0.1, rtol=0.0)
    assert (whole.seen[:, left] == 0).all()


def test_a_part_that_nothing_shows_takes_the_fallback(puppet):
    nothing = torch.zeros(2, 1, 10, 1, *TEXELS)
    colour = torch.rand(2, 1, 10, 3, *TEXELS)
    fallback = torch.rand(2, 10, 3)
    whole = complete(PartTextures(colour, nothing, nothing, nothing, view(2)[:, None]), puppet, fallback)
    torch.testing.assert_close(whole.colour, fallback[..., None, None].expand_as(whole.colour), atol=1e-4, rtol=0.0)


def test_of_several_images_the_one_that_shows_a_part_gives_it_and_the_better_view_counts_more(puppet):
    colour = torch.zeros(1, 2, 10, 3, *TEXELS)
    colour[:, 1] = 1.0
    shown = torch.ones(1, 2, 10, 1, *TEXELS)
    shown[:, 0, 0] = 0.0  # the head in the second image only
    views = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]])
    textures = PartTextures(colour, shown, 0 * shown, shown, views)
    target = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    whole = complete(textures, puppet, torch.full((2, 10, 3), 0.5), target)
    assert (whole.colour[:, 0] > 0.95).all()
    assert (whole.colour[0, 1:] < 0.05).all()
    assert (whole.colour[1, 1:] > 0.95).all()


def test_holes_take_the_nearest_values():
    mass = torch.zeros(1, 1, 8, 16)
    mass[..., 0], mass[..., -1] = 1.0, 1.0
    value = torch.zeros(1, 1, 8, 16)
    value[..., -1] = 1.0
    filled = fill_holes(value, mass, torch.zeros(1, 1))[0, 0]
    assert (filled[:, :4] < 0.4).all()
    assert (filled[:, 12:] > 0.6).all()


@pytest.mark.parametrize("apart", [0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.1])
def test_gradients_to_both_poses_are_bounded_where_a_limb_points_at_the_camera(scene, puppet, apart):
    def poses(seed):
        joints, K = scene(2, SIZE, seed)
        elbow, wrist = 12, 13
        joints[:, wrist] = joints[:, elbow] * (1.0 + 0.1 / joints[:, elbow, 2:])  # behind the elbow, on its ray
        joints[:, wrist, 0] += apart
        return joints.requires_grad_(), K

    (source, K), (target, _) = poses(0), poses(1)
    image = torch.rand(2, 3, SIZE // 8, SIZE // 8, generator=torch.Generator().manual_seed(3))
    image = torch.nn.functional.interpolate(image, (SIZE, SIZE), mode="bilinear")
    size = (SIZE, SIZE)
    geometry, other = part_geometry(source, K, puppet), part_geometry(target, K, puppet)
    parts = visible_parts(geometry, part_maps(geometry, size, puppet)).detach()
    parts = torch.cat([parts, 1 - parts.sum(1, keepdim=True)], 1)
    whole = complete(sample_textures(image, geometry, parts, view(2), TEXELS), puppet, torch.zeros(2, 10, 3))
    drawn = draw_textures(whole, other, part_maps(other, size, puppet))
    (drawn.colour.mean() + drawn.coverage.mean()).backward()
    for pose in (source, target):
        assert torch.isfinite(pose.grad).all()
        assert pose.grad.abs().max() < 3.0


def test_colours_of_the_surroundings_do_not_come_along_at_the_outline(drawn_people, puppet):
    """A red person on green whose outline is a mixture: less of the green comes back than was mixed in."""
    _, _, _, geometry, maps, _ = drawn_people(6)
    cover = visible_parts(geometry, maps)
    parts = torch.cat([cover, 1 - cover.sum(1, keepdim=True)], 1)
    red, green = (torch.tensor(c)[None, :, None, None] for c in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))
    blurred = torch.nn.functional.avg_pool2d(1 - parts[:, -1:], 3, 1, 1)
    image = blurred * red + (1 - blurred) * green
    textures = sample_textures(image, geometry, parts, view(6), TEXELS)
    plain = dataclasses.replace(textures, inner=torch.ones_like(textures.inner))
    green_of = [
        (draw_textures(complete(t, puppet, torch.zeros(6, 10, 3)), geometry, maps).colour[:, 1:2] * blurred).sum()
        for t in (textures, plain)
    ]
    assert green_of[0] < 0.95 * green_of[1], green_of


def test_the_palette_has_the_colours_of_what_was_seen_along_each_part():
    along = torch.linspace(0, 1, 12).expand(1, 1, 1, 4, 12)
    seen = torch.zeros(1, 1, 1, 4, 12)
    seen[..., :2, :] = 1.0
    colour = torch.where(seen > 0, along, 9.0)  # what was never seen counts for nothing
    textures = WholeTextures(colour, seen, seen, seen)
    thirds = along[0, 0, 0, 0].unflatten(0, (3, 4)).mean(1)
    torch.testing.assert_close(textures.colours_along(3)[0, 0, :, 0], thirds, atol=5e-3, rtol=0)
    torch.testing.assert_close(textures.mean_colour()[0, 0], along.mean()[None], atol=5e-3, rtol=0)


def test_shrunk_people_keep_their_palette(drawn_people):
    _, _, textures, geometry, maps, _ = drawn_people(2)
    whole = draw_textures(textures, geometry, maps)
    small = whole.shrunk(4)
    assert small.parts.shape == (2, 10, SIZE // 4, SIZE // 4)
    torch.testing.assert_close(small.colour.mean((2, 3)), whole.colour.mean((2, 3)))
    assert torch.equal(small.palette, whole.palette)
