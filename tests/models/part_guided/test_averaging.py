import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import mirror_camera, project
from selfsup3d.geometry.kinematics import mirror_joints
from selfsup3d.models.part_guided.assignment_path import AssignmentPath, best_path, movement_cost
from selfsup3d.models.part_guided.averaging import ASSIGNMENTS, averaged_reading
from selfsup3d.models.part_guided.confidence import Calibration, calibration_error, fit_calibration, signals
from selfsup3d.models.part_guided.localizer import crop_images
from selfsup3d.models.part_guided.pseudo_labels import taught_joints


@pytest.fixture
def network(make_system, batch):
    system = make_system().eval()
    system.fit([batch])
    return system


def test_a_single_reading_is_what_the_encoder_gives_under_each_assignment(network, batch):
    reading = averaged_reading(network, batch.target, batch.K, "none")
    for k, pair in enumerate(ASSIGNMENTS):
        code = network.encoder(batch.target, batch.K, assignment=torch.tensor([pair]).expand(4, 2))
        torch.testing.assert_close(reading.joints[:, k], network.pose(code).joints, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(reading.keypoints[:, k], code.keypoints, atol=1e-4, rtol=1e-5)
    own = network.encode(batch.target, batch.K).assignment
    chosen = torch.tensor(ASSIGNMENTS)[reading.likeliest()]
    assert torch.equal(chosen, own)
    assert reading.spread.abs().max() == 0
    assert torch.allclose(reading.log_probability.exp().sum(1), torch.ones(4), atol=1e-5)


@pytest.mark.parametrize("averaging", ["mirror", "mirror_crops", "mirror_fine"])
def test_averaged_readings_of_a_mirrored_image_are_mirrored(network, batch, averaging):
    size = batch.target.shape[-1]
    K = mirror_camera(torch.eye(3).expand(4, 3, 3), torch.zeros(4, 3), batch.K, size)[2]
    plain = averaged_reading(network, batch.target, batch.K, averaging)
    other = averaged_reading(network, batch.target.flip(-1), K, averaging)
    torch.testing.assert_close(other.joints, mirror_joints(plain.joints, axis=0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other.log_probability, plain.log_probability, atol=1e-5, rtol=1e-4)
    assert plain.spread.max() > 1e-3


def test_a_finer_look_tells_left_and_right_and_moves_nothing(network, batch):
    plain = averaged_reading(network, batch.target, batch.K, "mirror")
    fine = averaged_reading(network, batch.target, batch.K, "mirror_fine")
    torch.testing.assert_close(fine.joints, plain.joints)
    torch.testing.assert_close(fine.keypoints, plain.keypoints)
    mirrored = mirror_camera(torch.eye(3).expand(4, 3, 3), torch.zeros(4, 3), batch.K, 32)[2]
    logits = []
    for images, K in ((batch.target, batch.K), (batch.target.flip(-1), mirrored)):
        crop = network.encoder.localizer(images)
        side = 48  # 4/3 of 32, to the nearest multiple of 16
        scaled = K * torch.tensor([side / 32, side / 32, 1.0])[:, None]
        logits.append(network.encoder.observe(crop_images(images, crop, side=side), crop, crop, scaled))
    assert (fine.log_probability - plain.log_probability).abs().max() > 1e-4
    legs, arms = torch.stack([seen.assignment_logits for seen in logits]).mean(0).unbind(1)
    signs = [(1 if a else -1, 1 if b else -1) for a, b in ASSIGNMENTS]
    expected = torch.stack([F.logsigmoid(a * legs) + F.logsigmoid(b * arms) for a, b in signs], 1)
    torch.testing.assert_close(fine.log_probability, expected, atol=1e-5, rtol=1e-4)


def test_a_second_crop_is_around_the_keypoints_of_the_first_look(network, batch):
    first = network.encoder(batch.target, batch.K, assignment=torch.zeros(4, 2, dtype=torch.bool))
    size = batch.target.shape[-1]
    points = (first.keypoints / size).clamp(0, 1)
    low, high = points.amin(1), points.amax(1)
    half = (0.65 * (high - low).amax(1, keepdim=True)).clamp(
        0.08, 0.6
    )  # training's crops: 1.3 times the joints' extent
    crop = torch.cat([(low + high) / 2, half], 1)
    reading = averaged_reading(network, batch.target, batch.K, "none", second_crop=True)
    for k, pair in enumerate(ASSIGNMENTS):
        assignment = torch.tensor([pair]).expand(4, 2)
        code = network.encoder(batch.target, batch.K, crop=crop, assignment=assignment)
        torch.testing.assert_close(reading.keypoints[:, k], code.keypoints, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(reading.joints[:, k], network.pose(code).joints, atol=1e-4, rtol=1e-4)


def test_larger_images_are_read_in_their_detail_and_answered_in_the_networks_pixels(network, batch):
    size = batch.target.shape[-1]
    large = torch.nn.functional.interpolate(batch.target, scale_factor=2, mode="nearest")
    plain = averaged_reading(network, batch.target, batch.K, "none", second_crop=True)
    fine = averaged_reading(network, large, batch.K, "none", second_crop=True, size=size)
    assert (fine.keypoints - plain.keypoints).norm(dim=-1).mean() < 0.1 * size
    assert (fine.keypoints - plain.keypoints).abs().max() > 1e-4  # sampled between other pixels


def test_a_second_crop_asked_for_in_the_settings_is_the_one_predicted_with(make_system, batch):
    system = make_system(second_crop=True).eval()
    system.fit([batch])
    reading = averaged_reading(system, batch.target, batch.K, "none", second_crop=True)
    torch.testing.assert_close(
        system.predict(batch).keypoints, reading.at(reading.likeliest()).keypoints, atol=1e-4, rtol=1e-4
    )


def test_what_is_taught_lies_on_the_keypoints_where_the_pose_head_reads_them(network, batch):
    reading = averaged_reading(network, batch.target, batch.K, "mirror")
    chosen = reading.at(reading.likeliest())
    assert torch.equal(taught_joints(network, chosen, batch.K), chosen.joints)
    network.encoder.pose_head = "keypoints"
    taught = taught_joints(network, chosen, batch.K)
    torch.testing.assert_close(project(taught, batch.K), chosen.keypoints, atol=1e-2, rtol=1e-4)
    assert torch.equal(taught[..., 2], chosen.joints[..., 2].clamp_min(0.1))


def test_averaged_predictions_are_the_systems(network, batch):
    plain = network.predict(batch)
    network.averaging = "mirror"
    averaged = network.predict(batch)
    reading = averaged_reading(network, batch.target, batch.K, "mirror")
    joints = reading.at(reading.likeliest()).joints
    torch.testing.assert_close(averaged.pose[:, 0], joints - joints[:, :1], atol=1e-4, rtol=1e-4)
    assert (averaged.pose - plain.pose).abs().max() > 1e-3


def test_the_best_path_is_that_of_all_paths():
    rng = np.random.default_rng(4)
    logs, steps, start = rng.normal(size=(5, 4)), rng.random((4, 4, 4)) * 3, rng.random(4)

    def score(path):
        moves = sum(steps[t, path[t], path[t + 1]] for t in range(4))
        return sum(logs[t, k] for t, k in enumerate(path)) - moves - start[path[0]]

    best = max(itertools.product(range(4), repeat=5), key=score)
    assert best_path(logs, steps, start).tolist() == list(best)


def still_person(frames):
    """(T, 4, 17, 3) poses of a person who stands still: exchanged limbs are a mirrored pose."""
    rng = np.random.default_rng(0)
    pose = rng.normal(size=(17, 3)) * 0.3
    poses = np.stack([pose, *(pose + rng.normal(size=(17, 3)) * 0.4 for _ in range(3))])
    return np.tile(poses, (frames, 1, 1, 1))


def test_a_single_doubtful_frame_is_outvoted_and_streaming_decides_alike():
    poses = still_person(40)
    logs = np.log(np.full((40, 4), 0.01)) + np.eye(4)[0] * 4.0
    logs[17] = np.log(0.01) + np.eye(4)[3] * 4.0
    whole = best_path(logs, movement_cost(poses[:-1], poses[1:]))
    assert whole.tolist() == [0] * 40
    path, found = AssignmentPath(lag=5), []
    for t in range(40):
        path.add(t, logs[t], poses[t])
        found += path.decided()
        assert len(found) == max(t + 1 - 5, 0)
    assert found + path.decided(final=True) == [0] * 40


def test_an_assignment_is_no_likelier_for_moving_less():
    poses = still_person(20)
    poses[:, 0] += np.arange(20)[:, None, None] * np.random.default_rng(1).normal(size=(17, 3)) * 0.02
    logs = np.log(np.tile([0.4, 0.1, 0.1, 0.4], (20, 1))) + 0.01 * np.eye(4)[0]
    assert best_path(logs, movement_cost(poses[:-1], poses[1:])).tolist() == [0] * 20


def test_a_cut_starts_afresh():
    poses = still_person(2)
    logs = np.log(np.array([[0.97, 0.01, 0.01, 0.01], [0.2, 0.1, 0.1, 0.6]]))
    for number, expected in ((1, [0, 0]), (50, [0, 3])):
        path = AssignmentPath()
        path.add(0, logs[0], poses[0])
        path.add(number, logs[1], poses[1])
        assert path.decided(final=True) == expected


def test_a_fitted_calibration_is_calibrated_and_falls_with_doubt(network, batch, tmp_path):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(4000, 17, 4, generator=generator) * 2
    truth = torch.sigmoid(1.0 - 1.5 * values[..., 0] - 0.5 * values[..., 2])
    right = torch.rand(truth.shape, generator=generator) < truth
    fitted = fit_calibration(values, right, "made")
    torch.testing.assert_close(fitted.weights, torch.tensor([1.5, 0.0, 0.5, 0.0]), atol=0.08, rtol=0)
    found = torch.sigmoid(fitted.bias - values @ fitted.weights)
    assert calibration_error(found, right) < 0.01
    assert calibration_error(torch.full_like(found, 0.99), right) > 0.3
    fitted.save(tmp_path)
    again = Calibration.load(tmp_path)
    torch.testing.assert_close(again.bias, fitted.bias, atol=1e-4, rtol=1e-4)
    reading = averaged_reading(network, batch.target, batch.K, "none")
    likely, unlikely = (again(reading, k) for k in (reading.likeliest(), reading.log_probability.argmin(1)))
    assert likely.shape == (4, 17)
    assert signals(reading, reading.log_probability.argmin(1))[..., 1].min() > 0
    assert ((likely > 0) & (likely < 1) & (unlikely > 0)).all()
    (tmp_path / "confidence.json").write_text('{"bias": [1]}')
    with pytest.raises(InputError, match="damaged"):
        Calibration.load(tmp_path)
