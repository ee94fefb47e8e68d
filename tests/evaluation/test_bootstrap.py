import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.evaluation.bootstrap import compare_frames, paired_bootstrap


def frames(people=12, each=20, gain=0.0, seed=0):
    """Frames of one person share an offset, so they are far from independent."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), each)
    base = rng.normal(100, 30, people)[who] + rng.normal(0, 5, who.size)
    return base, base - gain + rng.normal(0, 8, people)[who] + rng.normal(0, 2, who.size), who.astype(str)


def test_difference_is_that_of_the_means_and_the_interval_holds_it():
    a, b, who = frames(gain=10)
    found = paired_bootstrap(a, b, who)
    assert found.difference == pytest.approx((b - a).mean())
    assert found.low < found.difference < found.high
    assert (found.people, found.frames, found.level) == (12, 240, 0.95)


def test_it_is_repeatable_and_seeded():
    a, b, who = frames()
    assert paired_bootstrap(a, b, who) == paired_bootstrap(a, b, who)
    assert paired_bootstrap(a, b, who, seed=1) != paired_bootstrap(a, b, who)


def test_it_equals_resampling_written_as_a_loop():
    a, b, who = frames(people=5, each=3)
    random = np.random.Generator(np.random.Philox(key=[3, 0]))
    names = np.unique(who)
    drawn = random.integers(5, size=(500, 5))
    means = [np.concatenate([(b - a)[who == names[p]] for p in row]).mean() for row in drawn]
    found = paired_bootstrap(a, b, who, rounds=500, seed=3)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_people_not_frames_decide_how_sure_it_is():
    a, b, who = frames(people=12, each=200, seed=4)
    by_people, by_frames = (
        paired_bootstrap(a, b, who),
        paired_bootstrap(a, b, np.arange(len(a)).astype(str), rounds=500),
    )
    assert by_people.high - by_people.low > 5 * (by_frames.high - by_frames.low)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    hits = 0
    for seed in range(200):
        a, b, who = frames(people=40, each=5, gain=5, seed=seed)
        found = paired_bootstrap(a, b, who, rounds=400)
        hits += found.low <= -5 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_significance_needs_zero_outside():
    a, b, who = frames(gain=40)
    assert paired_bootstrap(a, b, who).significant
    assert not paired_bootstrap(a, a, who).significant


def test_frames_missing_on_either_side_are_left_out_of_both():
    a, b, who = frames(gain=10)
    b[::7] = np.nan
    kept = np.isfinite(b)
    assert paired_bootstrap(a, b, who) == paired_bootstrap(a[kept], b[kept], who[kept])


def test_bad_input_is_refused():
    a, b, who = frames()
    with pytest.raises(ValueError, match="one length"):
        paired_bootstrap(a, b[:-1], who)
    with pytest.raises(ValueError, match="at least 2"):
        paired_bootstrap(a, b, np.full(len(a), "x"))


def test_results_are_compared_on_the_frames_they_share():
    a, b, who = frames(gain=40)
    every, some = np.arange(len(a)), np.arange(10, len(a), 3)[::-1]
    first = {"index": every, "person": who, "mpjpe": a}
    second = {"index": some, "person": who[some], "mpjpe": b[some], "pa_mpjpe": b[some]}
    found = compare_frames(first, second)
    assert set(found) == {"mpjpe"}
    assert found["mpjpe"].difference == pytest.approx((b - a)[some].mean())
    with pytest.raises(InputError, match="share no frames"):
        compare_frames(first, second | {"index": some + 10_000})
    with pytest.raises(InputError, match="different people"):
        compare_frames(first, second | {"person": who[some][::-1]})
    with pytest.raises(InputError, match="at least 2"):
        compare_frames(first | {"person": np.full(len(a), "x")}, second | {"person": np.full(len(some), "x")})
