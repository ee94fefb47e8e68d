import pytest
import torch

from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.render import draw_texture, render_puppet, texture_uniforms
from selfsup3d.puppet.transform import part_geometry, part_maps
from selfsup3d.structures.skeleton import joint_index


def _uniforms(count, puppet, seed=0):
    return torch.rand(count, texture_uniforms(puppet), generator=torch.Generator().manual_seed(seed))


def _render(puppet, joints, K, size, texture, background):
    geometry = part_geometry(joints, K, puppet, width_factors=texture.width_factors)
    maps = part_maps(geometry, size, puppet)
    return render_puppet(maps, geometry, joints, background, texture, puppet), maps, geometry


@pytest.mark.parametrize("size", [(64, 64), (45, 70), (168, 160)])
def test_render_fills_the_silhouette_and_leaves_the_background(puppet, scene, size):
    joints, K = scene(5, 64)
    texture = draw_texture(_uniforms(5, puppet), puppet)
    background = torch.rand(5, 3, *size, generator=torch.Generator().manual_seed(1))
    image, maps, _ = _render(puppet, joints, K, size, texture, background)
    assert image.shape == background.shape
    assert image.isfinite().all()
    assert image.min() >= 0
    assert image.max() <= 1
    outside = (maps == 0).all(1, keepdim=True).expand_as(background)
    assert torch.equal(image[outside], background[outside])
    # two backgrounds show through where the puppet does not cover, and only there
    other, _, _ = _render(puppet, joints, K, size, texture, 1 - background)
    covered = (maps == 1).any(1, keepdim=True).expand_as(background)
    assert (image[covered] != other[covered]).float().mean() < 1e-3  # the fourth part at a pixel is left out


def test_depth_order_is_that_of_the_labels(puppet, scene):
    joints, K = scene(4, 64, seed=5)
    texture = draw_texture(_uniforms(4, puppet), puppet, patterned=0.0)
    colours = torch.eye(3).repeat(4, 1)[:10] * torch.linspace(0.4, 1.0, 10)[:, None]
    flat = {"colours": colours, "tip": colours}
    texture = type(texture)(**(vars(texture) | {k: v.expand(4, 10, 3) for k, v in flat.items()}))
    object.__setattr__(texture, "ambient", torch.ones(4))
    object.__setattr__(texture, "mottle", torch.zeros(4, 10, 3))
    image, maps, geometry = _render(puppet, joints, K, (64, 64), texture, torch.zeros(4, 3, 64, 64))
    labels = part_labels(maps, geometry, (64, 64), puppet).parts
    full = ((maps == 0) | (maps == 1)).all(1)
    body = full & (labels != puppet.background) & (labels != puppet["head"].id)
    torch.testing.assert_close(image.permute(0, 2, 3, 1)[body], colours[labels[body]])


def test_the_face_is_seen_from_the_front_only(puppet, scene):
    joints, K = scene(1, 128)
    texture = draw_texture(_uniforms(1, puppet), puppet)
    object.__setattr__(texture, "ambient", torch.ones(1))
    object.__setattr__(texture, "hair", torch.tensor([[0.0, 0.0, 1.0]]))
    object.__setattr__(texture, "mottle", torch.zeros(1, 10, 3))
    upright = joints.clone()
    upright[:, joint_index("head")] = upright[:, joint_index("neck")] + torch.tensor([0.0, -0.24, 0.0])
    shares = []
    for nose in (-0.3, 0.3):  # towards the camera, away from it
        posed = upright.clone()
        posed[:, joint_index("nose")] = upright[:, joint_index("neck")] + torch.tensor([0.0, -0.1, nose])
        image, maps, geometry = _render(puppet, posed, K, (128, 128), texture, torch.zeros(1, 3, 128, 128))
        head = part_labels(maps, geometry, (128, 128), puppet).parts == puppet["head"].id
        pixels = image.permute(0, 2, 3, 1)[head]
        shares.append((pixels[:, 2] > 2 * pixels[:, 0]).float().mean())
    assert shares[0] < 0.4 < 0.6 < shares[1]


def test_looks_are_mostly_symmetric_and_depend_on_their_own_uniforms(puppet):
    uniforms = _uniforms(400, puppet)
    texture = draw_texture(uniforms, puppet)
    flipped = texture.colours[:, list(puppet.flip_order)]
    same = (texture.colours == flipped).flatten(1).all(1)
    assert 0.75 < same.float().mean() < 0.95
    assert texture.width_factors.min() > 0.79
    assert texture.width_factors.max() < 1.21
    torch.testing.assert_close(texture.light.norm(dim=-1), torch.ones(400))
    alone = draw_texture(uniforms[7:8], puppet)
    for name, value in vars(alone).items():
        assert torch.equal(value[0], vars(texture)[name][7]), name


def test_batch_size_does_not_change_a_image(puppet, scene):
    joints, K = scene(3, 64)
    texture = draw_texture(_uniforms(3, puppet), puppet)
    background = torch.full((3, 3, 64, 64), 0.5)
    together, _, _ = _render(puppet, joints, K, (64, 64), texture, background)
    one = type(texture)(**{name: value[1:2] for name, value in vars(texture).items()})
    alone, _, _ = _render(puppet, joints[1:2], K[1:2], (64, 64), one, background[1:2])
    torch.testing.assert_close(alone[0], together[1], rtol=0, atol=1e-5)


def test_wrong_shapes_are_refused(puppet, scene):
    with pytest.raises(ValueError, match="uniforms"):
        draw_texture(torch.rand(2, 7), puppet)
    joints, K = scene(1, 32)
    texture = draw_texture(_uniforms(1, puppet), puppet)
    with pytest.raises(ValueError, match="background"):
        _render(puppet, joints, K, (32, 32), texture, torch.zeros(1, 3, 16, 16))
