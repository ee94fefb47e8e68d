import pytest
import roma
import torch

from selfsup3d.geometry.align import align, procrustes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_roma(dtype):
    torch.manual_seed(0)
    source, target = torch.randn(2, 5, 17, 3, dtype=dtype), torch.randn(2, 5, 17, 3, dtype=dtype)
    found = procrustes(source, target)
    rotation, translation, scale = roma.rigid_points_registration(source, target, compute_scaling=True)
    torch.testing.assert_close(found.rotation, rotation, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.translation, translation, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.scale, scale, atol=1e-5, rtol=1e-5)


def test_gradients_are_right():
    torch.manual_seed(1)
    source = torch.randn(3, 6, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(3, 6, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, t, w: align(s, t, w), (source, target, weights), atol=1e-4)
