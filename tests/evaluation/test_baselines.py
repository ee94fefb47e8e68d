import numpy as np
import pytest
import torch

from selfsup3d.evaluation.baselines import (
    NearestNeighbour,
    bone_floor,
    image_features,
    labelled_baselines,
    mean_canonical_pose,
    mean_colour,
    mean_pose,
)
from selfsup3d.evaluation.metrics import mpjpe
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.structures.skeleton import FK_PARENTS
from tests.evaluation.fakes import Source


def test_mean_pose_is_root_relative_and_each_joint_is_averaged_over_its_own_frames():
    joints = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 17, 3))) + 4.0
    valid = torch.ones(6, 17, dtype=torch.bool)
    valid[2:, 13] = False
    valid[5, 0] = False  # no root, no root-relative pose
    relative = joints - joints[:, :1]
    pose = mean_pose(joints, valid)
    torch.testing.assert_close(pose[13], relative[:2, 13].mean(0))
    torch.testing.assert_close(pose[3], relative[:5, 3].mean(0))
    assert (pose[0] == 0).all()
    with pytest.raises(ValueError, match=r"\[13\]"):
        mean_pose(joints[2:], valid[2:])


def test_no_constant_has_a_lower_squared_error_than_the_mean_pose():
    joints = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 17, 3)))
    relative = joints - joints[:, :1]
    pose = mean_pose(joints)
    for seed in range(20):
        other = pose + torch.from_numpy(np.random.default_rng(seed).normal(size=(17, 3))) * 0.05
        assert (relative - pose).square().sum() <= (relative - other).square().sum()


def test_mean_canonical_pose_is_the_mean():
    poses = torch.rand(9, 17, 3)
    torch.testing.assert_close(mean_canonical_pose(poses), poses.double().mean(0))


def test_bone_floor_has_the_given_lengths_and_the_true_directions():
    target = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 17, 3)))
    lengths = torch.rand(17, dtype=torch.float64) + 0.1
    lengths[0] = 0.0
    rebuilt = bone_floor(target, lengths)
    torch.testing.assert_close(bone_lengths(rebuilt), lengths.expand(5, 17))
    for joint in range(1, 17):
        a = rebuilt[:, joint] - rebuilt[:, FK_PARENTS[joint]]
        b = target[:, joint] - target[:, FK_PARENTS[joint]]
        torch.testing.assert_close(torch.cosine_similarity(a, b), torch.ones(5, dtype=torch.float64))


def test_bone_floor_of_the_persons_own_lengths_is_zero_and_of_others_is_what_bodies_differ_by():
    target = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 17, 3)) * 0.4)
    torch.testing.assert_close(bone_floor(target, bone_lengths(target)), target)
    floor = mpjpe(bone_floor(target, bone_lengths(target) * 1.08), target)
    distance = (target - target[:, :1]).norm(dim=-1)[:, 1:].mean(1) * 1000
    torch.testing.assert_close(floor, 0.08 * distance)


def test_mean_colour_is_the_persons_not_the_images():
    image = torch.zeros(2, 3, 4, 4)
    image[:, 0, 1, 1:3] = 0.8
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, :, 1, 1:3] = 1.0
    painted = mean_colour(image, mask)
    assert painted[0, :, 0, 0].tolist() == pytest.approx([0.8, 0, 0])
    assert painted[1, :, 0, 0].tolist() == pytest.approx([0.1, 0, 0])  # an empty mask: all of the image
    assert painted.shape == image.shape


def test_the_nearest_neighbour_is_nearest():
    neighbour = NearestNeighbour(torch.eye(4), torch.arange(4.0)[:, None, None].expand(4, 17, 3))
    found = neighbour(torch.tensor([[0.1, 0.2, 0.9, 0.0], [1.0, 0.3, 0.2, 0.1]]))
    assert found[:, 0, 0].tolist() == [2.0, 0.0]


def test_image_features_leave_the_background_out():
    source = Source()
    batch = source.frames(np.arange(4))
    spoiled = source.frames(np.arange(4))
    outside = batch.target_saliency == 0
    spoiled.target.masked_fill_(outside.expand_as(spoiled.target), 0.77)
    torch.testing.assert_close(image_features(batch), image_features(spoiled))
    assert image_features(Source(without=("target",)).frames(np.arange(4))) is None


def test_labelled_baselines_take_frames_evenly_and_cope_with_missing_truth():
    source = Source(count=30)
    source.confidence[:, 7] = 0.0  # a detector that knows no spine: the truth is there
    source.joints[6, 7] = float("nan")
    pose, neighbour = labelled_baselines(source, limit=10, batch_size=4)
    assert [i for chunk in source.asked for i in chunk] == np.linspace(0, 29, 10).round().astype(int).tolist()
    assert pose.shape == (17, 3)
    assert len(neighbour.poses) == 9  # whole poses only
    assert labelled_baselines(Source(without=("joints_3d",))) == (None, None)
    assert labelled_baselines(Source(without=("target", "joints_2d")))[1] is None
