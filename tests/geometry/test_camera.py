import math

import cv2
import kornia
import numpy as np
import pytest
import roma
import torch

from selfsup3d.geometry.camera import (
    MIN_DEPTH,
    apply_intrinsics,
    crop_intrinsics,
    default_intrinsics,
    distort,
    inverse_orthographic,
    inverse_unit_pinhole,
    mirror_camera,
    normalize_pixels,
    orbit_rotation,
    orthographic,
    project,
    transform,
    unit_pinhole,
    unproject,
    virtual_camera_rotation,
    weak_perspective,
)
from selfsup3d.geometry.kinematics import mirror_joints
from selfsup3d.geometry.rotation import rotate

K = torch.tensor([[1145.0, 3.0, 512.5], [0.0, 1143.8, 515.4], [0.0, 0.0, 1.0]], dtype=torch.float64)
# Human3.6M's camera 54138969 (published with the dataset's tools)
H36M_RADIAL = torch.tensor([-0.20709891, 0.24777518, -0.0030751503], dtype=torch.float64)
H36M_TANGENTIAL = torch.tensor([-0.00097569887, -0.00142447157], dtype=torch.float64)


def people(count: int = 20, distance: float = 5.0, seed: int = 0) -> torch.Tensor:
    """(count, 17, 3) points in the camera frame, a couple of metres wide."""
    points = torch.randn(count, 17, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 0.5 * points + torch.tensor([0.0, 0.0, distance], dtype=torch.float64)


class TestPinhole:
    def test_agrees_with_kornia(self):
        no_skew = K.clone()
        no_skew[0, 1] = 0
        theirs = kornia.geometry.project_points(people(), no_skew.expand(20, 1, 3, 3))
        torch.testing.assert_close(project(people(), no_skew), theirs)

    def test_agrees_with_the_matrix_product(self):
        homogeneous = people() @ K.T
        torch.testing.assert_close(project(people(), K), homogeneous[..., :2] / homogeneous[..., 2:])

    def test_unproject_undoes_project(self):
        torch.testing.assert_close(unproject(project(people(), K), people()[..., 2], K), people())
        torch.testing.assert_close(normalize_pixels(apply_intrinsics(people()[..., :2], K), K), people()[..., :2])

    @pytest.mark.parametrize("depth", [0.0, -1e-9, -3.0, MIN_DEPTH, 1e-30])
    def test_points_at_or_behind_the_camera_give_finite_pixels_and_gradients(self, depth):
        points = torch.tensor([[0.3, -0.2, depth]], requires_grad=True)
        pixels = project(points, K.float())
        pixels.sum().backward()
        assert torch.isfinite(pixels).all()
        assert torch.isfinite(points.grad).all()
        assert points.grad.abs().max() <= 1.2 * float(K[0, 0]) / MIN_DEPTH * max(1, 0.3 / MIN_DEPTH)

    def test_gradients_are_right(self):
        points, k = people(2).requires_grad_(), K.expand(2, 3, 3).clone().requires_grad_()
        assert torch.autograd.gradcheck(project, (points, k))

    def test_transform_rotates_then_moves(self):
        rotation = roma.random_rotmat(20, dtype=torch.float64)
        translation = torch.randn(20, 3, dtype=torch.float64)
        moved = transform(people(), rotation, translation)
        torch.testing.assert_close(moved, people() @ rotation.mT + translation[:, None])


class TestCrops:
    @pytest.mark.parametrize("scale", [0.25, [0.5, 2.0]])
    def test_pixels_of_a_crop_are_shifted_and_scaled(self, scale):
        offset = torch.tensor([100.0, 40.0], dtype=torch.float64)
        scale = torch.tensor(scale, dtype=torch.float64)
        cropped = project(people(), crop_intrinsics(K, offset, scale))
        torch.testing.assert_close(cropped, scale * (project(people(), K) - offset))

    def test_a_scale_per_sample_differs_from_a_scale_per_axis(self):
        offset = torch.tensor([[100.0, 40.0], [7.0, 8.0]], dtype=torch.float64)
        each = crop_intrinsics(K, offset, torch.tensor([0.5, 2.0], dtype=torch.float64))
        torch.testing.assert_close(each[1], crop_intrinsics(K, offset[1], 2.0))
        axes = crop_intrinsics(K, offset, torch.tensor([[0.5, 2.0]], dtype=torch.float64))
        torch.testing.assert_close(axes[0, 0, 0], 0.5 * K[0, 0])
        torch.testing.assert_close(axes[1, 1, 1], 2.0 * K[1, 1])

    def test_the_convention_is_that_of_resized_images(self):
        """A dot drawn at a projected point lies where the crop's K says, pixel centres at +0.5."""
        points = torch.tensor([[[0.1, -0.3, 4.0]]], dtype=torch.float64)
        camera = default_intrinsics(64, math.radians(60), torch.float64)
        x, y = project(points, camera)[0, 0].tolist()
        image = np.zeros((64, 64), np.float32)
        image[int(y), int(x)] = 1
        left, top, size = 20, 10, 32
        enlarged = cv2.resize(image[top : top + size, left : left + size], (128, 128), interpolation=cv2.INTER_LINEAR)
        rows, columns = np.nonzero(enlarged > 0.9 * enlarged.max())
        centre = torch.tensor([columns.mean() + 0.5, rows.mean() + 0.5])
        predicted = project(points, crop_intrinsics(camera, torch.tensor([left, top], dtype=torch.float64), 4.0))[0, 0]
        assert (predicted - centre).abs().max() <= 2.01  # half a pixel of the small image

    def test_default_intrinsics_see_the_field_of_view(self):
        camera = default_intrinsics((60, 80), math.radians(90), torch.float64)
        corner = torch.tensor([[1.0, 0.75, 1.0]], dtype=torch.float64)
        torch.testing.assert_close(project(corner, camera), torch.tensor([[80.0, 60.0]], dtype=torch.float64))
        with pytest.raises(ValueError, match="field_of_view"):
            default_intrinsics(64, 0.0)


class TestMirror:
    def test_the_mirrored_person_appears_in_the_mirrored_image(self):
        body = people(distance=0.0)
        rotation = roma.random_rotmat(20, dtype=torch.float64)
        translation = torch.tensor([0.2, -0.1, 5.0], dtype=torch.float64).expand(20, 3)
        pixels = project(transform(body, rotation, translation), K)
        mirrored = mirror_camera(rotation, translation, K, 1000)
        seen = project(transform(mirror_joints(body, axis=1), *mirrored[:2]), mirrored[2])
        expected = mirror_joints(pixels, axis=0)
        expected[..., 0] += 1000
        torch.testing.assert_close(seen, expected)
        torch.testing.assert_close(torch.linalg.det(mirrored[0]), torch.ones(20, dtype=torch.float64))

    def test_twice_is_nothing(self):
        start = (roma.random_rotmat(3), torch.randn(3, 3), K.float().expand(3, 3, 3))
        for ours, theirs in zip(mirror_camera(*mirror_camera(*start, 640), 640), start, strict=True):
            torch.testing.assert_close(ours, theirs)


class TestOrbit:
    def test_in_front_the_left_hand_appears_on_the_right(self):
        expected = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
        torch.testing.assert_close(orbit_rotation(0.0, 0.0), expected)

    def test_the_camera_stands_where_its_angles_say_and_looks_at_the_body(self):
        azimuth = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
        elevation = torch.linspace(-math.pi / 2, math.pi / 2, 7, dtype=torch.float64)
        rotation = orbit_rotation(azimuth, elevation)
        assert rotation.shape == (13, 7, 3, 3)
        torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(13, 7, dtype=torch.float64))
        ahead = torch.tensor([0.0, 0.0, 4.0], dtype=torch.float64)
        position = -(rotation.mT @ ahead)
        a, e = torch.broadcast_tensors(azimuth, elevation)
        expected = 4 * torch.stack((e.cos() * a.cos(), e.cos() * a.sin(), e.sin()), -1)
        torch.testing.assert_close(position, expected)
        up = rotate(rotation, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))[..., 0, :]
        assert up[..., 0].abs().max() < 1e-12  # upright
        assert (up[..., 1] <= 1e-12).all()

    def test_positive_roll_turns_the_image_clockwise(self):
        upright, rolled = (orbit_rotation(0.3, 0.2, roll) for roll in (0.0, math.pi / 2))
        torch.testing.assert_close(rolled[1], upright[0])  # what lay to the right lies below
        torch.testing.assert_close(rolled[2], upright[2])

    def test_dtype_and_gradients(self):
        assert orbit_rotation(torch.zeros(2), 0.0).dtype == torch.float32
        assert orbit_rotation(torch.zeros(2, dtype=torch.float64), 0.0).dtype == torch.float64
        angles = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: orbit_rotation(*x), (angles,))


