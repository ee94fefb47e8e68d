import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from selfsup3d.models.modules.gaussian import Gaussian, product_of_experts


@pytest.fixture
def gaussian():
    torch.manual_seed(0)
    return Gaussian(torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64))


def normal(g):
    return Normal(g.mean, (0.5 * g.log_variance).exp())


def test_kl_and_density_against_torch(gaussian):
    expected = kl_divergence(normal(gaussian), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(gaussian.kl("sum"), expected)
    torch.testing.assert_close(gaussian.kl("mean"), expected / 4)
    torch.testing.assert_close(gaussian.kl("per_element", 48), expected / 48)
    z = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(gaussian.log_density(z), normal(gaussian).log_prob(z).sum(-1))


def test_the_reduction_must_be_named(gaussian):
    with pytest.raises(ValueError, match="per_element"):
        gaussian.kl("per_element")


def test_per_element_weighs_a_pose_more_than_a_image(gaussian):
    ratio = gaussian.kl("per_element", 16 * 3) / gaussian.kl("per_element", 256 * 256 * 3)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 4096.0))


def test_samples_have_mean_and_spread_and_pass_gradients():
    g = Gaussian(torch.tensor([2.0], requires_grad=True), torch.tensor([math.log(9.0)], requires_grad=True))
    noise = torch.randn(20000, 1, generator=torch.Generator().manual_seed(0))
    samples = g.sample(noise)
    assert samples.mean().item() == pytest.approx(2.0, abs=0.1)
    assert samples.std().item() == pytest.approx(3.0, abs=0.1)
    samples.square().mean().backward()
    assert g.mean.grad is not None
    assert g.log_variance.grad is not None


def test_product_of_experts_is_the_normalised_product(gaussian):
    other = Gaussian(gaussian.mean + 1.0, -gaussian.log_variance)
    product = product_of_experts([gaussian, other], prior=False)
    points = torch.randn(6, 5, 4, dtype=torch.float64)
    difference = normal(product).log_prob(points) - normal(gaussian).log_prob(points) - normal(other).log_prob(points)
    torch.testing.assert_close(difference, difference[:1].expand_as(difference))  # constant: only a factor is missing
    with_prior = product_of_experts(
        [gaussian, other, Gaussian(torch.zeros(5, 4).double(), torch.zeros(5, 4).double())], prior=False
    )
    torch.testing.assert_close(product_of_experts([gaussian, other]).mean, with_prior.mean)
    with pytest.raises(ValueError, match="at least one"):
        product_of_experts([])
