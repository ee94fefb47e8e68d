import os
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.sampling.keypoint_noise import CONDITIONS, KeypointModel, other_convention
from selfsup3d.data.sampling.projected_poses import CameraRange, ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import project
from selfsup3d.geometry.kinematics import canonicalize
from selfsup3d.geometry.rotation import rotate
from selfsup3d.structures.device_random import DeviceDraws
from selfsup3d.structures.random import RandomStreams


@pytest.fixture(scope="module")
def capture():
    return procedural_capture(10, frames=12)


def streams(count=64, step=0, first=0):
    return RandomStreams(3, step, np.arange(first, first + count))


def test_device_draws_are_the_same_bits():
    reference, device = streams(), DeviceDraws(streams())
    assert np.array_equal(device.seeds.numpy(), reference.seeds)
    np.testing.assert_allclose(device.uniform(5, 2).numpy(), reference.uniform(5, 2), atol=1e-7)
    np.testing.assert_allclose(device.normal(3).numpy(), reference.normal(3), atol=1e-6)
    assert np.array_equal(device.integers(17, 4).numpy(), reference.integers(17, 4))
    high = np.arange(1, 65)
    assert np.array_equal(device.integers(torch.from_numpy(high)).numpy(), reference.integers(high))


def test_keypoints_are_projections_of_the_joints(capture):
    batch = ProjectedPoses(capture).batch(streams())
    torch.testing.assert_close(batch.joints_2d, project(batch.joints_3d, batch.K), atol=1e-3, rtol=1e-5)
    assert batch.confidence.min() == 1
    depth = batch.joints_3d[:, 0, 2]
    assert depth.min() >= 3.0
    assert depth.max() <= 6.0
    assert (batch.joints_2d[:, 0] - 500).abs().max() <= 0.12 * 1000 + 1e-3


def test_people_stand_upright_in_the_image_and_face_all_ways(capture):
    batch = ProjectedPoses(capture).batch(streams(400))
    assert (batch.joints_3d[:, 10, 1] < batch.joints_3d[:, 3, 1]).float().mean() > 0.95  # heads above feet
    across = batch.joints_3d[:, 4] - batch.joints_3d[:, 1]
    assert 0.4 < (across[:, 0] > 0).float().mean() < 0.6


def test_a_sample_depends_on_its_number_alone(capture):
    source = ProjectedPoses(capture, keypoints=KeypointModel(sigma=3.0, missing=0.1))
    whole = source.batch(streams(16))
    part = source.batch(streams(4, first=8))
    torch.testing.assert_close(part.joints_2d, whole.joints_2d[8:12], equal_nan=True)
    torch.testing.assert_close(part.unpaired, whole.unpaired[8:12])
    assert not torch.allclose(source.batch(streams(16, step=1)).joints_3d, whole.joints_3d)


def test_unpaired_poses_are_other_people_s_in_the_body_frame_with_a_camera(capture):
    batch = ProjectedPoses(capture).batch(streams())
    torch.testing.assert_close(batch.unpaired, canonicalize(batch.unpaired), atol=1e-4, rtol=0)
    seen = rotate(batch.unpaired_camera.rotation, batch.unpaired)
    assert (seen[:, 10, 1] < seen[:, 3, 1]).float().mean() > 0.95
    # the bodies are as large as those that are seen, and not the same
    assert not torch.allclose(batch.unpaired, canonicalize(batch.joints_3d), atol=1e-2)


def test_sequences_are_seen_by_one_camera_and_held_at_their_ends(capture):
    source = ProjectedPoses(capture, frames_per_sample=5)
    batch = source.batch(streams())
    assert batch.joints_2d.shape == (64, 5, 17, 2)
    torch.testing.assert_close(batch.joints_2d[:, 2], project(batch.joints_3d, batch.K), atol=1e-3, rtol=1e-5)
    first = source.frames(np.array([0]))
    torch.testing.assert_close(first.joints_2d[0, 0], first.joints_2d[0, 2])
    assert not torch.equal(first.joints_2d[0, 3], first.joints_2d[0, 2])
    with pytest.raises(InputError, match="odd"):
        ProjectedPoses(capture, frames_per_sample=4)


def test_evaluation_frames_are_the_same_whatever_the_batch_and_the_condition(capture):
    clean = ProjectedPoses(capture, stride=3)
    noisy = ProjectedPoses(capture, stride=3, keypoints=CONDITIONS["noisy"])
    assert len(clean) == 40
    alone, together = clean.frames(np.array([7])), clean.frames(np.arange(10))
    torch.testing.assert_close(alone.joints_2d[0], together.joints_2d[7])
    torch.testing.assert_close(noisy.frames(np.arange(10)).joints_3d, together.joints_3d)
    moved = noisy.frames(np.arange(40)).joints_2d - clean.frames(np.arange(40)).joints_2d
    assert moved.std().item() == pytest.approx(5.0, rel=0.1)
    assert together.meta[7]["frame"] == 21
    assert together.meta[7]["action"] == capture.actions[1]


