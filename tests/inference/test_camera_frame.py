import math

import numpy as np
import pytest
import torch

from selfsup3d.config.lifters import KeypointLifterConfig, MartinezConfig
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.geometry.camera import project
from selfsup3d.geometry.rotation import multiply, rotate
from selfsup3d.inference.camera_frame import lift_people, reprojecting_root
from selfsup3d.models.lifters.keypoint_lifter import KeypointLifter
from selfsup3d.models.lifters.martinez import Martinez
from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch, PoseOutput

SIZE, FOCAL = (1280, 720), 1000.0
K = torch.tensor([[FOCAL, 0.0, 640.0], [0.0, FOCAL, 360.0], [0.0, 0.0, 1.0]])


def people():
    """(3, 17, 3) in one camera frame, and their keypoints."""
    joints = torch.from_numpy(procedural_capture(4, frames=12).positions[[3, 20, 40]]).float()
    joints = (joints - joints[:, :1]) @ torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # z up -> y down
    places = joints + torch.tensor([[-1.2, 0.1, 4.0], [0.1, 0.0, 6.0], [2.5, 0.2, 7.5]])[:, None]
    return places, project(places, K.expand(3, 3, 3))


class Told(KeypointLifter):
    """Knows the people of this test in the virtual camera."""

    def estimate(self, view):
        places, _ = people()
        self.trusted = view.known
        turn = multiply(view.roll, self.view(self.batch).virtual)
        depth = rotate(turn, places[:, :1])[:, 0, 2]
        return rotate(turn, places - places[:, :1]), (depth * self.view(self.batch).scale).log()

    def predict(self, batch, **options):
        self.batch = batch
        return super().predict(batch, **options)


def test_all_people_stand_in_one_camera_frame():
    places, keypoints = people()
    system = Told(KeypointLifterConfig(width=8, blocks=1)).eval()
    found = lift_people(system, keypoints.numpy(), None, SIZE, FOCAL)
    np.testing.assert_allclose(found.poses + found.roots[:, None], places.numpy(), atol=5e-3)
    assert (found.focal, found.guessed) == (FOCAL, False)
    assert bool(system.trusted.all())


def test_a_guessed_focal_length_places_people_and_does_not_enter_their_poses():
    _, keypoints = people()
    system = KeypointLifter(KeypointLifterConfig(width=16, blocks=1)).eval()
    found = lift_people(system, keypoints.numpy(), None, SIZE)
    assert found.guessed
    assert found.focal == pytest.approx(640 / math.tan(math.radians(30)))
    bare = system.predict(Batch(joints_2d=keypoints)).pose[:, 0].numpy()
    lengths = [np.linalg.norm(pose[:, 5] - pose[:, 4], axis=-1) for pose in (found.poses, bare)]
    np.testing.assert_allclose(*lengths, rtol=1e-4)
    told = lift_people(system, keypoints.numpy(), None, SIZE, found.focal)
    assert np.abs(told.poses - found.poses).max() > 1e-3


def test_lifters_without_a_root_are_placed_by_reprojection():
    places, keypoints = people()

    class Bare(System):
        predict_requires = ("joints_2d",)

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def predict(self, batch, samples=1):
            return PoseOutput((places - places[:, :1])[:, None])

        def losses(self, batch, update, progress): ...
        def updates(self, step, progress): ...
        def parameter_groups(self): ...

    confidence = np.ones((3, 17), np.float32)
    confidence[1, :6] = 0.0
    found = lift_people(Bare(), np.where(confidence[..., None] > 0, keypoints, np.nan), confidence, SIZE, FOCAL)
    np.testing.assert_allclose(found.roots, places[:, 0].numpy(), atol=2e-3)
    windows = np.repeat(keypoints.numpy()[:, None], 3, axis=1)
    windows[:, [0, 2]] = 0.0  # only the middle frame places anybody
    np.testing.assert_allclose(lift_people(Bare(), windows, None, SIZE, FOCAL).roots, places[:, 0].numpy(), atol=2e-3)


def test_reprojection_is_least_squares():
    places, keypoints = people()
    pose = places - places[:, :1] + 0.02 * torch.randn(places.shape, generator=torch.Generator().manual_seed(0))
    batch = Batch(joints_2d=keypoints, confidence=torch.ones(3, 17), K=K.expand(3, 3, 3))
    root = reprojecting_root(pose, batch)
    assert ((root - places[:, 0]).norm(dim=-1) / places[:, 0, 2]).max() < 0.1

    def cost(r):
        plane = torch.stack(((keypoints[..., 0] - 640) / FOCAL, (keypoints[..., 1] - 360) / FOCAL), -1)
        p = pose + r[:, None]
        return (plane * p[..., 2:] - p[..., :2]).square().sum((1, 2))

    for axis in range(3):
        for step in (-0.02, 0.02):
            assert (cost(root + step * torch.eye(3)[axis]) > cost(root)).all()


def test_nobody_and_hardly_anybody():
    system = KeypointLifter(KeypointLifterConfig(width=8, blocks=1)).eval()
    assert lift_people(system, np.zeros((0, 17, 2)), None, SIZE).poses.shape == (0, 17, 3)
    _, keypoints = people()
    confidence = np.ones((3, 17), np.float32)
    confidence[2, 1:] = 0
    found = lift_people(system, keypoints.numpy(), confidence, SIZE, FOCAL)
    assert np.isnan(found.roots[2]).all()
    assert np.isfinite(found.roots[:2]).all()


def test_poses_of_unknown_size_have_no_place():
    class Relative(Martinez):
        def predict(self, batch, samples=1):
            return PoseOutput(torch.ones(3, 1, 17, 3), unit="relative")

    found = lift_people(Relative(MartinezConfig(width=8, blocks=1)), people()[1].numpy(), None, SIZE)
    assert found.unit == "relative"
    assert np.isnan(found.roots).all()
    assert (found.poses == 1).all()
