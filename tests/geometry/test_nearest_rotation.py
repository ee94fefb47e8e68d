import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfsup3d.geometry.align import DAMPING, nearest_rotation
from selfsup3d.geometry.rotation import random_rotation


def with_singular_values(values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """(N, 3) signed singular values -> (N, 3, 3) matrices U diag(values) V^T with random rotations U, V."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(2, len(values), 3, generator=generator, dtype=torch.float64)
    left, right = random_rotation(drawn)
    return left @ torch.diag_embed(values.double()) @ right.mT


def nearest_rotation_svd(matrix: torch.Tensor, reflection: bool = False) -> torch.Tensor:
    """The plain reference: U diag(1, 1, det(U V^T)) V^T from the SVD (Kabsch 1976)."""
    u, _, vh = torch.linalg.svd(matrix)
    if not reflection:
        sign = torch.linalg.det(u @ vh).sign()
        u = torch.cat((u[..., :2], u[..., 2:] * sign[..., None, None]), dim=-1)
    return u @ vh


def gain(rotation: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return (rotation * matrix).sum((-1, -2))


SPECTRA = {
    "generic": [3.0, 2.0, 1.0],
    "mirrored": [3.0, 2.0, -1.0],
    "coplanar": [3.0, 2.0, 0.0],
    "isotropic": [1.0, 1.0, 1.0],
    "nearly ambiguous mirror": [3.0, 1.0, -0.999],
    "long and thin": [1.0, 1e-3, 1e-3],
    "large": [3e9, 2e9, -1e9],
    "small": [3e-9, 2e-9, -1e-9],
}


@pytest.mark.parametrize(
    ("name", "reflection"),
    [(name, False) for name in SPECTRA] + [(name, True) for name in SPECTRA if name != "coplanar"],  # not unique there
)
def test_agrees_with_the_svd(name, reflection):
    matrix = with_singular_values(torch.tensor([SPECTRA[name]] * 200, dtype=torch.float64))
    found = nearest_rotation(matrix, reflection)
    torch.testing.assert_close(found, nearest_rotation_svd(matrix, reflection), atol=1e-7, rtol=0)


@given(st.tuples(*[st.floats(-1, 1)] * 3), st.integers(0, 1000), st.booleans())
def test_always_a_rotation_and_never_worse_than_the_svd(values, seed, reflection):
    matrix = with_singular_values(torch.tensor([values], dtype=torch.float64), seed)
    found = nearest_rotation(matrix, reflection)
    torch.testing.assert_close(found @ found.mT, torch.eye(3, dtype=torch.float64)[None], atol=1e-8, rtol=0)
    if not reflection:
        assert torch.linalg.det(found) > 0
    best = gain(nearest_rotation_svd(matrix, reflection), matrix)
    assert gain(found, matrix) >= best - 1e-12


@pytest.mark.parametrize(
    "values",
    [[0.0, 0, 0], [1.0, 0, 0], [1.0, 1, -1], [2.0, 1, -1], [1.0, 1e-9, -1e-9], [1e-30, 0, 0], [1e-200, 1e-200, 1e-200]],
)
def test_where_the_best_is_not_unique_one_of_the_best_is_returned_with_a_finite_gradient(values):
    matrix = with_singular_values(torch.tensor([values] * 20, dtype=torch.float64)).requires_grad_()
    found = nearest_rotation(matrix)
    torch.testing.assert_close(found @ found.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3))
    torch.testing.assert_close(gain(found, matrix), gain(nearest_rotation_svd(matrix), matrix))
    (gradient,) = torch.autograd.grad((found * torch.randn_like(found)).sum(), matrix)
    assert torch.isfinite(gradient).all()
    size = max(sum(values), 1e-30)
    assert gradient.abs().max() < 20 / (2 * DAMPING * size)


@pytest.mark.parametrize(
    ("name", "reflection"),
    [
        ("generic", False),
        ("mirrored", False),
        ("coplanar", False),
        ("isotropic", False),
        ("generic", True),
        ("mirrored", True),
    ],
)
def test_gradients_are_right(name, reflection):
    matrix = with_singular_values(torch.tensor([SPECTRA[name]] * 4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: nearest_rotation(m, reflection), (matrix,), atol=1e-5)


def test_not_a_number_spoils_only_itself():
    matrix = torch.randn(3, 3, 3)
    matrix[1, 0, 0] = torch.nan
    found = nearest_rotation(matrix)
    assert torch.isnan(found[1]).any()
    torch.testing.assert_close(found[[0, 2]], nearest_rotation_svd(matrix[[0, 2]]))
