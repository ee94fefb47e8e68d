import math

import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from selfsup3d.geometry.rotation import (
    SHORTEST,
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    minimal_rotation,
    multiply,
    random_axis_angle,
    random_axis_rotation,
    random_rotation,
    random_view,
    rotate,
    rotation_6d_to_matrix,
    rotation_about,
    unit,
)

ANGLES = [0.0, 1e-9, 1e-6, 1e-3, 0.0099, 0.0101, 0.5, 3.0, math.pi - 1e-3, math.pi - 1e-6]


def assert_rotations(matrix: torch.Tensor, atol: float = 1e-5) -> None:
    identity = torch.eye(3, dtype=matrix.dtype).expand_as(matrix)
    torch.testing.assert_close(matrix @ matrix.mT, identity, atol=atol, rtol=0)
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones_like(matrix[..., 0, 0]), atol=atol, rtol=0)


def directions(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    drawn = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return drawn / drawn.norm(dim=-1, keepdim=True)


def largest_gradient(function, point: torch.Tensor) -> float:
    """Largest singular value of the Jacobian at one point."""
    jacobian = torch.autograd.functional.jacobian(function, point)
    assert torch.isfinite(jacobian).all()
    return float(torch.linalg.matrix_norm(jacobian.reshape(-1, point.numel()), 2))


class TestAxisAngle:
    @pytest.mark.parametrize("angle", ANGLES)
    def test_agrees_with_roma_both_ways(self, angle):
        vectors = angle * directions(50)
        matrices = axis_angle_to_matrix(vectors)
        torch.testing.assert_close(matrices, roma.rotvec_to_rotmat(vectors), atol=1e-12, rtol=0)
        torch.testing.assert_close(matrix_to_axis_angle(matrices), vectors, atol=1e-7, rtol=0)

    def test_keeps_small_angles_in_float32(self):
        vectors = 1e-4 * directions(50).float()
        torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(vectors)), vectors, atol=1e-10, rtol=1e-5)

    def test_half_turns_come_back_up_to_sign(self):
        axes = torch.cat((directions(50), torch.eye(3, dtype=torch.float64)))
        matrices = axis_angle_to_matrix(math.pi * axes)
        found = matrix_to_axis_angle(matrices)
        torch.testing.assert_close(found.norm(dim=-1), torch.full((53,), math.pi, dtype=torch.float64))
        torch.testing.assert_close(axis_angle_to_matrix(found), matrices, atol=1e-7, rtol=0)

    @pytest.mark.parametrize("angle", ANGLES[:-1])
    def test_gradients_are_right_also_at_zero(self, angle):
        vectors = (angle * directions(4)).requires_grad_()
        assert torch.autograd.gradcheck(axis_angle_to_matrix, (vectors,), eps=1e-5, atol=1e-5)
        matrices = axis_angle_to_matrix(vectors.detach()).requires_grad_()
        (gradient,) = torch.autograd.grad(matrix_to_axis_angle(matrices).sum(), matrices)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() < 100 / max(math.pi - angle, 1e-3)

    def test_log_has_the_right_gradient_along_rotations(self):
        twist = (0.7 * directions(4)).requires_grad_()
        assert torch.autograd.gradcheck(lambda w: matrix_to_axis_angle(axis_angle_to_matrix(w)), (twist,))


class TestSixNumbers:
    def test_agrees_with_roma_and_inverts(self):
        columns = torch.randn(100, 3, 2, dtype=torch.float64)
        matrices = rotation_6d_to_matrix(columns.mT.flatten(-2))
        torch.testing.assert_close(matrices, roma.special_gramschmidt(columns))
        torch.testing.assert_close(rotation_6d_to_matrix(matrices[..., :2].mT.flatten(-2)), matrices)

    def test_gradients_are_right(self):
        numbers = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(rotation_6d_to_matrix, (numbers,))

    @pytest.mark.parametrize(
        "numbers",
        [
            [0.0] * 6,
            [1.0, 0, 0, 0, 0, 0],
            [0.0, 0, 0, 1, 0, 0],
            [1.0, 2, 3, 2, 4, 6],
            [1.0, 0, 0, -1, 0, 0],
            [1e-20, 0, 0, 1e-20, 0, 0],
            [1.0, 1, 1, 1, 1, 1 + 1e-7],
        ],
    )
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_degenerate_input_gives_a_rotation_and_a_bounded_live_gradient(self, numbers, dtype):
        point = torch.tensor(numbers, dtype=dtype)
        assert_rotations(rotation_6d_to_matrix(point))
        slope = largest_gradient(rotation_6d_to_matrix, point)
        both = numbers == [0.0, 0, 0, 1, 0, 0]  # x = 0, and y parallel to the axis that takes its place
        assert 0 < slope < (1 / SHORTEST**2 if both else 5 / SHORTEST)


