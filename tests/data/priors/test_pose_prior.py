from dataclasses import replace

import numpy as np
import torch

from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.priors.pose_prior import MocapPrior
from selfsup3d.geometry.rotation import rotation_about
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import H36M_17


def test_same_draws_give_the_same_poses_in_any_grouping(write_toy_mocap):
    prior = MocapPrior(write_toy_mocap(), "train")
    whole = prior.sample(RandomStreams(3, 5, np.arange(16)))
    halves = torch.cat(
        [prior.sample(RandomStreams(3, 5, np.arange(0, 8))), prior.sample(RandomStreams(3, 5, np.arange(8, 16)))]
    )
    assert whole.shape == (16, 17, 3)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, halves)
    assert not torch.equal(whole, prior.sample(RandomStreams(4, 5, np.arange(16))))


def test_subjects_are_drawn_alike(write_toy_mocap):
    capture = load_mocap(write_toy_mocap(), "train")  # cmu001 has 43 frames, someone has 4
    capture.positions[:43, H36M_17.joint_names.index("head"), 2] += 0.1  # tells the two apart
    head = H36M_17.joint_names.index("head")
    for balance, expected in (("subject", 0.5), ("frame", 43 / 47), ("sequence", 2 / 3)):
        poses = MocapPrior(capture, balance=balance).sample(RandomStreams(0, 0, np.arange(4000)))
        assert abs((poses[:, head, 2] > 0.75).float().mean().item() - expected) < 0.03


def test_half_of_the_poses_are_mirrored(write_toy_mocap):
    capture = load_mocap(write_toy_mocap(), "train")
    capture.positions[:, H36M_17.joint_names.index("left_wrist"), 2] += 0.3  # one raised hand
    left, right = (H36M_17.joint_names.index(f"{side}_wrist") for side in ("left", "right"))
    poses = MocapPrior(capture).sample(RandomStreams(0, 0, np.arange(2000)))
    raised_left = poses[:, left, 2] > poses[:, right, 2]
    assert abs(raised_left.float().mean().item() - 0.5) < 0.04
    assert (poses[:, left, 1] > 0).all()  # a mirrored left hand is on the left again


def test_test_subjects_never_reach_the_training_prior(write_toy_mocap):
    train = MocapPrior(write_toy_mocap(), "train")
    assert len(train) == 47


def test_upright_poses_stand_in_the_world_again(write_toy_mocap):
    """tilt and height put the body frame back upright: a person who bows still stands on the floor."""
    capture = load_mocap(write_toy_mocap(), "train")
    bow = rotation_about("y", torch.tensor(0.6)).numpy()
    turn = rotation_about("z", torch.tensor(1.1)).numpy()
    pelvis = capture.positions[:, :1]
    upper = [j for j, name in enumerate(H36M_17.joint_names) if j > 6]
    capture.positions[:, upper] = (capture.positions - pelvis)[:, upper] @ bow.T + pelvis
    turned = replace(capture, positions=(capture.positions @ turn.T).astype(np.float32))
    expected = MocapPrior(capture, mirror=False).sample_upright(RandomStreams(0, 0, np.arange(8)))
    poses = MocapPrior(turned, mirror=False).sample_upright(RandomStreams(0, 0, np.arange(8)))
    assert torch.allclose(poses.tilt, expected.tilt, atol=1e-5)  # the heading is taken out
    world = poses.joints @ poses.tilt.mT
    ankles = [H36M_17.joint_names.index(f"{side}_ankle") for side in ("left", "right")]
    assert torch.allclose(world[:, ankles, 2] + poses.height[:, None], torch.tensor(0.08), atol=1e-4)
    lean = world[:, 8] / world[:, 8].norm(dim=-1, keepdim=True)
    assert torch.allclose(lean[:, 2], torch.tensor(0.6).cos(), atol=1e-4)


def test_a_mirrored_pose_leans_to_the_other_side(write_toy_mocap):
    capture = load_mocap(write_toy_mocap(), "train")
    lean = rotation_about("x", torch.tensor(0.3)).numpy()
    capture.positions[:] = (capture.positions - capture.positions[:, :1]) @ lean.T
    poses = MocapPrior(capture).sample_upright(RandomStreams(0, 0, np.arange(64)))
    sideways = (poses.joints[:, 8:9] @ poses.tilt.mT)[:, 0, 1]  # where the neck is, left of the pelvis
    assert torch.allclose(sideways.abs(), sideways.abs()[:1], atol=1e-5)
    assert 16 < int((sideways > 0).sum()) < 48
    determinant = torch.linalg.det(poses.tilt)
    assert torch.allclose(determinant, torch.ones(64), atol=1e-5)
