from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from selfsup3d.evaluation.evaluator import evaluate
from selfsup3d.evaluation.identity import part_colours, shows_own_person
from tests.evaluation.fakes import Painter, Source


def drawn(shirt, trousers):
    """An 8 x 8 image of two parts, above and below, in these colours."""
    image = torch.zeros(3, 8, 8)
    image[:, :4], image[:, 4:] = torch.tensor(shirt).view(3, 1, 1), torch.tensor(trousers).view(3, 1, 1)
    return image


LABELS = torch.cat([torch.zeros(4, 8), torch.ones(4, 8)]).long()[None]
RED, BLUE, DARK = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9), (0.2, 0.2, 0.2)


def test_distances_of_histograms_are_those_of_scipys_earth_mover():
    g = torch.Generator().manual_seed(0)
    levels = torch.randint(1, 17, (2, 3, 6, 5), generator=g) / 16  # on the bins' edges, so that nothing is rounded
    labels = torch.randint(0, 4, (2, 6, 5), generator=g)
    found = part_colours(levels, labels, 3)
    for part in range(3):
        for channel in range(3):
            a, b = (levels[i, channel][labels[i] == part].numpy() for i in (0, 1))
            distance = (found[0, part, channel] - found[1, part, channel]).abs().sum() / 16
            assert distance.item() == pytest.approx(wasserstein_distance(a, b), abs=1e-6)


def test_the_background_and_absent_parts_count_nowhere():
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.where(LABELS == 1, 3, LABELS)
    found = part_colours(image, labels, 3)
    assert torch.isnan(found[:, 1:]).all()
    image[:, :, 4:] = 0.0
    torch.testing.assert_close(part_colours(image, labels, 3), found, equal_nan=True)


def test_an_image_is_of_whoever_wears_its_colours_on_the_same_parts():
    people = np.array(["a", "a", "b", "c"])
    wear = [(RED, BLUE), (RED, DARK), (BLUE, RED), (DARK, DARK)]
    true = part_colours(torch.stack([drawn(*each) for each in wear]), LABELS.expand(4, -1, -1), 2)
    painted = [(RED, BLUE), (BLUE, RED), (BLUE, RED), (RED, DARK)]  # the second has exchanged its parts
    colours = part_colours(torch.stack([drawn(*each) for each in painted]), LABELS.expand(4, -1, -1), 2)
    assert shows_own_person(colours, true, people).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_an_image_without_the_person_is_of_nobody():
    true = part_colours(torch.stack([drawn(RED, RED), drawn(BLUE, BLUE)]), LABELS.expand(2, -1, -1), 2)
    found = shows_own_person(torch.full_like(true, torch.nan), true, np.array(["a", "b"]))
    assert torch.isnan(found).all()


def test_evaluation_tells_people_apart_by_what_the_system_painted():
    class Dressed(Source):
        """Everybody in a colour of their own."""

        def __init__(self):
            super().__init__()
            colours = torch.linspace(0.1, 0.9, self.people)[torch.arange(self.count) % self.people]
            for images in (self.source, self.target, self.second, self.transfer):
                images.copy_(colours.view(-1, 1, 1, 1) + 0.02 * (images - 0.5))

    class Stranger(Painter):
        """Dresses everybody like the first."""

        def transfer(self, batch):
            return batch.transfer * 0 + 0.1

    data = Dressed()
    result = evaluate(Stranger(data), data, progress=False)
    assert result["metrics"]["identity_novel_view"] == 1.0
    assert result["metrics"]["identity_transfer"] == 1 / data.people
    assert result["baselines"]["truth"]["identity_transfer"] == 1.0
    assert result["baselines"]["copy_source"]["identity_transfer"] == 1.0
    assert "among 4 people; chance 0.250" in result["notes"]["own person nearest"]


def test_a_single_person_is_not_told_apart():
    data = Source(people=1)
    result = evaluate(Painter(data), data, progress=False)
    assert result["metrics"]["identity"] is None
    assert "fewer than two people" in result["reasons"]["identity"]


def test_every_image_of_a_transfer_is_read_again():
    class Reader(Painter):
        """Finds the true pose, off by the image's mean in metres."""

        def predict(self, batch, samples=1):
            found = super().predict(batch, samples)
            offset = torch.zeros_like(found.pose)
            offset[..., 1:, 0] = batch.target.mean((1, 2, 3)).view(-1, 1, 1)
            driving = batch.transfer_joints_3d[:, None]
            return replace(found, pose=driving - driving[:, :, :1] + offset)

    data = Source()
    result = evaluate(Reader(data), data, progress=False)
    painted = {"": (data.transfer - Painter.off).clamp(0, 1), "truth": data.transfer, "copy_source": data.source}
    for name, images in painted.items():
        numbers = result["baselines"][name] if name else result["metrics"]
        assert numbers["cycle_mpjpe"] == pytest.approx(1000 * images.mean().item(), rel=1e-4)
