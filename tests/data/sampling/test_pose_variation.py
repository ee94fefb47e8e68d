import itertools

import numpy as np
import torch

from selfsup3d.data.sampling.pose_clusters import pose_clusters
from selfsup3d.data.sampling.pose_variation import PoseVariation
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.geometry.kinematics import body_frame, canonicalize
from selfsup3d.geometry.rotation import rotate
from selfsup3d.structures.device_random import DeviceDraws
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import H36M_17, joint_index


def windows(count=40, frames=3):
    joints = torch.from_numpy(procedural_capture(10, frames=12).positions.reshape(-1, 17, 3).copy()).float()
    start = torch.arange(count)
    window = joints[start[:, None] + torch.arange(frames)]
    donors = canonicalize((window - window[:, :, :1]).flip(0))
    return window, donors


def varied(frames=3, **settings):
    window, donors = windows(frames=frames)
    streams = DeviceDraws(RandomStreams(1, 0, np.arange(len(window))))
    return window, donors, PoseVariation(**settings)(window.clone(), donors, streams)


def lengths(joints):
    return torch.stack([(joints[..., c, :] - joints[..., p, :]).norm(dim=-1) for p, c in H36M_17.bones], -1)


def test_no_variation_changes_nothing():
    window, _, result = varied()
    torch.testing.assert_close(result, window, atol=1e-5, rtol=1e-5)


def test_bones_change_by_the_same_factor_on_both_sides_and_in_all_frames():
    window, _, result = varied(bones=0.1)
    ratio = lengths(result) / lengths(window)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-3, rtol=1e-3)
    for left, right in H36M_17.pairs:
        torch.testing.assert_close(ratio[..., left - 1], ratio[..., right - 1], atol=1e-3, rtol=1e-3)
    assert 0.05 < ratio.log().std() < 0.2


def test_hips_only_move_apart():
    window, _, result = varied(hips=0.5)
    hip = joint_index("left_hip") - 1
    ratio = (lengths(result) / lengths(window))[..., hip]
    assert ratio.min() >= 0.999
    assert 1.3 < ratio.max() <= 1.501


def test_limbs_are_those_of_the_donor_in_its_body_frame():
    window, donors, result = varied(limbs=1.0)
    frame, _ = body_frame(window)
    for chain in (("left_hip", "left_knee", "left_ankle"), ("right_shoulder", "right_elbow", "right_wrist")):
        for a, b in itertools.pairwise(chain):
            i, j = joint_index(a), joint_index(b)
            bone = rotate(frame.transpose(-1, -2), (result[:, :, j] - result[:, :, i])[:, :, None])[:, :, 0]
            torch.testing.assert_close(bone, donors[:, :, j] - donors[:, :, i], atol=1e-4, rtol=1e-4)


def test_rotations_keep_lengths_and_bend_about_the_stated_angle():
    window, _, result = varied(limb_angle=10.0, trunk_angle=10.0)
    torch.testing.assert_close(lengths(result), lengths(window), atol=1e-4, rtol=1e-4)
    neck = joint_index("neck")
    before, after = (x[:, :, neck] - x[:, :, 0] for x in (window, result))
    angle = torch.rad2deg(torch.acos(torch.cosine_similarity(before, after, dim=-1).clamp(-1, 1)))
    assert 4.0 < angle.square().mean().sqrt() < 12.0


def test_speed_stretches_time():
    capture = procedural_capture(4, frames=40)
    source = ProjectedPoses(capture, frames_per_sample=3)
    middle = torch.tensor([20, 60])
    slow = source._window(middle, torch.tensor([0.5, 2.0]))
    positions = torch.from_numpy(capture.positions)
    half = 0.5 * (positions[20] + positions[21]) - positions[20, :1]
    torch.testing.assert_close(slow[0, 2], half, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(slow[1, 2], positions[62] - positions[60, :1], atol=1e-5, rtol=1e-5)


def test_rare_poses_are_drawn_as_often_as_common_ones():
    common, rare = torch.zeros(990, 17, 3), torch.ones(10, 17, 3)
    groups = pose_clusters(torch.cat((common, rare)) + 0.01 * torch.randn(1000, 17, 3), count=2)
    assert set(groups[:990]) == {groups[0]}
    assert set(groups[990:]) == {groups[990]} != {groups[0]}
