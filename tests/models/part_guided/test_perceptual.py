"""The perceptual distance and the term that it gives a decoder of textures."""

import dataclasses

import pytest
import timm
import torch
from safetensors.torch import save_file

from selfsup3d.errors import InputError
from selfsup3d.models.part_guided.perceptual import PerceptualDistance

NAME = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as timm gives them; random, for the tests are of what is done with them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    save_file(timm.create_model(NAME).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def distance(weights):
    return PerceptualDistance(NAME, weights)


def test_it_is_nothing_for_the_truth_and_grows_with_what_differs(distance):
    torch.manual_seed(1)
    target, mask = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
    noise = torch.randn_like(target)
    near, far = ((target + scale * noise).clamp(0, 1) for scale in (0.05, 0.3))
    assert distance(target, target, mask).abs().max() == 0
    assert (distance(near, target, mask) > 0).all()
    assert (distance(far, target, mask) > distance(near, target, mask)).all()


def test_what_lies_outside_the_mask_counts_for_nothing(distance):
    torch.manual_seed(1)
    target, mask = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    image = target.clone().requires_grad_()
    other = (target * mask).requires_grad_()
    assert distance(other, target, mask).item() == 0
    image = (target + 0.1 * mask).detach().requires_grad_()
    distance(image, target, mask).sum().backward()
    assert image.grad.abs().sum() > 0
    assert (image.grad * (1 - mask)).abs().sum() == 0
    assert all(parameter.grad is None for parameter in distance.parameters())


def test_a_decoder_learns_from_it_and_it_is_no_part_of_the_system(make_system, batch, distance):
    system = make_system(textures=True, weights={"perceptual": 2.0, "pairs": 1.0})
    system.fit([batch])
    more = {
        "rendered": batch.target,
        "rendered_parts": torch.randint(0, 11, (4, 32, 32)),
        "rendered_source": batch.source,
    }
    batch = dataclasses.replace(batch, **more, rendered_source_K=batch.K, rendered_source_parts=more["rendered_parts"])
    before = set(system.state_dict())
    with pytest.raises(InputError, match="perceptual_weights"):
        system(batch, "decoder", 0.3)
    system.compare_by(distance)
    terms = system(batch, "decoder", 0.3)
    assert {"L_I_u/perceptual", "pairs/perceptual"} <= set(terms)
    assert set(system.state_dict()) == before
    assert system.to(torch.float64).distance is not None
    assert next(distance.parameters()).dtype == torch.float64
    distance.float()
