import numpy as np
import pytest
import scipy.linalg
import torch

from selfsup3d.evaluation.diagnostics import body_frame_poses, flip_gains, frechet_distance, occluded_joints
from selfsup3d.evaluation.evaluator import parts_of_joint
from selfsup3d.geometry.rotation import random_rotation, rotate
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.skeleton import H36M_17, joint_index


def poses(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 17, 3)) * 0.3)


def test_each_flip_is_found_where_it_was_made():
    target = poses(6)
    target = target - target[:, :1]
    depth, order = torch.tensor([1.0, 1.0, -1.0]), list(H36M_17.flip_order)
    made = {"front_back": target * depth, "left_right": target[:, order], "facing": target[:, order] * depth}
    for name, pred in made.items():
        gains = flip_gains(pred, target)
        assert (gains[name] > 0).all(), name
        for other in made:
            assert (gains[other] <= gains[name] + 1e-9).all()
        torch.testing.assert_close(gains["any"], gains[name])
    assert all((gain <= 1e-9).all() for gain in flip_gains(target, target).values())


@pytest.mark.parametrize(
    ("swapped", "other"), [("left_right_legs", "left_right_arms"), ("left_right_arms", "left_right_legs")]
)
def test_a_swapped_pair_of_limbs_is_found_apart_from_the_other(swapped, other):
    target = poses(6)
    target = target - target[:, :1]
    joints = {"left_right_legs": range(1, 7), "left_right_arms": range(11, 17)}[swapped]
    pred = target.clone()
    for joint in joints:
        pred[:, joint] = target[:, H36M_17.flip_order[joint]]
    gains = flip_gains(pred, target)
    assert (gains[swapped] > 0).all()
    assert (gains[other] < 0).all()


def test_frechet_distance_equals_the_formula_with_scipys_matrix_root():
    a, b = poses(200, 1), poses(150, 2) * 1.3 + 0.05
    x, y = a.flatten(1).numpy() * 1000, b.flatten(1).numpy() * 1000
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    cross = scipy.linalg.sqrtm(s1 @ s2).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(s1 + s2 - 2 * cross)
    assert frechet_distance(a, b) == pytest.approx(np.sqrt(expected), rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_frechet_distance_is_zero_for_equal_sets_and_a_length_for_a_shift():
    a = poses(30, 1)  # fewer frames than coordinates: a singular covariance
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-2)
    shifted = a.clone()
    shifted[:, 3, 0] += 0.25
    assert frechet_distance(a, shifted) == pytest.approx(250.0, rel=1e-6)


def test_frechet_distance_leaves_out_broken_frames_and_needs_two():
    a = poses(30, 1)
    broken = torch.cat([a, torch.full((1, 17, 3), float("nan"), dtype=a.dtype)])
    assert frechet_distance(broken, a) == pytest.approx(frechet_distance(a, a), abs=1e-9)
    with pytest.raises(ValueError, match="reference has 1"):
        frechet_distance(a, a[:1])


def test_body_frame_poses_undo_any_view_and_mark_poses_without_a_frame():
    a = poses(20, 3)
    a[:, 0] = 0.5 * (a[:, joint_index("left_hip")] + a[:, joint_index("right_hip")])
    turn = random_rotation(torch.rand(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    seen = rotate(turn, a) + 4.0
    torch.testing.assert_close(body_frame_poses(seen), body_frame_poses(a), rtol=1e-6, atol=1e-6)
    bad = a[:3].clone()
    bad[0] = 0.0  # everything in one point
    bad[1, 5] = float("nan")
    assert torch.isnan(body_frame_poses(bad)).flatten(1).all(1).tolist() == [True, True, False]


def test_occlusion_is_read_from_the_labels_around_each_joint():
    puppet = default_puppet()
    table = parts_of_joint(puppet)
    wrist, elbow = joint_index("left_wrist"), joint_index("left_elbow")
    assert table[wrist] == (puppet["left_forearm"].id,)
    assert table[elbow] == tuple(sorted((puppet["left_forearm"].id, puppet["left_upper_arm"].id)))
    assert joint_index("spine") in table
    labels = torch.full((1, 16, 16), puppet.background)
    labels[0, 4:12, 4:12] = puppet["torso"].id
    labels[0, 5, 5] = puppet["left_forearm"].id
    joints = torch.full((1, 17, 2), 8.5)  # all in the middle of the torso
    joints[0, wrist] = torch.tensor([6.4, 6.4])  # next to the forearm's only pixel
    joints[0, elbow] = torch.tensor([30.0, 8.0])  # outside the image
    hidden = occluded_joints(joints, labels, table)[0]
    visible = {"left_wrist", "left_elbow", "pelvis", "spine", "neck", "left_hip", "right_hip", "left_shoulder"}
    visible |= {"right_shoulder"}
    assert {name for name, h in zip(H36M_17.joint_names, hidden.tolist(), strict=True) if not h} == visible
