"""Fusion against sampling and torch.distributions."""

import math

import pytest
import torch
from torch.distributions import Normal

from selfsup3d.models.cross_modal.fusion import fuse, mixture_views, pair_views, parse_pair, product_views
from selfsup3d.models.cross_modal.modalities import MODALITIES
from selfsup3d.models.modules.gaussian import Gaussian

LATENT = 3


def gaussians(count=2, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, LATENT)
    return [
        Gaussian(*(0.7 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)))
        for _ in range(count)
    ]


def noise_of(batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    drawn = {}

    def noise(stream):
        if stream not in drawn:
            drawn[stream] = torch.randn(batch, LATENT, generator=generator, dtype=torch.float64)
        return drawn[stream]

    return noise


def normal(gaussian):
    return Normal(gaussian.mean, (0.5 * gaussian.log_variance).exp())


def many(gaussian, count):
    return Gaussian(gaussian.mean.expand(count, LATENT), gaussian.log_variance.expand(count, LATENT))


def sampled_kl(gaussian, count=200_000):
    """E_q[log q - log p] by drawing."""
    z = gaussian.sample(torch.randn(count, LATENT, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    return (normal(gaussian).log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(-1).mean()


def test_closed_form_divergences_agree_with_sampling():
    one, two = gaussians()
    pair = pair_views({"image": one}, [parse_pair("image->image", MODALITIES)], noise_of(1))[0]
    assert pair.divergence.item() == pytest.approx(sampled_kl(one).item(), abs=0.02)
    product = product_views({"image": one, "joints_2d": two}, ["image"], noise_of(1))[0]
    assert product.given == ("image", "joints_2d")
    assert product.divergence.item() == pytest.approx(sampled_kl(product.posterior).item(), abs=0.02)


def test_the_mixture_s_divergence_is_that_of_the_mixture():
    """The mean of the views' estimates is E_q[log q - log p] of q = (q_1 + q_2) / 2, by numerical integration."""
    one, two = (Gaussian(g.mean[:, :1], g.log_variance[:, :1]) for g in gaussians())
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    q = 0.5 * (normal(one).log_prob(x[:, None]).exp() + normal(two).log_prob(x[:, None]).exp())[:, 0]
    log_ratio = q.clamp(min=1e-300).log() - Normal(0.0, 1.0).log_prob(x)
    expected = torch.trapezoid(q * log_ratio, x)
    count = 400_000
    experts = {"image": one, "joints_2d": two}
    wide = {n: Gaussian(g.mean.expand(count, 1), g.log_variance.expand(count, 1)) for n, g in experts.items()}
    generator = torch.Generator().manual_seed(3)
    views = mixture_views(wide, ["image"], lambda _: torch.randn(count, 1, generator=generator, dtype=torch.float64))
    found = sum(view.weight * view.divergence.mean() for view in views)
    assert found.item() == pytest.approx(expected.item(), abs=0.01)
    analytic = 0.5 * (one.kl("sum") + two.kl("sum"))
    assert found <= analytic.item() + 0.01, "a mixture is nearer to the prior than its experts on average"


def test_a_mixture_of_one_is_its_expert():
    (one,) = gaussians(1, batch=5)
    (view,) = mixture_views({"image": one}, ["image"], noise_of(5))
    z = one.sample(noise_of(5)(0))
    torch.testing.assert_close(view.z, z)
    expected = (normal(one).log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(-1)
    torch.testing.assert_close(view.divergence, expected)
    assert view.weight == 1.0


def test_each_expert_s_draw_is_decoded_to_every_modality():
    posteriors = dict(zip(("image", "joints_2d", "joints_3d"), gaussians(3, 4), strict=True))
    views = mixture_views(posteriors, ["image", "joints_3d"], noise_of(4))
    assert [(view.given, view.targets) for view in views] == [
        (("image",), ("image", "joints_3d")),
        (("joints_2d",), ("image", "joints_3d")),
        (("joints_3d",), ("image", "joints_3d")),
    ]
    assert sum(view.weight for view in views) == pytest.approx(1.0)


def test_products_take_every_subset_and_the_prior():
    posteriors = dict(zip(("image", "joints_2d", "joints_3d"), gaussians(3, 4), strict=True))
    views = product_views(posteriors, ["image"], noise_of(4))
    assert len(views) == 7
    assert len({view.given for view in views}) == 7
    single = next(view for view in views if view.given == ("image",))
    expert = posteriors["image"]
    torch.testing.assert_close(single.posterior.log_variance.exp(), 1 / (1 + (-expert.log_variance).exp()))
    own = product_views(posteriors, ["image", "joints_2d"], noise_of(4), own=True)
    assert {view.given: view.targets for view in own}[("joints_2d", "joints_3d")] == ("joints_2d",)
    assert ("joints_3d",) not in {view.given for view in own}, "it would decode nothing"


def test_pairs_share_an_encoder_s_draw():
    one, two = gaussians(2, 4)
    pairs = [parse_pair(t, MODALITIES) for t in ("image->image", "joints_2d->joints_3d", "image->joints_3d")]
    views = pair_views({"image": one, "joints_2d": two}, pairs, noise_of(4))
    assert [(view.given, view.targets) for view in views] == [
        (("image",), ("image", "joints_3d")),
        (("joints_2d",), ("joints_3d",)),
    ]


def test_fusion_when_predicting():
    one, two = gaussians(2, 4)
    assert fuse([one], "pairs") is one
    torch.testing.assert_close(fuse([one], "poe").mean, one.mean / (1 + one.log_variance.exp()))
    torch.testing.assert_close(fuse([one, two], "moe").mean, 0.5 * (one.mean + two.mean))
    both = fuse([one, two], "pairs")
    assert (both.log_variance < torch.minimum(one.log_variance, two.log_variance)).all(), "two tell more than one"
    more = fuse([one, two], "poe")
    assert (more.log_variance < both.log_variance).all()
    assert math.isfinite(float(more.mean.sum()))