def test_a_virtual_camera_sees_the_pixel_in_its_middle():
    pixel = torch.tensor([[100.0, 900.0], [512.5, 515.4]], dtype=torch.float64)
    rotation = virtual_camera_rotation(pixel, K)
    rays = unproject(pixel[:, None], torch.full((2, 1), 3.0, dtype=torch.float64), K)
    seen = rotate(rotation, rays)[:, 0]
    torch.testing.assert_close(seen[:, :2], torch.zeros(2, 2, dtype=torch.float64))
    torch.testing.assert_close(seen[:, 2], rays[:, 0].norm(dim=-1))
    torch.testing.assert_close(rotation[1], torch.eye(3, dtype=torch.float64))  # the principal point needs no turn


class TestDistortion:
    def test_opencv_lens_agrees_with_opencv(self):
        points = people()
        coefficients = torch.tensor([0.1, -0.05, 0.002, -0.001, 0.01], dtype=torch.float64)
        no_skew = K.clone()
        no_skew[0, 1] = 0
        theirs, _ = cv2.projectPoints(
            points.reshape(-1, 3).numpy(), np.zeros(3), np.zeros(3), no_skew.numpy(), coefficients.numpy()
        )
        bent = distort(points[..., :2] / points[..., 2:], coefficients[[0, 1, 4]], coefficients[2:4], "opencv")
        torch.testing.assert_close(apply_intrinsics(bent, no_skew).reshape(-1, 2), torch.from_numpy(theirs)[:, 0])

    def test_human36m_lens_follows_the_published_formula(self):
        points = people()[..., :2] / 5
        found = distort(points, H36M_RADIAL, H36M_TANGENTIAL).reshape(-1, 2)
        (k1, k2, k3), (p1, p2) = H36M_RADIAL.tolist(), H36M_TANGENTIAL.tolist()
        for (x, y), (u, v) in zip(points.reshape(-1, 2).tolist(), found.tolist(), strict=True):
            r2 = x * x + y * y
            gain = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * y + p2 * x
            assert (u, v) == pytest.approx((x * gain + p2 * r2, y * gain + p1 * r2), abs=1e-12)

    def test_unknown_lens_is_named(self):
        with pytest.raises(ValueError, match="opencv"):
            distort(torch.zeros(1, 2), torch.zeros(3), torch.zeros(2), "fisheye")


