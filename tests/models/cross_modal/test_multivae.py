"""The whole objective against the `multivae` library (extra `dev`), with its networks and draws copied into ours.

Unit Gaussians there are half squared errors and a constant here; unit Laplace densities are absolute errors.
"""

import math

import pytest
import torch

from selfsup3d.models.cross_modal.fusion import fuse, mixture_views, product_views
from selfsup3d.models.cross_modal.objective import terms_of
from selfsup3d.models.modules.gaussian import Gaussian, product_of_experts

multivae = pytest.importorskip("multivae.models", reason="multivae is not installed (extra dev)")
from multivae.data.datasets.base import MultimodalBaseDataset  # noqa: E402
from pythae.models.base.base_utils import ModelOutput  # noqa: E402
from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder  # noqa: E402

SIZES = {"image": 5, "joints_2d": 4, "joints_3d": 3}
LATENT, BATCH = 2, 6


class Encoder(BaseEncoder):
    def __init__(self, size):
        super().__init__()
        self.latent_dim = LATENT
        self.mean, self.log_variance = torch.nn.Linear(size, LATENT), torch.nn.Linear(size, LATENT)

    def forward(self, x):
        return ModelOutput(embedding=self.mean(x), log_covariance=self.log_variance(x))

    def gaussian(self, x):
        return Gaussian(self.mean(x), self.log_variance(x))


class Decoder(BaseDecoder):
    def __init__(self, size):
        super().__init__()
        self.layer = torch.nn.Linear(LATENT, size)

    def forward(self, z):
        return ModelOutput(reconstruction=self.layer(z))


def setting(names):
    torch.manual_seed(0)
    encoders = {name: Encoder(SIZES[name]) for name in names}
    decoders = {name: Decoder(SIZES[name]) for name in names}
    data = {name: torch.randn(BATCH, SIZES[name]) for name in names}
    common = {"n_modalities": len(names), "latent_dim": LATENT, "input_dims": {n: (SIZES[n],) for n in names}}
    dists = {"decoders_dist": {n: "laplace" if n == "image" else "normal" for n in names}}
    return encoders, decoders, data, common | dists


def objective(views, decoders, data):
    """Our bound, as a sum over elements; half squared errors are weight 1/2 of squared ones."""
    elements = {name: SIZES[name] for name in data}
    weights = {name: 1.0 if name == "image" else 0.5 for name in data}
    total = 0.0
    for view in views:
        misses = {}
        for name in view.targets:
            error = decoders[name](view.z).reconstruction - data[name]
            misses[name] = (error.abs() if name == "image" else error.square()).mean(1)
        total = total + sum(terms_of(view, misses, 1.0, weights, elements, "sum").values())
    return total


def constants(views):
    """What the densities have besides: log 2 an element of Laplace, half of log 2 pi of a Gaussian."""
    per = {name: SIZES[name] * (math.log(2) if name == "image" else 0.5 * math.log(2 * math.pi)) for name in SIZES}
    return sum(view.weight * sum(per[name] for name in view.targets) for view in views)


def their_draws(monkeypatch, module):
    """The noise that the library draws, in its order."""
    drawn = []

    def rsample(mean, log_variance, **_):
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(100 + len(drawn)))
        drawn.append(noise)
        return mean + (0.5 * log_variance).exp() * noise

    monkeypatch.setattr(module, "rsample_from_gaussian", rsample)
    return drawn


@pytest.mark.parametrize("names", [("image", "joints_2d"), ("image", "joints_2d", "joints_3d")])
def test_product_of_experts_is_mvae(names, monkeypatch):
    import multivae.models.mvae.mvae_model as module

    encoders, decoders, data, common = setting(names)
    k = 0 if len(names) == 2 else 3  # all pairs of three
    theirs = multivae.MVAE(multivae.MVAEConfig(**common, k=k, warmup=0, beta=1.0), encoders, decoders)
    drawn = their_draws(monkeypatch, module)
    monkeypatch.setattr(module, "choice", lambda options, size, replace: options[:size])
    expected = theirs(MultimodalBaseDataset(data), epoch=5).loss
    singles = [(name,) for name in names]
    order = [tuple(names), *singles, *theirs.subsets[:k]]
    noise = dict(zip(order, drawn, strict=True))

    posteriors = {name: encoders[name].gaussian(data[name]) for name in names}
    subsets = [view.given for view in product_views(posteriors, names, lambda _: drawn[0], own=True)]
    assert {frozenset(s) for s in subsets} == {frozenset(s) for s in order}
    views = product_views(posteriors, names, lambda stream: noise[subsets[stream]], own=True)
    torch.testing.assert_close(objective(views, decoders, data) + constants(views), expected)

    mean, log_variance = theirs.compute_mu_log_var_subset(MultimodalBaseDataset(data), list(names))
    product = product_of_experts(list(posteriors.values()))
    torch.testing.assert_close(product.mean, mean)
    torch.testing.assert_close(product.log_variance, log_variance)


def test_mixture_of_experts_is_mmvae(monkeypatch):
    names = ("image", "joints_2d", "joints_3d")
    encoders, decoders, data, common = setting(names)
    config = multivae.MMVAEConfig(
        **common, K=1, prior_and_posterior_dist="normal", loss="iwae_looser", learn_prior=False
    )
    theirs = multivae.MMVAE(config, encoders, decoders)
    detailed = theirs(MultimodalBaseDataset(data), detailed_output=True)

    posteriors = {name: encoders[name].gaussian(data[name]) for name in names}
    stds = {name: (0.5 * g.log_variance).exp() for name, g in posteriors.items()}
    noise = [(detailed.zss[name][0] - posteriors[name].mean) / stds[name] for name in names]
    views = mixture_views(posteriors, names, lambda stream: noise[stream].detach())
    ours = (objective(views, decoders, data) + constants(views)) * BATCH  # a sum over samples there
    torch.testing.assert_close(ours, detailed.loss)

    their_mean = theirs.encode(MultimodalBaseDataset(data), return_mean=True).z
    torch.testing.assert_close(fuse(list(posteriors.values()), "moe").mean, their_mean)


def test_gradients_agree_too():
    names = ("image", "joints_2d")
    encoders, decoders, data, common = setting(names)
    config = multivae.MMVAEConfig(
        **common, K=1, prior_and_posterior_dist="normal", loss="iwae_looser", learn_prior=False
    )
    theirs = multivae.MMVAE(config, encoders, decoders)
    detailed = theirs(MultimodalBaseDataset(data), detailed_output=True)
    parameters = [p for name in names for p in (*encoders[name].parameters(), *decoders[name].parameters())]
    posteriors = {name: encoders[name].gaussian(data[name]) for name in names}
    noise = [
        ((detailed.zss[n][0] - posteriors[n].mean) / (0.5 * posteriors[n].log_variance).exp()).detach() for n in names
    ]
    expected = torch.autograd.grad(detailed.loss, parameters)
    views = mixture_views(posteriors, names, lambda stream: noise[stream])
    found = torch.autograd.grad(objective(views, decoders, data) * BATCH, parameters)
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, other)
