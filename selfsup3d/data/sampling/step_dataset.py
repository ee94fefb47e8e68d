"""Training samples by step: the same samples for any number of processes, workers and interruptions.

A map-style dataset whose item is a whole step of this rank. Sample numbers of a step are split over micro-batches and
ranks, and every draw depends on (seed, step, sample number) alone, so that

    DataLoader(StepStream(...), batch_size=None, sampler=range(start, steps), num_workers=n)

gives the same samples for every n, and two processes together draw what one with twice the batch draws.
"""

from __future__ import annotations

import multiprocessing

import numpy as np
from torch.utils import data

from selfsup3d.data.sampling.collate import concatenate
from selfsup3d.data.sampling.dataset import Samples
from selfsup3d.errors import FatalInputError, InputError
from selfsup3d.io.stored_arrays import refuse_limit
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams

__all__ = ["StepStream", "TooManyBadSamplesError"]

_REPLACEMENT = 0x0BAD_5EED  # keeps the draws of a replacement apart from every draw of the run


class TooManyBadSamplesError(FatalInputError):
    """More samples than tolerated could not be read; the message names the first."""


class StepStream(data.Dataset):
    """Micro-batches of this rank for each step.

    Sample numbers of a step: micro-batch m of rank r holds (m * world + r) * batch_size ... + batch_size. One process
    that accumulates twice, and two processes that do not, therefore see the same samples.

    Args:
        source: gives samples for draws.
        seed: of the run.
        batch_size: samples in a micro-batch of one process.
        accumulation: micro-batches of a process in a step.
        rank, world: of this process.
        steps: of the run; the length of the dataset.
        bad_sample_limit: samples that may fail (unreadable file, damaged frame) before the run ends; each is replaced
            by another draw for the same sample number.
    """

    def __init__(
        self,
        source: Samples,
        seed: int,
        batch_size: int,
        accumulation: int = 1,
        rank: int = 0,
        world: int = 1,
        steps: int = 2**31 - 1,
        bad_sample_limit: int = 100,
    ) -> None:
        if batch_size < 1 or accumulation < 1 or not 0 <= rank < world:
            raise ValueError(f"batch_size {batch_size}, accumulation {accumulation}, rank {rank} of {world}")
        self.source = source
        self.seed = seed
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.rank = rank
        self.world = world
        self.steps = steps
        self.bad_sample_limit = bad_sample_limit
        self._bad = multiprocessing.Value("q", 0)  # shared, like the next, by the workers of this process
        self._first_error = multiprocessing.Array("c", 2048, lock=False)

    def __len__(self) -> int:
        return self.steps

    @property
    def bad_samples(self) -> int:
        """Samples that failed so far, over all workers of this process."""
        return int(self._bad.value)

    def indices(self, step: int, micro_batch: int) -> np.ndarray:
        """(batch_size,) global sample numbers of this rank's micro-batch."""
        per_step = self.batch_size * self.accumulation * self.world
        first = step * per_step + (micro_batch * self.world + self.rank) * self.batch_size
        return np.arange(first, first + self.batch_size, dtype=np.int64)

    def __getitem__(self, step: int) -> list[Batch]:
        """The `accumulation` micro-batches of this rank in `step`.

        Raises:
            TooManyBadSamplesError: more than `bad_sample_limit` samples failed.
        """
        return [self._batch(step, self.indices(step, m)) for m in range(self.accumulation)]

    def _batch(self, step: int, indices: np.ndarray) -> Batch:
        try:
            return self.source.batch(RandomStreams(self.seed, step, indices))
        except (InputError, OSError) as error:
            _end_the_run(error)
            # One bad sample spoils the whole batch: draw them one at a time to find it.
            return concatenate([self._single(step, index) for index in indices])

    def _single(self, step: int, index: int) -> Batch:
        seed = self.seed
        while True:
            try:
                return self.source.batch(RandomStreams(seed, step, np.array([index])))
            except (InputError, OSError) as error:
                _end_the_run(error)
                with self._bad.get_lock():
                    self._bad.value += 1
                    count = self._bad.value
                    if count == 1:
                        self._first_error.value = str(error).encode(errors="replace")[:2047]
                if count > self.bad_sample_limit:
                    raise TooManyBadSamplesError(
                        f"{self.source.name}: {count} samples could not be read "
                        f"(bad_sample_limit is {self.bad_sample_limit}); the first: "
                        f"{self._first_error.value.decode(errors='replace')}"
                    ) from error
                seed = (seed + _REPLACEMENT) & 0x7FFF_FFFF_FFFF_FFFF


def _end_the_run(error: InputError | OSError) -> None:
    """Nothing for what is one sample's fault; what another sample would meet as well is raised."""
    if isinstance(error, FatalInputError):
        raise error
    if isinstance(error, OSError):
        refuse_limit(error)
