import pytest
import torch

from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.rotation import rotate
from selfsup3d.puppet.feet import as_shins, shod, toe_directions, with_feet
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.puppet.transform import part_geometry, part_maps
from selfsup3d.structures.skeleton import H36M_17, joint_index

roma = pytest.importorskip("roma")


@pytest.fixture(scope="module")
def poses():
    return torch.from_numpy(ProceduralPrior(6).poses)[::7].double()


def _standing():
    """A person in the body frame (+X ahead, +Y left, +Z up) with straight, upright legs."""
    joints = torch.zeros(1, 17, 3, dtype=torch.float64)
    for side, y in (("left", 0.1), ("right", -0.1)):
        for name, z in (("hip", 0.0), ("knee", -0.45), ("ankle", -0.9)):
            joints[0, joint_index(f"{side}_{name}")] = torch.tensor([0.0, y, z])
    joints[0, joint_index("neck"), 2] = 0.5
    return joints


def test_a_standing_persons_toes_point_ahead_and_splay_outwards():
    joints = _standing()
    ahead = toe_directions(joints, torch.zeros(1, 2).double())
    torch.testing.assert_close(ahead, torch.tensor([[[1.0, 0.0, 0.0]] * 2]).double())
    left, right = toe_directions(joints, torch.full((1, 2), 0.3).double())[0]
    assert left[1] == pytest.approx(torch.sin(torch.tensor(0.3)).item(), abs=1e-6)
    assert right[1] == pytest.approx(-left[1].item())


def test_a_kneeling_persons_toes_point_down():
    joints = _standing()
    for side in ("left", "right"):  # shins level, behind the knees
        knee, ankle = joint_index(f"{side}_knee"), joint_index(f"{side}_ankle")
        joints[0, ankle] = joints[0, knee] + torch.tensor([-0.45, 0.0, 0.0])
    torch.testing.assert_close(
        toe_directions(joints, torch.zeros(1, 2).double()), torch.tensor([[[0.0, 0.0, -1.0]] * 2]).double()
    )


def test_toes_are_square_to_the_shins_and_rotate_with_the_person(poses):
    splay = torch.rand(len(poses), 2, generator=torch.Generator().manual_seed(0)).double() - 0.3
    toes = toe_directions(poses, splay)
    torch.testing.assert_close(toes.norm(dim=-1), torch.ones_like(toes[..., 0]))
    for column, side in enumerate(("left", "right")):
        shin = poses[:, joint_index(f"{side}_ankle")] - poses[:, joint_index(f"{side}_knee")]
        assert (toes[:, column] * shin).sum(-1).abs().max() < 1e-6
    rotation = roma.random_rotmat(len(poses), dtype=torch.float64)
    torch.testing.assert_close(toe_directions(rotate(rotation, poses), splay), rotate(rotation, toes))


def test_mirrored_people_have_mirrored_feet(poses):
    mirror = torch.tensor([1.0, -1.0, 1.0]).double()
    splay = torch.tensor([[0.2, -0.1]]).double().expand(len(poses), 2)
    mirrored = toe_directions((poses * mirror)[:, list(H36M_17.flip_order)], splay.flip(1))
    torch.testing.assert_close(mirrored, toe_directions(poses, splay).flip(1) * mirror)


def test_feet_are_as_long_as_told_and_lie_below_the_ankles(poses):
    length = torch.linspace(0.3, 0.5, len(poses)).double()
    points = with_feet(poses, torch.zeros(len(poses), 2).double(), length)
    assert torch.equal(points[:, :17], poses)
    torso = (poses[:, joint_index("neck")] - poses[:, joint_index("pelvis")]).norm(dim=-1)
    for heel in (17, 19):
        torch.testing.assert_close((points[:, heel + 1] - points[:, heel]).norm(dim=-1), length * torso)


def test_the_shod_puppet_draws_the_same_parts_and_two_feet(scene):
    puppet = default_puppet()
    painted = shod(puppet)
    joints, K = scene(3, 64)
    points = with_feet(joints, torch.zeros(3, 2), torch.full((3,), 0.4))
    drawn = part_maps(part_geometry(points, K, painted), (64, 64), painted)
    torch.testing.assert_close(drawn[:, : len(puppet)], part_maps(part_geometry(joints, K, puppet), (64, 64), puppet))
    assert (drawn[:, len(puppet) :].sum((0, 2, 3)) > 10).all()
    with pytest.raises(ValueError, match=r"\(\.\.\., 21, 3\)"):
        part_geometry(joints, K, painted)


def test_labels_of_feet_are_those_of_shins():
    puppet = default_puppet()
    labels = as_shins(torch.arange(13), puppet)
    assert labels[:10].tolist() == list(range(10))
    assert labels[10:].tolist() == [puppet["left_shin"].id, puppet["right_shin"].id, puppet.background]
