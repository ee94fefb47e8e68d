from dataclasses import replace

import pytest
import torch

from selfsup3d.geometry.camera import project
from selfsup3d.models.cross_modal.modalities import ImageModality, Keypoints, Pose, SeenPose
from tests.models.cross_modal.catalogue import CASES

CASE = CASES[0]


@pytest.fixture(scope="module")
def batches():
    return [CASE.batch(step, 64) for step in range(8)]


def fitted(modality, batches):
    modality.fit(batches)
    return modality


def test_2d_poses_are_standardised_without_their_root(batches):
    values = torch.cat([fitted(Keypoints(), batches).values(batch) for batch in batches])
    assert values.shape[1] == 32
    torch.testing.assert_close(values.mean(0), torch.zeros(32), atol=0.05, rtol=0)
    torch.testing.assert_close(values.std(0), torch.ones(32), atol=0.05, rtol=0)


def test_the_root_s_place_is_seen_unless_it_is_zeroed(batches):
    batch = batches[0]
    aside = replace(batch, joints_2d=batch.joints_2d + torch.tensor([60.0, -20.0]))
    kept, zeroed = fitted(Keypoints("kept"), batches), fitted(Keypoints("zeroed"), batches)
    assert (kept.values(aside) - kept.values(batch)).abs().max() > 0.1
    torch.testing.assert_close(zeroed.values(aside), zeroed.values(batch), atol=1e-3, rtol=1e-3)


def test_poses_drop_the_pelvis_and_come_back(batches):
    pose = fitted(Pose(), batches)
    batch = batches[0]
    values = pose.values(batch)
    assert values.shape == (64, 48)
    relative = batch.joints_3d - batch.joints_3d[:, :1]
    torch.testing.assert_close(pose.pose(values), relative, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pose.miss(values, batch), torch.zeros(64))


def test_validation_is_normalised_by_the_training_set(batches):
    """The drafts take each set's own statistics; here a shifted set stays shifted."""
    pose = fitted(Pose(), batches)
    bent = batches[0].joints_3d.clone()
    bent[:, 10] += 0.3
    assert (pose.values(replace(batches[0], joints_3d=bent)) - pose.values(batches[0])).abs().max() > 0.5
    assert {"scaler.mean", "scaler.std"} <= set(pose.state_dict())


def test_missing_labels_cost_nothing(batches):
    pose = fitted(Pose(), batches)
    labels = batches[0].joints_3d.clone()
    labels[:, 5] = float("nan")
    batch = replace(batches[0], joints_3d=labels)
    wild = pose.values(batches[0]).unflatten(1, (16, 3)).clone()
    wild[:, 4] = 1e3  # joint 5, the root being left out
    torch.testing.assert_close(pose.miss(wild.flatten(1), batch), torch.zeros(64))


def test_keypoints_that_are_hidden_cost_nothing(batches):
    keypoints = fitted(Keypoints(), batches)
    confidence = torch.ones(64, 17)
    confidence[:, 9] = 0
    batch = replace(batches[0], confidence=confidence)
    decoded = keypoints.values(batch).unflatten(1, (16, 2)).clone()
    decoded[:, 8] = 50.0
    torch.testing.assert_close(keypoints.miss(decoded.flatten(1), batch), torch.zeros(64))


def test_images_are_centred_and_compared_by_absolute_differences(batches):
    image = ImageModality(16)
    values = image.values(batches[0])
    assert -1.0 <= values.min() < -0.5
    torch.testing.assert_close(image.image(values), batches[0].target, atol=1e-6, rtol=0)
    torch.testing.assert_close(image.miss(values + 0.25, batches[0]), torch.full((64,), 0.25))
    with pytest.raises(ValueError, match="16 px"):
        image.values(replace(batches[0], target=torch.zeros(2, 3, 8, 8)))


def test_people_are_cut_out_where_there_is_a_saliency(batches):
    image = ImageModality(16, cut_out=True)
    batch = batches[0]
    torch.testing.assert_close(image.values(batch), ImageModality(16).values(batch))
    saliency = torch.zeros(64, 1, 16, 16)
    saliency[:, :, 4:12] = 1.0
    values = image.values(replace(batch, target_saliency=saliency))
    assert not values[:, :, :4].any()
    torch.testing.assert_close(values[:, :, 4:12], 2 * batch.target[:, :, 4:12] - 1)
    seen = replace(batch, target_saliency=saliency)
    off = values.clone()
    off[:, :, 4:12] += 0.5
    torch.testing.assert_close(image.miss(off, seen), torch.full((64,), 0.25))
    nobody = replace(batch, target_saliency=torch.zeros_like(saliency))
    torch.testing.assert_close(image.miss(torch.ones_like(values), nobody), torch.full((64,), 0.5))


def test_the_true_pose_in_head_lengths_projects_to_the_keypoints(batches):
    """A person seen from as far as the unit camera stands: their pose, divided by its scale, costs nothing."""
    keypoints = fitted(Keypoints("head"), batches)
    seen = SeenPose(keypoints)
    batch = batches[0]
    relative = batch.joints_3d - batch.joints_3d[:, :1]
    length = relative[:, 10].norm(dim=-1).mean()
    depth = float(10.0 * length)
    placed = relative + torch.tensor([0.0, 0.0, depth])
    near = replace(batch, joints_2d=project(placed, batch.K), confidence=torch.ones(64, 17))
    scale = keypoints.observe(near).scale / keypoints.distance * depth  # metres per head length
    decoded = (relative / scale[:, None, None])[:, 1:].flatten(1)
    # The scale is read off foreshortened limbs, so the depths of a pose differ a little from those of its person.
    assert seen.miss(decoded, near).mean() < 2e-3
    assert seen.miss(1.2 * decoded, near).mean() > 5e-3
    with pytest.raises(ValueError, match="relative to the head"):
        SeenPose(Keypoints("kept"))
    with pytest.raises(ValueError, match="no 3D labels"):
        seen.values(batch)