class TestSimplifiedCameras:
    def test_weak_perspective_is_perspective_at_one_depth(self):
        points = people()
        depth = points[:, 0, 2]
        flat = points.clone()
        flat[..., 2] = depth[:, None]
        pixels = weak_perspective(points, depth, K)
        torch.testing.assert_close(pixels, project(flat, K))

    def test_weak_perspective_survives_a_root_behind_the_camera(self):
        depth = torch.tensor([-1.0, 0.0], dtype=torch.float64, requires_grad=True)
        pixels = weak_perspective(people(2), depth, K)
        pixels.sum().backward()
        assert torch.isfinite(pixels).all()
        assert torch.isfinite(depth.grad).all()

    def test_orthographic_and_its_inverse(self):
        points = people()
        scale = torch.rand(20, dtype=torch.float64) + 0.5
        shift = torch.randn(20, 2, dtype=torch.float64)
        pixels = orthographic(points, scale, shift)
        torch.testing.assert_close(pixels, scale[:, None, None] * points[..., :2] + shift[:, None])
        torch.testing.assert_close(inverse_orthographic(pixels, points[..., 2], scale, shift), points)
        torch.testing.assert_close(orthographic(points), points[..., :2])

    def test_unit_pinhole_and_its_inverse(self):
        pose = people(distance=0.0)
        seen = unit_pinhole(pose, 10.0)
        shifted = pose + torch.tensor([0.0, 0.0, 10.0], dtype=torch.float64)
        torch.testing.assert_close(seen, project(shifted, torch.eye(3, dtype=torch.float64)))
        torch.testing.assert_close(inverse_unit_pinhole(seen, pose[..., 2], 10.0), pose)

    def test_unit_pinhole_clamps_its_depth(self):
        pose = torch.tensor([[0.5, 0.5, -9.7]], requires_grad=True)
        seen = unit_pinhole(pose, 10.0, min_depth=1.0)
        torch.testing.assert_close(seen, torch.tensor([[0.5, 0.5]]))
        seen.sum().backward()
        assert pose.grad.tolist() == [[1.0, 1.0, 0.0]]
        torch.testing.assert_close(inverse_unit_pinhole(seen, pose[..., 2], 10.0), pose)