def test_missing_joints_are_nan_with_confidence_zero(capture):
    source = ProjectedPoses(capture, keypoints=KeypointModel(missing=0.3, limbs=0.5))
    batch = source.batch(streams(200))
    assert torch.equal(torch.isnan(batch.joints_2d).all(-1), batch.confidence == 0)
    knees = batch.confidence[:, [2, 5]] == 0
    ankles = batch.confidence[:, [3, 6]] == 0
    assert (batch.confidence[:, 10] == 0).float().mean().item() == pytest.approx(0.3, abs=0.1)
    assert (knees & ankles).float().mean() > 0.45  # they go together
    assert torch.isfinite(batch.joints_3d).all()


def test_outliers_are_rare_and_far(capture):
    clean = ProjectedPoses(capture)
    wild = ProjectedPoses(capture, keypoints=KeypointModel(sigma=1.0, outliers=0.05))
    away = (wild.batch(streams(300)).joints_2d - clean.batch(streams(300)).joints_2d).norm(dim=-1)
    assert (away > 6).float().mean().item() == pytest.approx(0.05 * 0.83, abs=0.015)


def test_the_other_convention_moves_some_joints_by_centimetres(capture):
    source = ProjectedPoses(capture, second_source=True)
    assert source.batch(streams()).source_joints_2d.shape == (64, 17, 2)
    joints = torch.from_numpy(capture.positions[:50])
    moved = (other_convention(joints) - joints).norm(dim=-1).mean(0)
    assert 0.01 < moved[1] < 0.1
    assert moved[0] == 0
    shift = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(other_convention(joints + shift), other_convention(joints) + shift)


def test_labels_and_poses_can_be_fewer(capture):
    part = ProjectedPoses(capture, labelled=0.3)
    known = torch.isfinite(part.batch(streams(300)).joints_3d).flatten(1).all(1)
    assert 0.1 < known.float().mean() < 0.5
    assert torch.isfinite(part.frames(np.arange(20)).joints_3d).all()
    few = ProjectedPoses(capture, fraction=0.1)
    assert few.training_poses == 12
    assert len(few) == len(capture)


def test_mirrored_samples_double_the_poses(capture):
    plain = ProjectedPoses(capture, mirror=False).batch(streams(200)).joints_3d
    mirrored = ProjectedPoses(capture, mirror=True).batch(streams(200)).joints_3d
    changed = ((plain - mirrored).abs().flatten(1).amax(1) > 1e-3).float().mean()
    assert 0.35 < changed < 0.65
    true = (plain[:, 2] - plain[:, 1]).norm(dim=-1)  # right thigh: mirrored, it is the left one's
    assert torch.allclose((mirrored[:, 2] - mirrored[:, 1]).norm(dim=-1).mean(), true.mean(), atol=0.02)


def test_camera_ranges(capture):
    cameras = CameraRange(distance=(2.0, 2.5), elevation=(40.0, 50.0), roll=(0.0, 0.0), offset=0.0)
    batch = ProjectedPoses(capture, cameras=cameras).batch(streams())
    assert batch.joints_3d[:, 0, 2].max() <= 2.5
    torch.testing.assert_close(batch.joints_2d[:, 0], torch.full((64, 2), 500.0), atol=1e-2, rtol=0)
    down = -(batch.joints_3d[:, 10] - batch.joints_3d[:, 0])  # seen from above, heads are nearer
    assert (down[:, 2] > 0).float().mean() > 0.9


def test_samples_are_drawn_evenly_over_subjects(capture):
    source = ProjectedPoses(capture, mirror=False)
    stream = DeviceDraws(streams(3000))
    drawn = capture.subject_of_frame()[0][source._draw(stream).numpy()]
    assert np.bincount(drawn, minlength=10).min() > 200


def test_real_motion_capture():
    folder = os.environ.get("SELFSUP3D_DATA")
    if not folder:
        pytest.skip("SELFSUP3D_DATA is not set: the folder with mocap.npz")
    source = ProjectedPoses(load_mocap(Path(folder) / "mocap.npz", "val"))
    batch = source.batch(streams())
    assert torch.isfinite(batch.joints_2d).all()
    assert 0.5 < (batch.joints_3d[:, 10] - batch.joints_3d[:, 0]).norm(dim=-1).median() < 0.9
