import numpy as np
import torch
from scipy import stats

from selfsup3d.structures.random import RandomStreams, gaussian_noise, uniform_noise


def test_a_sample_draws_the_same_alone_as_in_any_batch():
    together = RandomStreams(3, 7, np.arange(10))
    alone = RandomStreams(3, 7, np.array([6]))
    np.testing.assert_array_equal(together.uniform(4)[6], alone.uniform(4)[0])
    np.testing.assert_array_equal(together.normal(2, 2)[6], alone.normal(2, 2)[0])
    assert together.integers(100)[6] == alone.integers(100)[0]
    assert together.seeds[6] == alone.seeds[0]


def test_seed_step_index_and_call_all_matter():
    base = RandomStreams(0, 0, np.array([0])).uniform(8)
    for other in (
        RandomStreams(1, 0, np.array([0])),
        RandomStreams(0, 1, np.array([0])),
        RandomStreams(0, 0, np.array([1])),
    ):
        assert not np.isin(base, other.uniform(8)).any()
    streams = RandomStreams(0, 0, np.array([0]))
    assert not np.isin(streams.uniform(8), streams.uniform(8)).any()


def test_distributions():
    streams = RandomStreams(0, 0, np.arange(4))
    uniform, normal = streams.uniform(20_000), streams.normal(20_000)
    for row in uniform:
        assert stats.kstest(row, "uniform").pvalue > 1e-3
    for row in normal:
        assert stats.kstest(row, "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(uniform) - np.eye(4)).max() < 0.03
    counts = np.bincount(streams.integers(7, 20_000).ravel(), minlength=7)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_neighbouring_keys_are_independent():
    # One draw for each of many steps and indices: the first numbers must be as random as later ones.
    by_index = RandomStreams(0, 0, np.arange(20_000)).uniform()
    by_step = np.array([RandomStreams(0, step, np.array([0])).uniform()[0] for step in range(5_000)])
    for values in (by_index, by_step):
        assert stats.kstest(values, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.05


def test_integers_respect_their_own_bounds():
    high = np.array([1, 2, 5])
    drawn = np.stack([RandomStreams(0, step, np.arange(3)).integers(high) for step in range(300)])
    assert (drawn >= 0).all()
    assert (drawn.max(0) == high - 1).all()


def test_noise_of_seeds_is_repeatable_and_streams_differ():
    seeds = torch.tensor([5, 9, 5])
    first, again, other = (
        gaussian_noise(seeds, (3,)),
        gaussian_noise(seeds, (3,)),
        gaussian_noise(seeds, (3,), stream=1),
    )
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, other)
    assert uniform_noise(seeds, (3,)).min() >= 0
