import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsup3d.models import schedules

NAMED = {
    "constant": lambda p: schedules.constant(p, 0.7),
    "warmup": lambda p: schedules.warmup(p, 0.3, 0.7),
    "linear": lambda p: schedules.linear(p, 0.0, 0.7),
    "cosine": lambda p: schedules.cosine(p, 0.0, 0.7),
    "exponential": lambda p: schedules.exponential(p, 0.01, 0.7),
    "cyclical": lambda p: schedules.cyclical(p, cycles=4, ramp=0.5, maximum=0.7),
}


@pytest.mark.parametrize("name", NAMED)
def test_ends_at_the_stated_maximum_and_never_passes_it(name):
    values = [NAMED[name](p) for p in np.linspace(0, 1, 1001)]
    assert values[-1] == pytest.approx(0.7)
    assert max(values) <= 0.7 + 1e-12
    assert min(values) >= 0.0


@pytest.mark.parametrize("steps", [8, 100, 12_345])
def test_cyclical_reaches_its_maximum_in_every_cycle_of_a_run(steps):
    cycles = 4
    values = np.array([schedules.cyclical(step / steps, cycles, 0.5) for step in range(steps)])
    for cycle in np.array_split(values, cycles):
        assert cycle.max() == pytest.approx(1.0)
        assert cycle[0] < cycle.max()


def test_cyclical_is_a_ramp_then_a_plateau():
    assert [schedules.cyclical(p, 2, 0.5) for p in (0.0, 0.125, 0.25, 0.4, 0.5, 0.625, 0.75, 1.0)] == pytest.approx(
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0]
    )


def test_shapes():
    assert schedules.cosine(0.5, 1.0, 0.0) == pytest.approx(0.5)
    assert schedules.cosine(0.25, 1.0, 0.0) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert schedules.exponential(0.5, 1.0, 0.01) == pytest.approx(0.1)
    assert schedules.warmup(0.1, 0.2, 3.0) == pytest.approx(1.5)
    assert schedules.warmup(0.0, 0.0) == 1.0


def test_piecewise_drops_at_each_milestone():
    values = [schedules.piecewise(p, (0.6, 0.8), 0.1, 2.0) for p in (0.0, 0.59, 0.6, 0.79, 0.8, 1.0)]
    assert values == pytest.approx([2.0, 2.0, 0.2, 0.2, 0.02, 0.02])


@pytest.mark.parametrize("name", NAMED)
@given(progress=st.floats(-10, 10))
def test_progress_outside_the_run_is_clamped(name, progress):
    assert NAMED[name](progress) == NAMED[name](min(max(progress, 0.0), 1.0))


def test_impossible_schedules_are_refused():
    with pytest.raises(ValueError, match="positive"):
        schedules.exponential(0.5, 1.0, 0.0)
    with pytest.raises(ValueError, match="ramp"):
        schedules.cyclical(0.5, ramp=0.0)
    with pytest.raises(ValueError, match="cycles"):
        schedules.cyclical(0.5, cycles=0)
