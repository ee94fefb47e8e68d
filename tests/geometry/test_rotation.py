import roma
import torch

from selfsup3d.geometry.rotation import axis_angle_to_matrix, matrix_to_axis_angle, rotation_6d_to_matrix


def test_axis_angle_agrees_with_roma():
    vectors = torch.randn(100, 3, dtype=torch.float64)
    torch.testing.assert_close(axis_angle_to_matrix(vectors), roma.rotvec_to_rotmat(vectors))
    matrices = roma.random_rotmat(100, dtype=torch.float64)
    torch.testing.assert_close(matrix_to_axis_angle(matrices), roma.rotmat_to_rotvec(matrices))


def test_six_numbers_agree_with_gram_schmidt():
    numbers = torch.randn(100, 3, 2, dtype=torch.float64)
    columns = numbers.transpose(-1, -2).flatten(-2)
    torch.testing.assert_close(rotation_6d_to_matrix(columns), roma.special_gramschmidt(numbers))
