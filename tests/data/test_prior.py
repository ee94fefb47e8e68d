import numpy as np
import torch

from selfsup3d.data.mocap import load_mocap
from selfsup3d.data.prior import MocapPrior
from selfsup3d.draws import Draws
from selfsup3d.skeleton import H36M_17


def test_same_draws_give_the_same_poses_in_any_grouping(write_toy_mocap):
    prior = MocapPrior(write_toy_mocap(), "train")
    whole = prior.sample(Draws(3, 5, np.arange(16)))
    halves = torch.cat([prior.sample(Draws(3, 5, np.arange(0, 8))), prior.sample(Draws(3, 5, np.arange(8, 16)))])
    assert whole.shape == (16, 17, 3)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, halves)
    assert not torch.equal(whole, prior.sample(Draws(4, 5, np.arange(16))))


def test_subjects_are_drawn_alike(write_toy_mocap):
    capture = load_mocap(write_toy_mocap(), "train")  # cmu001 has 43 frames, someone has 4
    frames = torch.from_numpy(capture.canonical())
    frames[:43, 0] = 1.0  # mark cmu001
    prior = MocapPrior(capture, mirror=False)
    prior.poses = frames.numpy()
    share = (prior.sample(Draws(0, 0, np.arange(4000)))[:, 0, 0] == 1.0).float().mean().item()
    assert abs(share - 0.5) < 0.03
    by_frame = MocapPrior(capture, balance="frame", mirror=False)
    by_frame.poses = frames.numpy()
    share = (by_frame.sample(Draws(0, 0, np.arange(4000)))[:, 0, 0] == 1.0).float().mean().item()
    assert abs(share - 43 / 47) < 0.03


def test_half_of_the_poses_are_mirrored(write_toy_mocap):
    capture = load_mocap(write_toy_mocap(), "train")
    capture.positions[:, H36M_17.joint_names.index("left_wrist"), 2] += 0.3  # one raised hand
    left, right = (H36M_17.joint_names.index(f"{side}_wrist") for side in ("left", "right"))
    poses = MocapPrior(capture).sample(Draws(0, 0, np.arange(2000)))
    raised_left = poses[:, left, 2] > poses[:, right, 2]
    assert abs(raised_left.float().mean().item() - 0.5) < 0.04
    assert (poses[:, left, 1] > 0).all()  # a mirrored left hand is on the left again
    assert (MocapPrior(capture, mirror=False).sample(Draws(0, 0, np.arange(50)))[:, left, 2] > -0.5).all()


def test_test_subjects_never_reach_the_training_prior(write_toy_mocap):
    train = MocapPrior(write_toy_mocap(), "train")
    assert len(train) == 47
