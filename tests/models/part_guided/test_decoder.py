import pytest
import torch

from selfsup3d.models.part_guided.decoder import Decoded, Decoder, mixed_appearance


def test_paint_gives_each_pixel_its_part():
    appearance = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])  # two parts of two channels
    maps = torch.zeros(1, 2, 1, 4)
    maps[0, 0, 0, 0] = 1.0  # the first alone
    maps[0, 1, 0, 1] = 0.5  # half of the second
    maps[0, :, 0, 2] = 1.0  # both
    mixed = mixed_appearance(appearance, maps)[0, :, 0]
    torch.testing.assert_close(mixed.T, torch.tensor([[1.0, 2.0], [1.5, 2.0], [2.0, 3.0], [0.0, 0.0]]))


def test_over_is_alpha_blending():
    image, background = torch.full((1, 3, 2, 2), 0.8), torch.full((1, 3, 2, 2), 0.2)
    certain = torch.tensor([20.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    torch.testing.assert_close(Decoded(image, certain).over(background), image)
    torch.testing.assert_close(Decoded(image, -certain).over(background), background)
    half = Decoded(image, torch.zeros(1, 2, 2, 2))
    torch.testing.assert_close(half.over(background), torch.full((1, 3, 2, 2), 0.5))


def test_sides_must_divide():
    with pytest.raises(ValueError, match="divide by 4"):
        Decoder(3, 4, (8, 8, 8))(torch.rand(1, 4, 4), torch.rand(1, 3, 30, 32))


def test_every_parameter_and_both_inputs_have_a_gradient():
    torch.manual_seed(0)
    decoder = Decoder(3, 4, (8, 8, 8))
    torch.nn.init.normal_(decoder.to_image.weight)  # it starts at zero, where nothing flows past it
    appearance, maps = torch.rand(2, 4, 4, requires_grad=True), torch.rand(2, 3, 16, 16, requires_grad=True)
    decoded = decoder(appearance, maps)
    (decoded.image.square().mean() + decoded.segmentation.square().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())
    assert appearance.grad is not None
    assert (appearance.grad.abs().sum((0, 2)) > 0).all()
    assert maps.grad is not None


def test_the_image_starts_as_the_puppet_in_the_parts_colours():
    torch.manual_seed(0)
    decoder = Decoder(2, 5, (8, 8), background=(0.2, 0.4, 0.6))
    appearance = torch.zeros(1, 3, 5)
    appearance[0, 0, :3] = torch.tensor([0.9, 0.1, 0.3])
    maps = torch.zeros(1, 2, 8, 8)
    maps[:, 0, :, :4] = 1.0
    image = decoder(appearance, maps).image
    torch.testing.assert_close(image[0, :, 0, 0], torch.tensor([0.9, 0.1, 0.3]))
    torch.testing.assert_close(image[0, :, 0, 7], torch.tensor([0.2, 0.4, 0.6]))


def test_samples_do_not_mix():
    torch.manual_seed(0)
    decoder = Decoder(3, 4, (8, 8, 8))
    torch.nn.init.normal_(decoder.to_image.weight)
    appearance, maps = torch.rand(3, 4, 4), torch.rand(3, 3, 16, 16)
    together = decoder(appearance, maps).image
    alone = decoder(appearance[1:2], maps[1:2]).image
    torch.testing.assert_close(together[1:2], alone)
