import pytest
import torch

from selfsup3d.config.cross_modal import KLConfig
from selfsup3d.models.cross_modal.fusion import View, pair_views, parse_pair
from selfsup3d.models.cross_modal.modalities import MODALITIES
from selfsup3d.models.cross_modal.objective import beta_at, divergence_factor, terms_of
from selfsup3d.models.modules.gaussian import Gaussian

POSE, IMAGE = 16 * 3, 256 * 256 * 3


def posterior(count=4, latent=3):
    torch.manual_seed(0)
    return Gaussian(torch.randn(count, latent), torch.randn(count, latent))


@pytest.mark.parametrize("schedule", ["constant", "annealed", "cyclical"])
@pytest.mark.parametrize("steps", [10, 77, 1000])
def test_every_schedule_reaches_its_maximum_within_the_run(schedule, steps):
    """An earlier implementation's cycle restarted before it got there."""
    beta = KLConfig(schedule=schedule, maximum=0.02)
    values = [beta_at(beta, step / steps) for step in range(steps)]
    assert max(values) == pytest.approx(0.02)
    assert min(values) >= 0.0
    assert beta_at(beta, 1.0) == pytest.approx(0.02)


def test_the_cycle_rises_four_times_and_is_held_between():
    beta = KLConfig(schedule="cyclical", maximum=1.0)
    values = torch.tensor([beta_at(beta, step / 4000) for step in range(4000)])
    assert int(((values[1:] == 0.0) | (values[1:] < values[:-1])).sum()) == 3  # falls to 0 between four cycles
    assert ((values == 1.0).float().mean() - 0.5).abs() < 0.01
    for cycle in range(4):
        assert values[1000 * cycle + 250] == pytest.approx(0.5, abs=0.01)


def test_annealing_starts_at_zero_and_is_linear():
    beta = KLConfig(schedule="annealed", maximum=1.0, hold=0.2, reach=0.6)
    assert [beta_at(beta, p) for p in (0.0, 0.2, 0.4, 0.6, 0.9)] == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


@pytest.mark.parametrize("wrong", [{"hold": 0.9}, {"reach": 1.0}, {"cycles": 0}, {"ramp": 1.0}, {"ramp": 0.0}])
def test_schedules_that_never_reach_their_maximum_raise(wrong):
    with pytest.raises(ValueError, match=r"hold|cycles|ramp|reach"):
        KLConfig(schedule="cyclical", **wrong)


def test_the_reduction_decides_what_beta_means():
    p = posterior()
    elements = {"joints_3d": POSE, "image": IMAGE}
    pose = View(("a",), p, p.mean, p.kl("sum"), ("joints_3d",))
    image = View(("a",), p, p.mean, p.kl("sum"), ("image",))
    per_element = [divergence_factor(view, "per_element", elements) for view in (pose, image)]
    assert per_element[0] / per_element[1] == pytest.approx(4096.0)
    assert [divergence_factor(view, "sum", elements) for view in (pose, image)] == [1, 1]
    assert divergence_factor(pose, "mean", elements) == pytest.approx(1 / 3)


def test_pairs_that_share_an_encoder_each_pay_for_its_divergence():
    p = posterior()
    pairs = [parse_pair(text, MODALITIES) for text in ("image->image", "image -> joints_3d")]
    (view,) = pair_views({"image": p}, pairs, lambda _: torch.zeros(4, 3))
    elements = {"joints_3d": POSE, "image": IMAGE}
    assert divergence_factor(view, "per_element", elements) == pytest.approx(1 / POSE + 1 / IMAGE)
    assert divergence_factor(view, "sum", elements) == 2


def test_terms_are_weighted_and_named():
    p = posterior()
    view = View(("joints_2d",), p, p.mean, p.kl("sum"), ("joints_3d",), weight=0.5)
    misses = {"joints_3d": torch.tensor([1.0, 2.0, 3.0, 6.0])}
    terms = terms_of(view, misses, 0.1, {"joints_3d": 2.0}, {"joints_3d": POSE}, "per_element")
    assert set(terms) == {"joints_2d_to_joints_3d", "kl_joints_2d"}
    assert terms["joints_2d_to_joints_3d"] == pytest.approx(0.5 * 2.0 * 3.0)
    torch.testing.assert_close(terms["kl_joints_2d"], 0.5 * 0.1 * p.kl("per_element", POSE).mean())
    summed = terms_of(view, misses, 0.1, {"joints_3d": 2.0}, {"joints_3d": POSE}, "sum")
    assert summed["joints_2d_to_joints_3d"] == pytest.approx(POSE * 3.0)


@pytest.mark.parametrize("text", ["image", "image->", "image->depth", "2d->3d", "image=>image"])
def test_wrong_pairs_are_refused(text):
    with pytest.raises(ValueError, match="no pair"):
        parse_pair(text, MODALITIES)
