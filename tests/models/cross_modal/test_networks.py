import pytest
import torch
from torch import nn

from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.models.cross_modal.networks import (
    ImageCritic,
    ImageDecoder,
    ImageEncoder,
    PoseDecoder,
    PoseEncoder,
)


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize(("norm", "backbone"), [("batch", "resnet18"), ("group", "resnet18"), ("group", "patch")])
def test_images_there_and_back(size, norm, backbone):
    encoder, decoder = ImageEncoder(backbone, size, 7, norm=norm), ImageDecoder(size, 7, norm, width=64)
    posterior = encoder(torch.rand(2, 3, size, size) * 2 - 1)
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 7)
    decoded = decoder(posterior.mean)
    assert decoded.shape == (2, 3, size, size)
    assert decoded.abs().max() <= 1.0
    has_batch_norm = any(isinstance(m, nn.BatchNorm2d) for m in [*encoder.modules(), *decoder.modules()])
    assert has_batch_norm == (norm == "batch")


def test_256_px_are_the_five_up_convolutions_of_the_thesis():
    decoder = ImageDecoder(256, 100)
    ups = [layer for layer in decoder.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert [(up.in_channels, up.out_channels) for up in ups] == [(256, 128), (128, 64), (64, 32), (32, 16), (16, 3)]
    assert decoder.enter.out_features == 256 * 8 * 8
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in decoder.modules()) == 4
    assert isinstance(decoder.layers[-1], nn.ConvTranspose2d), "nothing but tanh after the last"


@pytest.mark.parametrize("size", [0, 8, 48, 100, 1024])
def test_sizes_that_cannot_be_decoded_are_refused(size):
    with pytest.raises(ValueError, match="cannot be decoded"):
        ImageDecoder(size, 4)


def test_impossible_image_networks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="16 to 256 px"):
        ImageEncoder("patch", 48, 7)
    with pytest.raises(ValueError, match="no weights"):
        ImageEncoder("patch", 64, 7, weights=tmp_path / "w")
    with pytest.raises(ValueError, match="halved"):
        ImageDecoder(256, 7, width=8)


def test_pose_networks_are_mirror_images():
    encoder, decoder = PoseEncoder(32, CrossModalConfig()), PoseDecoder(48, CrossModalConfig())
    hidden = [layer for layer in encoder.trunk.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in hidden] == [(32, 512)] + [(512, 512)] * 4
    layers = [layer for layer in decoder.trunk.modules() if isinstance(layer, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    assert sizes == [(100, 512)] + [(512, 512)] * 4 + [(512, 48)]


def test_an_upsampling_layer_comes_before_the_five_hidden_ones():
    decoder = PoseDecoder(48, CrossModalConfig(upsampling=True))
    layers = [layer for layer in decoder.modules() if isinstance(layer, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    assert sizes == [(100, 512)] + [(512, 512)] * 5 + [(512, 48)]
    z = torch.randn(2, 100)
    torch.testing.assert_close(decoder(z), decoder.trunk(z @ layers[0].weight.T + layers[0].bias))


def test_a_critic_of_images_has_features_and_a_logit():
    critic = ImageCritic(32, 4)
    images = torch.rand(3, 3, 32, 32)
    assert critic.features(images).shape == (3, 16, 4, 4)
    assert critic(images).shape == (3,)


def test_variances_stay_in_range():
    encoder = PoseEncoder(4, CrossModalConfig(latent=3, width=8, blocks=1))
    posterior = encoder(torch.full((1, 4), 1e6))
    assert torch.isfinite(posterior.log_variance.exp()).all()
