import numpy as np
import pytest
import torch

from selfsup3d.data.sampling.augmentation import Augmentation
from selfsup3d.data.sampling.clip_pairs import PairSource
from selfsup3d.data.sampling.clip_store import Clip
from selfsup3d.errors import InputError
from selfsup3d.experiments.self_training import (
    AGREEMENT,
    SIGNALS,
    PseudoLabels,
    agreement,
    agreement_lines,
    make_pseudo_labels,
    trust,
)
from selfsup3d.geometry.camera import project
from selfsup3d.models.part_guided.averaging import averaged_reading
from selfsup3d.models.part_guided.presets import build_networks
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.random import RandomStreams

LENGTHS = (5, 9)


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    return [
        Clip(
            f"clip_{k}",
            rng.integers(0, 255, (count, 32, 32, 3), np.uint8),
            rng.integers(0, 255, (count, 32, 32), np.uint8),
            rng.integers(0, 255, (32, 32, 3), np.uint8),
            {"fps": 10.0},
        )
        for k, count in enumerate(LENGTHS)
    ]


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    puppet = default_puppet()
    system = PartGuided(*build_networks("tiny", len(puppet)), puppet).eval()
    system.bone_lengths.fill_(0.3)
    system.bone_lengths[0] = 0.0
    return system


def test_the_worst_quarter_by_mean_rank_is_dropped_and_trust_falls_with_the_rank():
    signals = np.tile(np.arange(20.0)[:, None], (1, 5))  # alike in all signals, whatever their units
    signals[:, 2] *= 1e6
    weight = trust(signals)
    assert (weight[15:] == 0).all()
    assert (np.diff(weight[:16]) < 0).all()
    assert weight[:15].mean() == pytest.approx(1.0)
    assert (trust(signals[::-1]) == weight[::-1]).all()


def test_pseudo_labels_are_the_averaged_predictions_of_each_frame_in_order(teacher, clips, tmp_path):
    source = PairSource(clips)
    labels = make_pseudo_labels(teacher, source, "mirror", name="a teacher")
    assert labels.signals.shape == (sum(LENGTHS), len(SIGNALS))
    batch = source.frames(np.arange(sum(LENGTHS)))
    reading = averaged_reading(teacher, batch.target, batch.K, "mirror")
    apart = (reading.joints - torch.from_numpy(labels.joints)[:, None]).norm(dim=-1).mean(-1)  # (N, A)
    assert apart.min(1).values.max() < 1e-4  # each is the mean pose of one assignment
    labels.save(tmp_path / "labels.npz")
    again = PseudoLabels.load(tmp_path / "labels.npz")
    np.testing.assert_array_equal(again.joints, labels.joints)
    assert again.teacher == "a teacher"
    (tmp_path / "labels.npz").write_bytes(b"no npz")
    with pytest.raises(InputError, match="made again"):
        PseudoLabels.load(tmp_path / "labels.npz")


def test_samples_carry_their_frames_pseudo_labels_through_mirroring_and_crops(teacher, clips):
    plain, moved = PairSource(clips), PairSource(clips, augmentation=Augmentation(scale=0.3, shift=0.1))
    labels = make_pseudo_labels(teacher, plain)
    weight = np.arange(len(plain), dtype=np.float32)
    for source in (plain, moved):
        source.learn_from(labels.joints, weight)
    streams = [RandomStreams(7, 3, np.arange(64)) for _ in range(2)]
    before, after = plain.batch(streams[0]), moved.batch(streams[1])
    rows = before.pseudo_weight.long()
    torch.testing.assert_close(before.pseudo_joints_3d, torch.from_numpy(labels.joints)[rows])
    assert torch.equal(after.pseudo_weight, before.pseudo_weight)
    # The pose seen by the sample's pinhole: the pinhole alone says where a crop moved it, a mirrored one is mirrored.
    seen = project(after.pseudo_joints_3d, after.K)
    same = (after.pseudo_joints_3d - before.pseudo_joints_3d).abs().amax((1, 2)) < 1e-5
    assert 10 < same.sum() < 54
    was = project(before.pseudo_joints_3d, before.K)
    for k in range(64):
        x = seen[k, 0, 0] if same[k] else 32 - seen[k, 0, 0]
        assert abs(float(x - was[k, 0, 0])) < 32  # within what crops of 0.3 move
    with pytest.raises(ValueError, match="of 14 frames"):
        plain.learn_from(labels.joints[1:], weight[1:])


def test_agreement_needs_no_labels_and_is_told_line_by_line(teacher, clips):
    found = agreement(teacher, PairSource(clips))
    assert set(found) == set(AGREEMENT)
    assert all(np.isfinite(value) for value in found.values())
    assert 0 <= found["silhouette_iou"] <= 1
    told = agreement_lines(found, found)
    assert told.count("\n") == len(AGREEMENT)
    assert f"{found['spread_mm']:10.3f}" * 2 in told
