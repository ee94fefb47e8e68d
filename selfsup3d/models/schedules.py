"""Values that change over a run: pure functions of progress in [0, 1] that reach their stated ends.

The loop hands out `progress = step / steps`, so a schedule never depends on the number of steps: a run of 100 steps
passes through the same curve as one of 100,000. Progress outside [0, 1] is clamped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["constant", "cosine", "cyclical", "exponential", "linear", "piecewise", "warmup"]


def _clamp(progress: float) -> float:
    return min(max(progress, 0.0), 1.0)


def constant(progress: float, value: float = 1.0) -> float:
    """`value`, always."""
    return value


def warmup(progress: float, length: float, maximum: float = 1.0) -> float:
    """From 0 to `maximum` in a straight line over the first `length` of the run, then `maximum`; length 0 = at once."""
    return maximum if length <= 0 else maximum * min(_clamp(progress) / length, 1.0)


def linear(progress: float, start: float, end: float) -> float:
    """A straight line from `start` (progress 0) to `end` (progress 1)."""
    return start + (end - start) * _clamp(progress)


def cosine(progress: float, start: float, end: float) -> float:
    """Half a cosine from `start` to `end` (Loshchilov & Hutter 2017, "SGDR", without restarts)."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * _clamp(progress)))


def exponential(progress: float, start: float, end: float) -> float:
    """Geometric decay (or growth) from `start` to `end`, both positive.

    Raises:
        ValueError: an end is not positive.
    """
    if start <= 0 or end <= 0:
        raise ValueError(f"an exponential schedule needs positive ends, got {start} and {end}")
    return start * (end / start) ** _clamp(progress)


def piecewise(progress: float, milestones: Sequence[float], factor: float, start: float = 1.0) -> float:
    """`start`, multiplied by `factor` at each milestone (fractions of the run) that progress has reached."""
    return start * factor ** sum(_clamp(progress) >= milestone for milestone in milestones)


def cyclical(progress: float, cycles: int = 4, ramp: float = 0.5, maximum: float = 1.0) -> float:
    """`cycles` times: a straight line from 0 to `maximum` over the first `ramp` of the cycle, then held.

    Fu et al. 2019, "Cyclical annealing schedule: a simple approach to mitigating KL vanishing". Progress 1 is the end
    of the last cycle, not the start of another, so that a run ends at its maximum.

    Raises:
        ValueError: no cycle, or a ramp outside (0, 1].
    """
    if cycles < 1 or not 0 < ramp <= 1:
        raise ValueError(f"cyclical schedule: cycles {cycles} must be at least 1, ramp {ramp} in (0, 1]")
    within = 1.0 if _clamp(progress) >= 1.0 else (_clamp(progress) * cycles) % 1.0
    return maximum * min(within / ramp, 1.0)
