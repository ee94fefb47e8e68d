from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup3d.data.priors.camera_prior import CameraPrior, CameraRanges, UprightPoses, look_at, pinhole
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.camera import orbit_rotation, project
from selfsup3d.structures.random import RandomStreams

DRAWS = 2000


def streams(step: int = 0, count: int = DRAWS) -> RandomStreams:
    return RandomStreams(0, step, np.arange(count))


def elevation_of(rotation: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(torch.asin(-rotation[:, 2, 2]))


def test_cameras_lie_within_the_stated_ranges_and_fill_them() -> None:
    camera, ranges = CameraPrior(64).sample(streams()), CameraRanges()
    rotation = camera.rotation
    assert (rotation @ rotation.transpose(-1, -2) - torch.eye(3)).abs().max() < 1e-5
    elevation = elevation_of(rotation)
    assert elevation.min() >= ranges.elevation[0] - 1e-3
    assert elevation.max() <= ranges.elevation[1] + 1e-3
    assert elevation.max() - elevation.min() > 40
    view = torch.rad2deg(2 * torch.atan(32 / camera.K[:, 0, 0]))
    assert view.min() >= ranges.field_of_view[0] - 1e-3
    assert view.max() <= ranges.field_of_view[1] + 1e-3
    azimuth = torch.atan2(rotation[:, 0, 0], rotation[:, 2, 0])
    counts = torch.histc(azimuth, bins=8, min=-torch.pi, max=torch.pi)
    assert counts.min() > 0.8 * DRAWS / 8


def test_people_stand_in_the_image() -> None:
    poses = ProceduralPrior(motions=40).sample_upright(streams())
    camera = CameraPrior(64).sample(streams(1), poses=poses)
    seen = poses.joints @ camera.rotation.transpose(-1, -2) + camera.translation[:, None]
    px = project(seen, camera.K)
    assert ((px > 0) & (px < 64)).all(-1).float().mean() > 0.98


def test_a_given_pinhole_is_kept_and_sets_the_distance() -> None:
    near, far = (torch.from_numpy(pinhole(64, np.full(DRAWS, view))).float() for view in (60.0, 20.0))
    cameras = [CameraPrior(64).sample(streams(), K=K) for K in (near, far)]
    assert cameras[0].K.equal(near)
    above = elevation_of(cameras[0].rotation) > 0  # where no eye had to be kept above the floor
    assert cameras[0].rotation[above].equal(cameras[1].rotation[above])
    depth = [camera.translation[:, 2].mean() for camera in cameras]
    size = [K[0, 0, 0] / z for K, z in zip((near, far), depth, strict=True)]
    assert abs(size[0] / size[1] - 1) < 0.1


def test_a_widened_prior_is_wider_by_that_factor() -> None:
    narrow, wide = (elevation_of(CameraPrior(64, widen=w).sample(streams()).rotation) for w in (1.0, 1.2))
    assert 1.1 < (wide.max() - wide.min()) / (narrow.max() - narrow.min()) < 1.25
    ranges = CameraRanges().widened(1.2)
    for name in ("elevation", "field_of_view", "visible_height", "sideways"):
        before, after = getattr(CameraRanges(), name), getattr(ranges, name)
        assert after[1] - after[0] == pytest.approx(1.2 * (before[1] - before[0]))
        assert sum(after) == pytest.approx(sum(before))


def test_samples_follow_their_draws() -> None:
    whole, part = CameraPrior(64).sample(streams(count=10)), CameraPrior(64).sample(RandomStreams(0, 0, np.array([6])))
    assert whole.translation[6].equal(part.translation[0])


def test_a_leaning_pose_is_seen_leaning() -> None:
    tilt = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]).expand(50, 3, 3)  # bent forward by 90
    poses = UprightPoses(torch.zeros(50, 17, 3), tilt, torch.full((50,), 0.9))
    camera = CameraPrior(64).sample(streams(count=50), poses=poses)
    plain = CameraPrior(64).sample(streams(count=50))
    assert torch.allclose(camera.rotation[:, :, 2], plain.rotation[:, :, 0], atol=1e-6)


def test_look_at_agrees_with_the_orbit_of_geometry() -> None:
    azimuth, elevation = np.array([0.0, 40.0, 170.0, -75.0]), np.array([0.0, 20.0, -10.0, 35.0])
    target, distance = np.zeros((4, 3)), np.full(4, 4.0)
    rotation, translation = look_at(target, azimuth, elevation, distance, lowest_eye=-np.inf)
    orbit = orbit_rotation(torch.deg2rad(torch.from_numpy(azimuth)), torch.deg2rad(torch.from_numpy(elevation)))
    assert np.allclose(rotation, orbit.numpy(), atol=1e-6)
    assert np.allclose(translation, [0.0, 0.0, 4.0])


def test_no_eye_goes_below_the_floor() -> None:
    target = np.array([0.0, 0.0, 0.9])
    rotation, translation = look_at(target, np.array(30.0), np.array(-40.0), np.array(5.0), lowest_eye=0.2)
    assert (-rotation.T @ translation)[2] == pytest.approx(0.2)
