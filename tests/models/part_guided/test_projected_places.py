from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.models.part_guided.backbone import PatchResNet
from selfsup3d.models.part_guided.encoder import Encoder
from selfsup3d.models.part_guided.left_right import assign_limbs
from selfsup3d.models.part_guided.localizer import into_crop, into_image
from selfsup3d.models.part_guided.pose import BodyPose
from selfsup3d.models.part_guided.projected_places import other_views, reported
from selfsup3d.models.part_guided.system import PartGuided


def test_other_views_turn_the_person_about_the_trunk(batch):
    pose = BodyPose(batch.unpaired, batch.unpaired_camera)
    many = other_views(pose, batch.seeds, 3)
    assert many.canonical.shape == (12, 17, 3)
    trunk = pose.posed[:, 8].repeat_interleave(3, 0)  # pelvis to neck lies along the body's z axis
    torch.testing.assert_close(many.posed[:, 8], trunk, atol=1e-5, rtol=0)
    assert (many.posed - pose.posed.repeat_interleave(3, 0)).abs().max() > 0.05
    rotation = many.camera.rotation
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(12, 3, 3), atol=1e-5, rtol=0)


def test_reported_keypoints_are_as_far_off_as_was_measured(batch):
    pose = BodyPose(batch.unpaired, batch.unpaired_camera)
    many = other_views(pose, batch.seeds, 200)
    places = reported(many, 32.0, batch.seeds, 200)
    points = into_image(places.inside, places.crop) * 32.0
    off = (points - many.pixels).norm(dim=-1) / (2 * 32.0 * places.crop[:, None, 2])
    seen = ((places.inside > 0) & (places.inside < 1)).all(-1)
    for low, high in ((0.08, 0.15), (0.15, 0.3), (0.3, 1.0)):  # medians 0.069, 0.034, 0.020 of a trained detector
        chosen = seen & (places.confidence >= low) & (places.confidence < high)
        typical = 0.0075 / places.confidence[chosen].median()
        assert 0.8 * typical < off[chosen].median() < 1.25 * typical


def test_lifting_what_the_encoder_found_gives_what_it_gave():
    torch.manual_seed(0)
    encoder = Encoder(PatchResNet((16, 32), (1, 1)), width=16, hidden=32, channels=8, appearance_width=8,
                      pose_head="keypoints")  # fmt: skip
    K = torch.tensor([[64.0, 0, 16], [0, 64.0, 16], [0, 0, 1]]).expand(3, 3, 3)
    found = encoder(torch.rand(3, 3, 32, 32), K)
    confidence = assign_limbs(found.log_heat.exp().amax((2, 3)), found.assignment)
    inside = into_crop(found.keypoints / 32.0, found.crop)
    vectors, hip, camera = encoder.pose_of_places(inside, found.keypoint_depths, confidence, found.crop, K, 32.0)
    torch.testing.assert_close(vectors, found.local_vectors, atol=1e-4, rtol=0)
    torch.testing.assert_close(hip, found.hip_angle, atol=1e-4, rtol=0)
    torch.testing.assert_close(camera.translation, found.camera.translation, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(camera.rotation, found.camera.rotation, atol=1e-4, rtol=0)


def test_projected_poses_teach_the_pose_head_alone(batch):
    torch.manual_seed(0)
    encoder = Encoder(PatchResNet((16, 32), (1, 1)), width=16, hidden=32, channels=8, appearance_width=8,
                      pose_head="keypoints")  # fmt: skip
    settings = PartGuidedConfig(
        pose_head="keypoints", supervision="pretrain", pretrain={"source": "people", "projected": 4}
    )
    system = PartGuided(encoder, None, settings=settings)  # type: ignore[arg-type]
    system.fit([batch])
    parts = torch.full((4, *batch.target.shape[-2:]), 10)
    terms = system.losses(replace(batch, rendered=batch.target, rendered_parts=parts), "pretrain", 0.0)
    projected = [value for name, value in terms.items() if "projected" in name]
    assert len(projected) == 3
    torch.stack(projected).sum().backward()
    learning = {name.split(".")[0] for name, p in encoder.named_parameters() if p.grad is not None and p.grad.any()}
    assert learning == {"head"}


@pytest.mark.parametrize("settings", [{}, {"pose_head": "keypoints", "kinematics": False}])
def test_projected_poses_need_a_pose_head_that_reads_keypoints(settings):
    with pytest.raises(ValidationError, match=r"pretrain\.projected"):
        PartGuidedConfig(pretrain={"projected": 4}, **settings)


def test_joints_beyond_the_images_edge_are_guessed_unsurely_and_the_crop_ends_there(batch):
    pose = BodyPose(batch.unpaired, batch.unpaired_camera)
    many = other_views(pose, batch.seeds, 300)
    places = reported(many, 32.0, batch.seeds, 300)
    points = many.pixels / 32.0
    bottom = places.crop[:, 1] + places.crop[:, 2]
    beyond = points[..., 1] > bottom[:, None]
    some = beyond.any(1)
    assert 0.05 < some.float().mean() < 0.5  # a fifth are cut, and those who leave the image by themselves
    inner = ((points > 0.02) & (points < 0.98)).all(-1) & ~some[:, None]
    assert places.confidence[beyond].median() < 0.6 * places.confidence[inner].median()
    off = (places.inside - into_crop(points, places.crop)).norm(dim=-1)
    assert off[beyond].median() > 3 * off[inner].median()
