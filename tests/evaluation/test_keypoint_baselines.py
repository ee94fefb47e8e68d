from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup3d.data.sampling.keypoint_noise import KeypointModel
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.evaluation.baselines import labelled_baselines
from selfsup3d.evaluation.keypoint_baselines import flat_pose, keypoint_features
from selfsup3d.evaluation.metrics import pa_mpjpe, root_relative
from selfsup3d.structures.batch import Batch


@pytest.fixture(scope="module")
def source():
    return ProjectedPoses(procedural_capture(20, frames=8), name="procedural")


def test_flat_poses_are_the_keypoints_and_have_no_depth(source):
    batch = source.frames(np.arange(160))
    flat = flat_pose(batch)
    assert not flat[..., 2].any()
    true = batch.joints_3d.clone()
    shadow = torch.nn.functional.pad(true[..., :2] / true[..., 2:], (0, 1))
    torch.testing.assert_close(flat - flat[:, :1], shadow - shadow[:, :1], atol=1e-4, rtol=1e-3)
    # Knowing the depths would make it exact but for perspective; without, it is centimetres off.
    assert pa_mpjpe(flat.double(), true.double()).mean() > 50


def test_a_neighbour_by_keypoints_is_near_in_3d_and_exact_for_known_frames(source):
    mean, neighbour = labelled_baselines(source)
    batch = source.frames(np.arange(160))
    found = neighbour(keypoint_features(batch))
    torch.testing.assert_close(found, root_relative(batch.joints_3d))
    assert mean.shape == (17, 3)


def test_size_and_place_do_not_matter(source):
    batch = source.frames(np.arange(20))
    moved = replace(batch, joints_2d=3.0 * batch.joints_2d + 50.0, K=None)
    still = replace(batch, K=None)
    torch.testing.assert_close(keypoint_features(moved), keypoint_features(still), atol=1e-4, rtol=1e-3)


def test_missing_joints_are_left_out(source):
    broken = replace(source, keypoints=KeypointModel(missing=0.3)).frames(np.arange(20))
    assert torch.isfinite(keypoint_features(broken)).all()
    assert torch.isfinite(flat_pose(broken)).all()


def test_sequences_count_by_their_middle(source):
    window = replace(source, frames_per_sample=3).frames(np.arange(20))
    torch.testing.assert_close(flat_pose(window), flat_pose(source.frames(np.arange(20))))


def test_without_keypoints_there_is_none():
    assert flat_pose(Batch(index=torch.zeros(2))) is None
    assert keypoint_features(Batch(index=torch.zeros(2))) is None
