from __future__ import annotations

import numpy as np
import torch

from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.data.synthetic.scene import make_scene
from selfsup3d.data.synthetic.spec import PRESETS
from selfsup3d.geometry.kinematics import canonicalize, inverse_kinematics
from selfsup3d.structures.random import RandomStreams

PRIOR = ProceduralPrior(motions=60)


def test_poses_are_in_the_body_frame() -> None:
    poses = PRIOR.sample(RandomStreams(0, 0, np.arange(500)))
    assert poses.shape == (500, 17, 3)
    assert poses.dtype == torch.float32
    assert poses[:, 0].abs().max() < 1e-6
    assert (canonicalize(poses) - poses).abs().max() < 1e-4
    inverse_kinematics(poses)  # raises where the conditions do not hold
    assert len(PRIOR.actions) == len(PRIOR)


def test_samples_follow_their_draws() -> None:
    whole, part = (PRIOR.sample(RandomStreams(3, 9, index)) for index in (np.arange(10), np.array([7])))
    assert whole[7].equal(part[0])


def test_tilt_and_height_stand_the_pose_on_the_floor() -> None:
    upright = PRIOR.sample_upright(RandomStreams(0, 0, np.arange(400)))
    assert upright.joints.equal(PRIOR.sample(RandomStreams(0, 0, np.arange(400))))
    world = upright.joints @ upright.tilt.transpose(-1, -2)
    lowest = world[:, [3, 6], 2].amin(1) + upright.height
    assert 0.05 < lowest.median() < 0.12
    assert lowest.min() > 0.03
    left = upright.tilt[:, :, 1]
    assert left[:, 0].abs().max() < 1e-5  # the left of the body is the left of the heading
    assert (left[:, 1] > 0).all()


def test_no_pose_of_the_benchmark_is_in_the_prior() -> None:
    bank = torch.from_numpy(PRIOR.poses)
    for split in ("train", "val", "test"):
        scene = make_scene(PRESETS["v1"], split, 0, 32)
        poses = canonicalize(torch.from_numpy(scene.joints)).float()
        gap = (bank[None] - poses[:, None]).norm(dim=-1).mean(-1)
        assert gap.min() > 2e-3


def test_poses_vary_as_those_of_the_benchmark() -> None:
    scenes = [make_scene(PRESETS["v1"], "val", clip, 32) for clip in range(24)]
    poses = torch.cat([canonicalize(torch.from_numpy(scene.joints)).float() for scene in scenes])
    spread = [p.std(0).norm(dim=-1).mean() for p in (poses, torch.from_numpy(PRIOR.poses))]
    assert abs(spread[0] / spread[1] - 1) < 0.3
