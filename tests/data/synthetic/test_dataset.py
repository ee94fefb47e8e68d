from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup3d.data.priors.camera_prior import CameraPrior
from selfsup3d.data.sampling.augmentation import Augmentation
from selfsup3d.data.synthetic.dataset import SyntheticTruth
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.camera import project
from selfsup3d.geometry.kinematics import bone_lengths, canonicalize
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams

SIZE = 32


@pytest.fixture(scope="module")
def val(cache: Path) -> SyntheticTruth:
    return SyntheticTruth(cache, "tiny-test", SIZE, "val")


@pytest.fixture(scope="module")
def frames(val: SyntheticTruth) -> Batch:
    return val.frames(np.arange(len(val)))


def test_every_frame_has_all_its_truth(val: SyntheticTruth, frames: Batch) -> None:
    count = len(val)
    shapes = {
        "source": (count, 3, SIZE, SIZE),
        "target": (count, 3, SIZE, SIZE),
        "target_saliency": (count, 1, SIZE, SIZE),
        "target_background": (count, 3, SIZE, SIZE),
        "joints_3d": (count, 17, 3),
        "joints_2d": (count, 17, 2),
        "confidence": (count, 17),
        "bone_lengths": (count, 17),
        "K": (count, 3, 3),
        "part_labels": (count, SIZE, SIZE),
        "second_view": (count, 3, SIZE, SIZE),
        "second_view_joints_3d": (count, 17, 3),
        "second_view_labels": (count, SIZE, SIZE),
        "transfer": (count, 3, SIZE, SIZE),
        "transfer_joints_3d": (count, 17, 3),
        "transfer_labels": (count, SIZE, SIZE),
    }
    for name, shape in shapes.items():
        assert tuple(getattr(frames, name).shape) == shape, name
    assert all(m["action"] and m["person"] and m["dataset"] == "synthetic" for m in frames.meta)


def test_views_joints_and_cameras_agree(frames: Batch) -> None:
    assert (project(frames.joints_3d, frames.K) - frames.joints_2d).abs().max() < 1e-3
    body = canonicalize(frames.joints_3d)
    camera = frames.second_view_camera
    assert camera is not None
    seen = body @ camera.rotation.transpose(-1, -2) + camera.translation[:, None]
    assert (seen - frames.second_view_joints_3d).abs().max() < 1e-4
    assert (canonicalize(frames.second_view_joints_3d) - body).abs().max() < 1e-4
    assert (bone_lengths(frames.joints_3d) - frames.bone_lengths).abs().max() < 1e-5
    limbs = [2, 3, 5, 6, 12, 13, 15, 16]
    assert (bone_lengths(frames.transfer_joints_3d) - frames.bone_lengths)[:, limbs].abs().max() < 1e-4


def test_images_show_what_the_labels_say(frames: Batch) -> None:
    """Second view and transfer differ from the target, and people are where their joints are."""
    background = default_puppet().background
    for labels, joints, K in (
        (frames.part_labels, frames.joints_3d, frames.K),
        (frames.second_view_labels, frames.second_view_joints_3d, frames.second_view_camera.K),
        (frames.transfer_labels, frames.transfer_joints_3d, frames.K),
    ):
        person = (labels != background).float()
        assert 0.015 < person.mean() < 0.25
        ys, xs = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
        weight = person / person.sum((1, 2), keepdim=True)
        centre = torch.stack([(weight * xs).sum((1, 2)), (weight * ys).sum((1, 2))], -1)
        assert (centre - project(joints, K).mean(1)).norm(dim=-1).max() < 0.12 * SIZE
    assert (frames.target - frames.transfer).abs().mean() > 0.005
    outside = (frames.part_labels == background) & (frames.transfer_labels == background)
    same = (frames.target - frames.transfer).abs().amax(1)[outside]
    assert same.median() == 0.0  # same camera, same background


def test_the_source_is_another_frame_of_the_same_clip(val: SyntheticTruth, frames: Batch) -> None:
    rows = {(m["clip"], m["frame"]): i for i, m in enumerate(frames.meta)}
    length = {clip: sum(key[0] == clip for key in rows) for clip, _ in rows}
    for (clip, frame), i in rows.items():
        other = rows[clip, (frame + length[clip] // 2) % length[clip]]
        assert frames.source[i].equal(frames.target[other])


def test_training_samples_follow_their_draws(cache: Path) -> None:
    train = SyntheticTruth(cache, "tiny-test", SIZE, "train", Augmentation())
    one, again = (train.batch(RandomStreams(1, 5, np.arange(6))) for _ in range(2))
    part = train.batch(RandomStreams(1, 5, np.array([4, 2])))
    for name in ("source", "target", "joints_3d", "joints_2d", "part_labels", "bone_lengths", "K"):
        value = getattr(one, name)
        assert value.equal(getattr(again, name)), name
        assert torch.allclose(value[[4, 2]].float(), getattr(part, name).float(), atol=1e-6), name
    assert (project(one.joints_3d, one.K) - one.joints_2d).abs().max() < 1e-2
    assert one.second_view is None
    assert one.transfer is None


def test_augmented_labels_come_with_unpaired_poses_and_their_cameras(cache: Path) -> None:
    settings = {"pose_prior": ProceduralPrior(motions=4), "camera_prior": CameraPrior(SIZE)}
    train = SyntheticTruth(cache, "tiny-test", SIZE, "train", Augmentation(), **settings)
    plain = SyntheticTruth(cache, "tiny-test", SIZE, "train", **settings)
    one, other = (source.batch(RandomStreams(1, 5, np.arange(6))) for source in (train, plain))
    assert torch.equal(one.unpaired, other.unpaired)
    assert torch.equal(one.unpaired_camera.translation, other.unpaired_camera.translation)
    assert torch.equal(one.unpaired_camera.K, other.unpaired_camera.K)
    assert not torch.equal(one.target, other.target)


def test_depth_and_saliency_can_be_looked_at(val: SyntheticTruth, frames: Batch) -> None:
    depth = val.depth("clip_00000")
    assert depth.dtype == np.float16
    at = [i for i, m in enumerate(frames.meta) if m["clip"] == "clip_00000"]
    person = frames.part_labels[at].numpy() != default_puppet().background
    assert depth.shape == person.shape
    assert depth[person].min() > 3.0
    assert depth[person].max() < 6.5
    assert 0.0 <= val.saliency_iou() <= 1.0
