import pytest
import torch

from selfsup3d.puppet.labels import part_labels, soft_silhouette
from selfsup3d.puppet.transform import part_geometry, part_maps
from selfsup3d.structures.skeleton import H36M_17, joint_index

SIZES = [(64, 64), (37, 53), (176, 168)]


def _draw(puppet, joints, K, size, path="analytic"):
    geometry = part_geometry(joints, K, puppet)
    maps = part_maps(geometry, size, puppet, path=path)
    return geometry, maps, part_labels(maps, geometry, size, puppet)


def _reference(maps, geometry):
    """y^p by a loop over pixels' definition: every part everywhere, strictly nearer wins."""
    H, W = maps.shape[-2:]
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    points = torch.stack((x, y, torch.ones_like(x))).to(maps.dtype).flatten(1)
    best = torch.full((maps.shape[0], H, W), -1.0, dtype=maps.dtype)
    labels = torch.full((maps.shape[0], H, W), maps.shape[1])
    for p in range(maps.shape[1]):
        u = (geometry.matrix[:, p, 0] @ points).view(-1, H, W)
        share = geometry.share[:, p, None, None]
        start, end = 1 / geometry.depth1[:, p, None, None], 1 / geometry.depth2[:, p, None, None]
        near = share * torch.lerp(start, end, (u + 0.5).clamp(0, 1)) + (1 - share) * torch.maximum(start, end)
        wins = (maps[:, p] >= 0.5) & (near > best)
        best, labels = torch.where(wins, near, best), torch.where(wins, p, labels)
    return labels


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", ["analytic", "sampled"])
def test_labels_are_the_nearest_covering_part(puppet, scene, size, path):
    joints, K = scene(4, 64, seed=8, dtype=torch.float64)
    joints[0, joint_index("left_wrist")] = joints[0, joint_index("left_elbow")] + torch.tensor([0.01, 0.0, -0.2])
    geometry, maps, labels = _draw(puppet, joints, K, size, path)
    assert (geometry.share < 1).any()
    assert labels.parts.dtype == torch.int64
    assert (labels.parts != _reference(maps, geometry)).sum() <= 2  # rounding decides between equal depths
    assert torch.equal(labels.foreground[:, 0] > 0, labels.parts != puppet.background)
    assert torch.equal(labels.foreground[:, 0] > 0, (maps >= 0.5).any(1))


def test_ties_go_to_the_lower_id(puppet, scene):
    joints, K = scene(1, 64)
    for limb in ("hip", "knee", "ankle"):  # the legs become one
        joints[:, joint_index(f"right_{limb}")] = joints[:, joint_index(f"left_{limb}")]
    joints[..., 2] = 3.0
    _, _, labels = _draw(puppet, joints, K, (64, 64))
    assert (labels.parts == puppet["left_shin"].id).any()
    assert not (labels.parts == puppet["right_shin"].id).any()
    assert not (labels.parts == puppet["right_thigh"].id).any()


def test_arm_before_or_behind_the_torso(puppet, scene):
    joints, K = scene(1, 64)
    middle = (joints[:, joint_index("neck")] + joints[:, joint_index("pelvis")]) / 2
    forearm = puppet["left_forearm"].id
    for depth, seen in ((-0.5, True), (0.5, False)):
        posed = joints.clone()
        for joint, x in (("left_elbow", -0.02), ("left_wrist", 0.02)):
            posed[:, joint_index(joint)] = middle + torch.tensor([x, 0.0, depth])
        _, maps, labels = _draw(puppet, posed, K, (64, 64))
        assert (maps[:, forearm] > 0.5).any()
        assert (labels.parts == forearm).any() == seen


@pytest.mark.parametrize("size", [(64, 64), (128, 128)])
def test_uncertain_band_follows_the_outline(puppet, scene, size):
    joints, K = scene(4, size[0], seed=3)
    _, _, labels = _draw(puppet, joints, K, size)
    uncertain = labels.uncertain[:, 0] > 0
    assert 0.05 < uncertain.float().mean() / labels.foreground.mean() < 1.2
    # widening or narrowing every part by a tenth changes no certain pixel between person and background
    for factor in (0.9, 1.1):
        other = part_geometry(joints, K, puppet.scaled(factor))
        changed = part_labels(part_maps(other, size, puppet), other, size, puppet)
        moved = (changed.foreground != labels.foreground)[:, 0]
        assert (moved & ~uncertain).sum() <= 0.02 * moved.sum()


def test_hidden_outlines_are_certain(puppet, scene):
    joints, K = scene(1, 64)
    joints[..., 2] = 3.0
    middle = (joints[:, joint_index("neck")] + joints[:, joint_index("pelvis")]) / 2
    _, _, before = _draw(puppet, joints, K, (64, 64))
    for joint in ("left_elbow", "left_wrist"):
        joints[:, joint_index(joint)] = middle + torch.tensor([0.0, 0.0, 1.0])  # a blob far behind the torso
    _, _, after = _draw(puppet, joints, K, (64, 64))
    core = (after.parts == puppet["torso"].id) & (before.parts == puppet["torso"].id)
    assert torch.equal(after.uncertain[:, 0][core], before.uncertain[:, 0][core])


def test_mirrored_poses_have_mirrored_labels(puppet, scene):
    joints, K = scene(4, 64, seed=9, dtype=torch.float64)
    mirrored = joints[:, H36M_17.flip_order] * torch.tensor([-1.0, 1.0, 1.0])
    _, _, labels = _draw(puppet, joints, K, (64, 64))
    _, _, other = _draw(puppet, mirrored, K, (64, 64))
    table = torch.tensor([*puppet.flip_order, puppet.background])
    assert (other.parts != table[labels.parts.flip(-1)]).sum() <= 2
    assert (other.uncertain != labels.uncertain.flip(-1)).sum() <= 4


def test_leading_dimensions_and_wrong_shapes(puppet, scene):
    joints, K = scene(6, 32)
    geometry, maps, labels = _draw(puppet, joints, K, (32, 32))
    _, _, nested = _draw(puppet, joints.view(2, 3, 17, 3), K.view(2, 3, 3, 3), (32, 32))
    assert nested.parts.shape == (2, 3, 32, 32)
    assert nested.uncertain.shape == nested.foreground.shape == (2, 3, 1, 32, 32)
    assert torch.equal(nested.parts.view(6, 32, 32), labels.parts)
    _, _, empty = _draw(puppet, joints[:0], K[:0], (32, 32))
    assert empty.parts.shape == (0, 32, 32)
    with pytest.raises(ValueError, match="do not fit"):
        part_labels(maps[:3], geometry, (32, 32), puppet)
    behind = part_geometry(-joints, K, puppet)
    nothing = part_labels(part_maps(behind, (32, 32), puppet), behind, (32, 32), puppet)
    assert (nothing.parts == puppet.background).all()
    assert not nothing.uncertain.any()


def test_soft_silhouette_is_one_minus_the_product():
    maps = torch.rand(2, 3, 5, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps[0, 0, 2] = 1.0
    maps[1, :, 1:4, 2] = 1.0
    maps[:, :, 4, 3] = 0.0
    maps.requires_grad_()
    silhouette = soft_silhouette(maps)
    assert silhouette.shape == (2, 3, 1, 4, 4)
    torch.testing.assert_close(silhouette, 1 - (1 - maps).prod(-3, keepdim=True))
    assert torch.autograd.gradcheck(soft_silhouette, (maps,))
