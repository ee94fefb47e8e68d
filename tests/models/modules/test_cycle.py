import torch

from selfsup3d.geometry.camera import inverse_orthographic, orthographic
from selfsup3d.geometry.rotation import random_rotation
from selfsup3d.models.modules.cycle import cycle


def test_a_perfect_lifter_closes_the_cycle():
    torch.manual_seed(0)
    truth = torch.randn(3, 17, 3)
    truth -= truth[:, :1].clone()
    rotations = random_rotation(torch.rand(3, 2, 3))
    poses = [truth, (rotations[:, :, None] @ truth[:, None, :, :, None])[..., 0].flatten(0, 1)]

    def lift(points):
        return inverse_orthographic(points, poses.pop(0)[..., 2])

    went = cycle(lift, orthographic, truth[..., :2], rotations)
    torch.testing.assert_close(went.lifted, truth)
    torch.testing.assert_close(went.relifted, went.rotated)
    torch.testing.assert_close(went.returned, truth[:, None].expand_as(went.returned))
    torch.testing.assert_close(went.reprojected, truth[:, None, :, :2].expand_as(went.reprojected))


def test_a_flat_lifter_does_not():
    points = torch.randn(3, 17, 2)
    rotations = random_rotation(torch.rand(3, 1, 3))
    went = cycle(lambda p: torch.nn.functional.pad(p, (0, 1)), orthographic, points, rotations)
    assert (went.reprojected[:, 0] - points).abs().mean() > 0.1


def test_a_pose_at_hand_is_not_lifted_again():
    calls = []

    def lift(points):
        calls.append(len(points))
        return torch.nn.functional.pad(points, (0, 1))

    points = torch.randn(3, 17, 2)
    cycle(lift, orthographic, points, random_rotation(torch.rand(3, 4, 3)), lifted=lift(points))
    assert calls == [3, 12]
