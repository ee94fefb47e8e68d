import numpy as np
import pytest
import torch

from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.geometry.rotation import random_rotation, rotate
from selfsup3d.models.modules.facing import Handedness, face_forward, knees_forward
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import joint_index

MIRROR = torch.tensor([1.0, 1.0, -1.0])


@pytest.fixture(scope="module")
def poses():
    source = ProjectedPoses(procedural_capture(30, frames=8), name="procedural")
    return source.batch(RandomStreams(0, 0, np.arange(300))).joints_3d


def test_knees_tell_people_from_mirror_images(poses):
    assert (knees_forward(poses) > 0).float().mean() > 0.95
    torch.testing.assert_close(knees_forward(poses * MIRROR), -knees_forward(poses), atol=1e-4, rtol=1e-3)


def test_knees_do_not_care_where_the_camera_is(poses):
    rotated = 3.0 * rotate(random_rotation(torch.rand(300, 3)), poses)
    torch.testing.assert_close(knees_forward(rotated), knees_forward(poses), atol=1e-4, rtol=1e-3)


def test_a_nose_ahead_of_the_neck_faces_forward():
    joints = torch.zeros(17, 3)
    joints[joint_index("left_shoulder")] = torch.tensor([0.2, 0.0, 0.0])  # a person who looks into the camera
    joints[joint_index("right_shoulder")] = torch.tensor([-0.2, 0.0, 0.0])
    joints[joint_index("nose")] = torch.tensor([0.0, -0.1, -0.1])
    assert face_forward(joints) == pytest.approx(1.0)
    assert face_forward(joints * MIRROR) == pytest.approx(-1.0)


def test_handedness_flips_a_mirrored_model_as_a_whole(poses):
    right, mirrored = Handedness(), Handedness()
    for _ in range(5):
        right.update(poses)
        mirrored.update(poses * MIRROR)
    assert right.sign == 1
    assert mirrored.sign == -1
    assert "score" in mirrored.state_dict()