class TestUnit:
    @given(st.floats(-9, 3), st.integers(0, 10_000))
    def test_every_vector_becomes_a_unit_vector_with_a_bounded_gradient(self, exponent, seed):
        vector = 10**exponent * directions(1, seed)[0]
        torch.testing.assert_close(unit(vector).norm(), torch.tensor(1.0, dtype=torch.float64))
        assert largest_gradient(unit, vector) <= 1.0 / SHORTEST * (1 + 1e-9)

    def test_zero_takes_the_fallback_axis_with_a_live_gradient(self):
        zero = torch.zeros(3)
        torch.testing.assert_close(unit(zero, fallback=2), torch.tensor([0.0, 0, 1]))
        assert largest_gradient(unit, zero) > 0

    def test_direction_is_untouched_above_the_threshold(self):
        vectors = SHORTEST * 1.01 * directions(10)
        torch.testing.assert_close(unit(vectors), directions(10))


class TestMinimalRotation:
    def test_takes_start_to_end_by_the_smallest_angle(self):
        start, end = directions(200, 1), directions(200, 2)
        matrices = minimal_rotation(3 * start, 0.5 * end)
        assert_rotations(matrices, 1e-12)
        torch.testing.assert_close(rotate(matrices, start[:, None])[:, 0], end)
        angle = torch.acos((start * end).sum(-1))
        clear = angle < math.radians(178)
        torch.testing.assert_close(matrix_to_axis_angle(matrices).norm(dim=-1)[clear], angle[clear])

    @pytest.mark.parametrize("gap", [0.0, 1e-8, 1e-3, 0.0316, 0.0317, 0.1])
    def test_opposite_directions_stay_exact_and_bounded(self, gap):
        start = directions(20, 3)
        end = -start + gap * torch.linalg.cross(start, directions(20, 4))
        matrices = minimal_rotation(start, end)
        assert_rotations(matrices, 1e-10)
        torch.testing.assert_close(rotate(matrices, start[:, None])[:, 0], unit(end), atol=1e-10, rtol=0)
        for a, b in zip(start[:5], end[:5], strict=True):
            assert largest_gradient(lambda x, b=b: minimal_rotation(x, b), a) < 200

    def test_keeps_its_precision_at_wide_angles_in_float32(self):
        start = directions(50, 7)
        end = unit(-start + 0.05 * torch.linalg.cross(start, directions(50, 8)))
        torch.testing.assert_close(
            minimal_rotation(start.float(), end.float()).double(), minimal_rotation(start, end), atol=1e-5, rtol=0
        )

    def test_gradients_are_right(self):
        start, end = directions(5, 5).requires_grad_(), directions(5, 6).requires_grad_()
        assert torch.autograd.gradcheck(minimal_rotation, (start, end))


def test_turns_about_axes_agree_with_scipy():
    angles = torch.linspace(-4, 4, 9, dtype=torch.float64)
    for axis in ("x", "y", "z"):
        expected = torch.from_numpy(Rotation.from_euler(axis, angles[:, None].numpy()).as_matrix())
        torch.testing.assert_close(rotation_about(axis, angles), expected)
    with pytest.raises(ValueError, match="axis"):
        rotation_about("w", angles)


def test_products_are_exact_under_autocast():
    matrices = roma.random_rotmat(10)
    points = torch.randn(10, 17, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        turned, product = rotate(matrices, points), multiply(matrices, matrices)
    torch.testing.assert_close(turned, points @ matrices.mT)
    torch.testing.assert_close(product, matrices @ matrices)


class TestSamplers:
    uniforms = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def test_uniform_over_all_rotations(self):
        matrices = random_rotation(self.uniforms)
        assert_rotations(matrices, 1e-12)
        # Under the Haar measure every entry has mean 0 and variance 1/3, and E[trace^2] = 1.
        assert matrices.mean(0).abs().max() < 0.02
        assert (matrices.var(0) - 1 / 3).abs().max() < 0.02
        trace = torch.diagonal(matrices, dim1=-2, dim2=-1).sum(-1)
        assert abs(float((trace**2).mean()) - 1) < 0.05

    def test_axis_angle_rotations_have_a_uniform_angle_and_axis(self):
        vectors = matrix_to_axis_angle(random_axis_angle(self.uniforms, largest=2.0))
        angle = vectors.norm(dim=-1)
        assert abs(float(angle.mean()) - 1) < 0.02
        assert angle.max() <= 2
        assert (vectors / angle[:, None]).mean(0).abs().max() < 0.02

    def test_ranges_about_an_axis(self):
        matrices = random_axis_rotation(self.uniforms[:, 0], "y", -0.3, 0.1)
        vectors = matrix_to_axis_angle(matrices)
        assert vectors[:, [0, 2]].abs().max() < 1e-12
        assert -0.3 <= vectors[:, 1].min() < -0.29
        assert 0.09 < vectors[:, 1].max() < 0.1

    def test_views_rotate_then_tilt(self):
        matrices = random_view(self.uniforms[:, :2], (-1.0, 1.0), (0.0, 0.5))
        # The y axis (down) is tilted by the elevation, whatever the azimuth.
        tilt = torch.atan2(matrices[:, 2, 1], matrices[:, 1, 1])
        assert tilt.min() >= 0
        assert tilt.max() <= 0.5
        torch.testing.assert_close(tilt, 0.5 * self.uniforms[:, 1])
