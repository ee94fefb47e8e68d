import pytest
import torch

from selfsup3d.puppet.coverage import polygon_coverage, polygon_coverage_plain
from selfsup3d.puppet.transform import regular_polygon


def _polygons(count: int, size: tuple[int, int], seed: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    extent = torch.tensor([size[1], size[0]], dtype=dtype)
    centre = (1.4 * torch.rand(count, 2, generator=generator, dtype=dtype) - 0.2) * extent
    radius = torch.rand(count, generator=generator, dtype=dtype) * min(size) * 0.4 + 1.0
    return regular_polygon(centre, radius, 9)


@pytest.mark.parametrize("size", [(64, 64), (40, 75), (224, 160), (7, 5)])
def test_equals_the_plain_definition_with_gradients(size):
    planes = _polygons(12, size, 1, torch.float64).requires_grad_()
    weight = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weight[3], weight[4] = 0.0, 1.0
    weight.requires_grad_()
    owner = torch.tensor([0, 1, 6, 4, 2, 5, 3, 7, 5, 3, 5, 7])  # five solid polygons, then seven weighted ones
    out = torch.randn(8, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    results = []
    for function in (polygon_coverage, polygon_coverage_plain):
        maps = function(planes, weight, owner, 8, size, 1.5)
        results.append((maps, *torch.autograd.grad((maps * out).sum(), (planes, weight))))
    fast, plain = results
    assert fast[0].shape == (8, *size)
    torch.testing.assert_close(fast[0], plain[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(fast[1], plain[1], rtol=1e-9, atol=1e-8)
    drawn = weight.detach() > 0  # polygons of weight 0 cost nothing and get no gradient
    torch.testing.assert_close(fast[2][drawn], plain[2][drawn], rtol=1e-9, atol=1e-9)
    assert fast[2][3] == 0


def test_gradcheck():
    size = (9, 11)
    planes = _polygons(3, size, 5, torch.float64).requires_grad_()
    weight = torch.tensor([0.5, 0.25], dtype=torch.float64, requires_grad=True)
    owner = torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(lambda p, w: polygon_coverage(p, w, owner, 2, size, 3.0), (planes, weight))


def test_area_and_edge_of_a_disc():
    planes = regular_polygon(torch.tensor([[32.3, 30.8]]), torch.tensor([12.0]), 14)
    maps = polygon_coverage(planes, torch.zeros(0), torch.zeros(1, dtype=torch.long), 1, (64, 64))
    assert maps.sum().item() == pytest.approx(torch.pi * 144, rel=2e-3)
    assert maps.amin() == 0
    assert maps.amax() == 1


def test_nothing_to_draw():
    planes = regular_polygon(torch.tensor([[1e5, -1e5]]), torch.tensor([3.0]), 8).requires_grad_()
    maps = polygon_coverage(planes, torch.zeros(0), torch.zeros(1, dtype=torch.long), 1, (16, 16))
    maps.sum().backward()
    assert not maps.any()
    assert not planes.grad.any()
    empty = polygon_coverage(torch.zeros(0, 8, 3), torch.zeros(0), torch.zeros(0, dtype=torch.long), 0, (16, 16))
    assert empty.shape == (0, 16, 16)
