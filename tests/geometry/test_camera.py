import math

import torch

from selfsup3d.geometry.camera import default_intrinsics, orbit_rotation, project, unproject


def test_a_camera_in_front_sees_the_left_hand_on_the_right():
    rotation = orbit_rotation(0.0, 0.0)
    expected = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    torch.testing.assert_close(rotation, expected)


def test_unproject_undoes_project():
    points = torch.randn(4, 17, 3) + torch.tensor([0.0, 0.0, 5.0])
    K = default_intrinsics(128, math.radians(40))
    torch.testing.assert_close(unproject(project(points, K), points[..., 2], K), points, atol=1e-5, rtol=1e-5)
