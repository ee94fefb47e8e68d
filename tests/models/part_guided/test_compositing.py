import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfsup3d.models.part_guided.compositing import composite, coverage

GREY = torch.full((3,), 0.5)
shares = st.floats(0, 1)


def scene():
    """Five pixels: inside the puppet, half inside, dark hair outside it, half of that, empty."""
    maps = torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0]).view(1, 1, 1, 5)
    colour = torch.tensor([0.9, 0.1, 0.2])
    image = GREY.view(3, 1).expand(3, 5).clone()
    image[:, 0] = colour
    image[:, 1] = 0.5 * colour + 0.5 * GREY  # painted over the constant colour
    image[:, 2] = 0.0
    image[:, 3] = 0.5 * GREY
    return image[None, :, None], maps, colour


def test_a_person_comes_over_with_neither_a_rim_nor_a_veil():
    image, maps, colour = scene()
    background = torch.tensor([0.0, 0.3, 1.0]).view(1, 3, 1, 1).expand(1, 3, 1, 5)
    over = composite(image, maps, GREY, background)[0, :, 0]
    behind = background[0, :, 0, 0]
    expected = [colour, 0.5 * colour + 0.5 * behind, torch.zeros(3), 0.5 * behind, behind]
    torch.testing.assert_close(over, torch.stack(expected, 1))
    torch.testing.assert_close(coverage(image, maps, GREY).flatten(), torch.tensor([1.0, 0.5, 1.0, 0.5, 0.0]))


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3, 1, 5)])
def test_over_the_constant_colour_the_image_stays(shape):
    image, maps, _ = scene()
    torch.testing.assert_close(composite(image, maps, GREY, GREY.view(1, 3, 1, 1).expand(shape)), image)


@given(share=shares, person=st.tuples(shares, shares, shares), base=st.floats(0.1, 0.9))
def test_the_share_is_never_more_than_it_was(share, person, base):
    """Of any person over any constant colour, where the maps know nothing."""
    colour = torch.full((3,), base)
    image = (share * torch.tensor(person) + (1 - share) * colour).view(1, 3, 1, 1)
    assert float(coverage(image, torch.zeros(1, 1, 1, 1), colour)) <= share + 1e-5
