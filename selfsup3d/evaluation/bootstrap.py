"""Is a difference real? A paired bootstrap that resamples people, not frames.

Frames of one person are alike, so resampling frames would make any difference look certain. People are drawn with
replacement, each with all of their frames (a cluster bootstrap: Efron & Tibshirani 1993, ch. 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfsup3d.errors import InputError

__all__ = ["Interval", "compare_frames", "paired_bootstrap"]


@dataclass(frozen=True)
class Interval:
    """A difference of two means and the interval that holds it.

    Attributes:
        difference: mean of b minus mean of a over the frames that both have.
        low, high: ends of the interval at `level`.
        level: e.g. 0.95.
        people: how many were resampled.
        frames: how many frames were compared.
    """

    difference: float
    low: float
    high: float
    level: float
    people: int
    frames: int

    @property
    def significant(self) -> bool:
        """The interval does not hold 0."""
        return self.low > 0.0 or self.high < 0.0


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    people: Sequence[str] | np.ndarray,
    *,
    level: float = 0.95,
    rounds: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Interval of mean(b) - mean(a) for two results on the same frames (percentile bootstrap over people).

    Args:
        a, b: (N,) per-frame values in any unit; frames where either is NaN are left out of both.
        people: (N,) who is in each frame.
        level: of the interval.
        rounds: resamplings.
        seed: of numpy's Philox, so that the interval is repeatable.

    Raises:
        ValueError: lengths differ, no frame is left, or only one person is there to resample.
    """
    a, b, people = np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(people)
    if not a.shape == b.shape == people.shape or a.ndim != 1:
        raise ValueError(f"a, b and people must be of one length, got {a.shape}, {b.shape}, {people.shape}")
    both = np.isfinite(a) & np.isfinite(b)
    names, owner = np.unique(people[both], return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"resampling people needs at least 2 of them, these frames have {len(names)}")
    sums = np.bincount(owner, weights=(b - a)[both])  # (people,)
    counts = np.bincount(owner).astype(np.float64)
    random = np.random.Generator(np.random.Philox(key=[seed, 0]))
    drawn = random.integers(len(names), size=(rounds, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high), level, len(names), int(both.sum()))


def compare_frames(
    a: Mapping[str, np.ndarray],
    b: Mapping[str, np.ndarray],
    metrics: Sequence[str] = ("mpjpe", "pa_mpjpe", "pck_150", "psnr_transfer"),
) -> dict[str, Interval]:
    """Paired intervals of b minus a, over the frames that both measured.

    Args:
        a, b: per-frame values as of `evaluator.evaluate_frames`.
        metrics: those that both have are compared.

    Raises:
        InputError: no frame in common, other people in them (so another dataset or split), or only one person.
    """
    shared, in_a, in_b = np.intersect1d(a["index"], b["index"], return_indices=True)
    if len(shared) == 0 or "person" not in a or "person" not in b:
        raise InputError("nothing to compare: the results share no frames, or do not say who is in them")
    people = a["person"][in_a]
    if (people != b["person"][in_b]).any():
        raise InputError("nothing to compare: the results are of different people, so of another dataset or split")
    if len(set(people.tolist())) < 2:
        raise InputError("nothing to compare: an interval needs frames of at least 2 people")
    both = [name for name in metrics if name in a and name in b]
    return {name: paired_bootstrap(a[name][in_a], b[name][in_b], people) for name in both}
