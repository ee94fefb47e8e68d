import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from selfsup3d.data.sampling.step_dataset import StepStream, TooManyBadSamplesError
from selfsup3d.errors import InputError
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams


class Numbers:
    """Each sample is its index and one draw."""

    name = "numbers"

    def batch(self, streams: RandomStreams) -> Batch:
        values = torch.from_numpy(streams.uniform(2, 3)).float()
        return Batch(
            index=torch.from_numpy(streams.indices.copy()), seeds=torch.from_numpy(streams.seeds), unpaired=values
        )


class Flaky(Numbers):
    """Fails for samples whose draw is bad, at a rate of one in five."""

    name = "flaky"

    def batch(self, streams: RandomStreams) -> Batch:
        if (streams.uniform() < 0.2).any():
            raise InputError(f"frame of sample {streams.indices[0]} is damaged")
        return super().batch(streams)


def _samples(batches: list[Batch]) -> dict[int, list[float]]:
    return {int(i): b.unpaired[k].flatten().tolist() for b in batches for k, i in enumerate(b.index)}


def test_any_split_over_ranks_and_micro_batches_sees_the_same_samples():
    one = StepStream(Numbers(), seed=7, batch_size=8)
    whole = _samples([b for step in range(3) for b in one[step]])
    for batch_size, accumulation, world in ((4, 2, 1), (4, 1, 2), (2, 2, 2), (1, 1, 8)):
        ranks = [StepStream(Numbers(), 7, batch_size, accumulation, r, world) for r in range(world)]
        assert _samples([b for step in range(3) for stream in ranks for b in stream[step]]) == whole
    assert sorted(whole) == list(range(24))


def test_worker_count_and_start_leave_samples_unchanged():
    stream = StepStream(Numbers(), seed=1, batch_size=4, steps=6)
    plain = [_samples(stream[step]) for step in range(6)]
    for workers in (0, 2):
        for start in (0, 3):
            loader = DataLoader(stream, batch_size=None, sampler=range(start, 6), num_workers=workers)
            assert [_samples(item) for item in loader] == plain[start:]


def test_bad_samples_are_replaced_and_counted():
    stream = StepStream(Flaky(), seed=0, batch_size=16)
    batches = stream[0]
    assert batches[0].index.tolist() == list(range(16))
    assert stream.bad_samples > 0
    again = StepStream(Flaky(), seed=0, batch_size=16)[0]
    assert torch.equal(batches[0].unpaired, again[0].unpaired)
    halves = [StepStream(Flaky(), 0, 8, 1, r, 2)[0] for r in range(2)]
    assert torch.equal(torch.cat([h[0].unpaired for h in halves]), batches[0].unpaired)


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_samples_end_the_run_and_name_the_first(workers):
    class Broken(Numbers):
        def batch(self, streams: RandomStreams) -> Batch:
            raise OSError("clip 3 is gone")

    stream = StepStream(Broken(), seed=0, batch_size=2, steps=4, bad_sample_limit=5)
    with pytest.raises(TooManyBadSamplesError, match="clip 3 is gone"):
        list(DataLoader(stream, batch_size=None, sampler=range(4), num_workers=workers))


def test_programming_errors_are_not_swallowed():
    class Wrong(Numbers):
        def batch(self, streams: RandomStreams) -> Batch:
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        StepStream(Wrong(), seed=0, batch_size=2)[0]


def test_draws_differ_between_steps_and_seeds():
    a, b = StepStream(Numbers(), 0, 4), StepStream(Numbers(), 1, 4)
    assert not torch.equal(a[0][0].unpaired, a[1][0].unpaired)
    assert not torch.equal(a[0][0].unpaired, b[0][0].unpaired)
    assert np.unique(a[0][0].seeds).size == 4
