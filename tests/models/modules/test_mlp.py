import pytest
import torch

from selfsup3d.models.modules.mlp import MaxNormLinear, ResidualMLP, frozen_statistics


def test_the_weight_that_is_used_never_exceeds_the_max_norm():
    layer = MaxNormLinear(8, 4, max_norm=1.0)
    with torch.no_grad():
        layer.weight.mul_(100.0)
    assert torch.linalg.vector_norm(layer.constrained_weight()).item() == pytest.approx(1.0, abs=1e-5)
    x = torch.randn(5, 8)
    torch.testing.assert_close(layer(x), x @ layer.constrained_weight().T + layer.bias)
    with torch.no_grad():
        layer.weight.mul_(1e-4)
    torch.testing.assert_close(layer.constrained_weight(), layer.weight)  # inside the ball nothing changes


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_max_norm_has_the_gradients_of_its_formula(size):
    """W' = W min(1, c / |W|), inside and outside of the ball; and gradients of gradients (penalties of critics)."""
    torch.manual_seed(0)
    layer = MaxNormLinear(5, 4, max_norm=0.7).double()
    with torch.no_grad():
        layer.weight.mul_(size)
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    given = (x, layer.weight, layer.bias)
    found = torch.autograd.grad(layer(x).sin().sum(), given)
    expected = torch.autograd.grad((x @ layer.constrained_weight().T + layer.bias).sin().sum(), given)
    torch.testing.assert_close(found, expected)

    def of(x, weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    assert torch.autograd.gradgradcheck(of, (x, layer.weight.detach().clone().requires_grad_(True)))


def test_max_norm_under_autocast_keeps_gradients_in_float32():
    layer = MaxNormLinear(8, 4, max_norm=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(6, 8))
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    assert torch.isfinite(layer.weight.grad).all()


def test_max_norm_is_the_same_with_and_without_gradients():
    layer, x = MaxNormLinear(8, 4, max_norm=0.1), torch.randn(6, 8)
    with torch.inference_mode():
        bare = layer(x)
    assert torch.equal(layer(x), bare)


def test_max_norm_holds_for_every_layer_through_training():
    torch.manual_seed(0)
    network = ResidualMLP(6, 3, width=16, blocks=2, norm="batch", max_norm=1.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        network(torch.randn(32, 6)).square().mean().backward()
        optimizer.step()
    layers = [m for m in network.modules() if isinstance(m, MaxNormLinear)]
    assert len(layers) == 6
    assert all(torch.linalg.vector_norm(layer.constrained_weight()) <= 1.0 + 1e-5 for layer in layers)


@pytest.mark.parametrize("bottleneck", [None, 4])
@pytest.mark.parametrize(("norm", "max_norm"), [("batch", 1.0), ("none", None), ("layer", None)])
def test_fused_is_the_same_function(bottleneck, norm, max_norm):
    torch.manual_seed(0)
    network = ResidualMLP(6, 3, width=16, blocks=2, bottleneck=bottleneck, norm=norm, max_norm=max_norm, dropout=0.1)
    for _ in range(20):
        network(torch.randn(64, 6) * 2 + 1)  # moves the running statistics
    network.eval()
    x = torch.randn(9, 6)
    torch.testing.assert_close(network.fused()(x), network(x), atol=1e-5, rtol=1e-4)


def test_shapes_and_options():
    assert ResidualMLP(6, None, width=16)(torch.zeros(2, 5, 6)).shape == (2, 5, 16)
    assert not ResidualMLP(6, 3, width=8, zero_output=True)(torch.randn(4, 6)).any()
    plain = ResidualMLP(6, 3, width=8, blocks=1, skip=False)
    assert sum(isinstance(m, torch.nn.Linear) for m in plain.modules()) == 4
    with torch.autocast("cpu", torch.bfloat16):
        assert ResidualMLP(6, 3, width=8)(torch.randn(4, 6)).dtype == torch.float32


def test_frozen_statistics_normalise_by_the_batch_and_remember_nothing():
    torch.manual_seed(0)
    network = ResidualMLP(6, 3, width=8, norm="batch")
    before = {name: value.clone() for name, value in network.named_buffers() if "running" in name}
    x = torch.randn(32, 6) + 5.0
    with frozen_statistics(network):
        inside = network(x)
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers() if name in before)
    torch.testing.assert_close(network(x), inside)  # the same normalisation, now remembered
    assert any(not torch.equal(value, before[name]) for name, value in network.named_buffers() if name in before)
