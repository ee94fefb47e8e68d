import numpy as np
import torch

from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.geometry.camera import normalize_pixels, project
from selfsup3d.geometry.rotation import axis_angle_to_matrix, rotate
from selfsup3d.models.modules.person_view import CHANNELS, person_view
from selfsup3d.structures.skeleton import H36M_17


def frames(count=12):
    batch = ProjectedPoses(procedural_capture(6, frames=8)).frames(np.arange(count))
    return batch.joints_3d, batch.K


def test_a_known_camera_s_focal_length_and_resolution_do_not_matter():
    joints, K = frames()
    other = K.clone()
    other[:, :2] *= 0.37  # another resolution
    other[:, 0, 0] *= 1.2  # and pixels that are not square
    a, b = (person_view(project(joints, k)[:, None], None, k) for k in (K, other))
    torch.testing.assert_close(a.features, b.features, atol=1e-4, rtol=1e-4)
    assert a.features.shape == (12, 1, CHANNELS)


def test_a_camera_that_pans_sees_the_same_person():
    joints, K = frames()
    pan = axis_angle_to_matrix(torch.tensor([0.0, 0.35, 0.0]))
    a = person_view(project(joints, K)[:, None], None, K)
    b = person_view(project(rotate(pan, joints), K)[:, None], None, K)
    torch.testing.assert_close(a.scale, b.scale, atol=1e-3, rtol=5e-3)
    assert (a.values - b.values).norm(dim=-1).mean() < 0.05  # the image's own up turns with the camera, a little


def test_a_camera_that_rolls_sees_the_same_person_and_says_how_far():
    joints, K = frames()
    K[:, :2, 2] = 0.0
    roll = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.4]))
    a = person_view(project(joints, K)[:, None], None, K)
    b = person_view(project(rotate(roll, joints), K)[:, None], None, K)
    assert (a.values - b.values).norm(dim=-1).mean() < 0.1  # it would be 0.36 without
    angles = [torch.atan2(view.roll[:, 1, 0], view.roll[:, 0, 0]) for view in (a, b)]
    torch.testing.assert_close(angles[0] - angles[1], torch.full((12,), 0.4), atol=0.12, rtol=0)
    neck = b.values[:, 0, 8] - b.values[:, 0, 0]
    assert (neck[:, 1] < 0).all()
    for view, pixels in ((a, project(joints, K)), (b, project(rotate(roll, joints), K))):
        mirrored = pixels[:, list(H36M_17.flip_order)] * torch.tensor([-1.0, 1.0])
        again = person_view(mirrored[:, None], None, K)
        torch.testing.assert_close(view.mirrored().features, again.features, atol=1e-4, rtol=1e-3)


def test_the_rotation_brings_the_person_s_middle_to_the_axis():
    joints, K = frames()
    view = person_view(project(joints, K)[:, None], None, K)
    middle = normalize_pixels(project(joints, K), K).mean(1)
    ray = torch.nn.functional.pad(middle, (0, 1), value=1.0)
    turned = rotate(view.virtual, ray[:, None])[:, 0]
    torch.testing.assert_close(turned[:, :2], torch.zeros_like(turned[:, :2]), atol=1e-5, rtol=0)
    seen = rotate(view.rotation, joints)
    torch.testing.assert_close(
        view.values[:, 0] * view.scale[:, None, None], seen[..., :2] / seen[..., 2:], atol=1e-4, rtol=1e-4
    )


def test_without_a_camera_place_and_size_do_not_matter():
    joints, K = frames()
    pixels = project(joints, K)[:, None]
    a, b = person_view(pixels, None, None), person_view(3.0 * pixels + 400.0, None, None)
    torch.testing.assert_close(a.features, b.features, atol=1e-4, rtol=1e-4)
    told = person_view(pixels, None, K, torch.zeros(len(K), dtype=torch.bool))
    torch.testing.assert_close(a.features, told.features)


def test_missing_joints_are_zero_whatever_stands_there():
    joints, K = frames()
    pixels, confidence = project(joints, K)[:, None], torch.ones(12, 1, 17)
    confidence[:, :, 3] = 0
    broken = pixels.clone()
    broken[:, :, 3] = torch.nan
    a, b = person_view(pixels, confidence, K), person_view(broken, None, K)
    torch.testing.assert_close(a.features, b.features)
    assert a.values[:, :, 3].abs().max() == 0


def test_nobody_gives_finite_features():
    _, K = frames()
    view = person_view(torch.full((12, 1, 17, 2), torch.nan), None, K)
    assert view.features.isfinite().all()
