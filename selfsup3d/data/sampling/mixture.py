"""One training run on several datasets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from selfsup3d.data.sampling.collate import concatenate
from selfsup3d.data.sampling.dataset import ImageDataset
from selfsup3d.errors import InputError
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams

__all__ = ["Mixture"]


class Mixture:
    """Several datasets as one: each sample's draw chooses its dataset, by the weights.

    A field that one of the chosen datasets lacks is missing from the whole batch; each sample keeps the name of its
    dataset in `meta["dataset"]`.

    Args:
        sources: of one image size, with different names.
        weights: share of each, not necessarily summing to 1; None = by number of frames.

    Raises:
        InputError: different image sizes, repeated names, or weights that are not positive.
    """

    def __init__(
        self, sources: Sequence[ImageDataset], weights: Sequence[float] | None = None, name: str = "mixture"
    ) -> None:
        self.sources = tuple(sources)
        self.name = name
        if not self.sources:
            raise InputError("a mixture needs at least one dataset")
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise InputError(f"datasets of a mixture need different names, got {', '.join(names)}")
        sizes = {source.name: source.image_size for source in self.sources}
        if len(set(sizes.values())) > 1:
            raise InputError(f"datasets of a mixture need one image size, got {sizes}")
        share = np.asarray(weights if weights is not None else [len(s) for s in self.sources], dtype=np.float64)
        if share.shape != (len(self.sources),) or not (np.isfinite(share) & (share > 0)).all():
            raise InputError(f"a mixture needs one positive weight for each of {', '.join(names)}, got {weights}")
        self.image_size = self.sources[0].image_size
        self.weights = share / share.sum()
        self._ends = np.cumsum([len(source) for source in self.sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, streams: RandomStreams) -> Batch:
        """One sample for each draw."""
        chosen = np.searchsorted(np.cumsum(self.weights), streams.uniform(), side="right")
        chosen = np.minimum(chosen, len(self.sources) - 1)
        groups = [np.flatnonzero(chosen == s) for s in range(len(self.sources))]
        parts = [self.sources[s].batch(streams.select(rows)) for s, rows in enumerate(groups) if len(rows)]
        return _in_order(parts, groups)

    def frames(self, indices: np.ndarray) -> Batch:
        """Evaluation frames, numbered through the datasets in their order."""
        indices = np.asarray(indices, dtype=np.int64)
        chosen = np.searchsorted(self._ends, indices, side="right")
        starts = self._ends - np.diff(self._ends, prepend=0)
        groups = [np.flatnonzero(chosen == s) for s in range(len(self.sources))]
        parts = [self.sources[s].frames(indices[rows] - starts[s]) for s, rows in enumerate(groups) if len(rows)]
        return _in_order(parts, groups)


def _in_order(parts: Sequence[Batch], groups: Sequence[np.ndarray]) -> Batch:
    """The batch of `parts`, each sample put back to its row."""
    rows = np.concatenate([group for group in groups if len(group)])
    return concatenate(parts)[torch.from_numpy(np.argsort(rows))]
