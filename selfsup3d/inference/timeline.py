"""One clock for everything that is written: a record's own times, and a steady rate where a format wants one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.inference.records import PoseRecord

__all__ = ["MAX_GAP", "USUAL_FPS", "SteadyMotion", "steady_motion", "with_times"]

USUAL_FPS = 12.0
"""Frames per second of what has no rate of its own."""

MAX_GAP = 0.5
"""Seconds without the person over which files of animation interpolate; over longer gaps they hold the last pose."""

_FASTEST = 120.0  # frames per second that a varying rate is resampled to, at most
_LONGEST = 200_000  # frames of an animation


@dataclass(frozen=True)
class SteadyMotion:
    """Poses at a constant rate.

    Attributes:
        joints: (N, 17, 3) metres, camera axes, the pelvis moving where it is known.
        seen: (N,) False where the last pose is held over a long gap.
        fps: frames per second. start: seconds of the first one since frame 0 of the source.
        notes: what was assumed, resampled, interpolated or held, as lines.
    """

    joints: np.ndarray
    seen: np.ndarray
    fps: float
    start: float
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.joints)


def with_times(record: PoseRecord, fps: float | None) -> tuple[np.ndarray, float, list[str]]:
    """(T,) seconds of a record's poses, their usual rate, and a line where it is assumed.

    Args:
        record: its own times are used where it has them. fps: of the source, where the person states it.
    """
    if np.isfinite(record.times).all():
        return record.times, record.fps, []
    rate = fps or record.fps or USUAL_FPS
    notes = [] if fps or record.fps else [f"the source has no frame rate: {rate:g} frames/s are assumed (--fps)"]
    return record.frames / rate, rate, notes


def steady_motion(record: PoseRecord, fps: float | None = None, max_gap: float = MAX_GAP) -> SteadyMotion:
    """A record's motion at a constant rate, from its first pose to its last.

    Args:
        record: of one person. fps: of a source without a rate. max_gap: seconds.

    Raises:
        InputError: the frames lie too far apart for an animation.
    """
    times, _, notes = with_times(record, fps)
    joints = record.world()
    if len(record) == 1:
        return SteadyMotion(joints, np.ones(1, bool), record.fps or fps or USUAL_FPS, float(times[0]), tuple(notes))
    steps = np.diff(times)
    places, rate = _even_places(record, times)
    even = places is not None
    if places is None:
        rate = min(1.0 / max(float(np.percentile(steps, 10)), 1e-6), _FASTEST)
        notes.append(
            f"times vary ({1000 * steps.min():.0f} to {1000 * steps.max():.0f} ms a frame): animations, TRC, C3D and CSV "
            f"are resampled to {rate:.5g} frames/s; npz and JSON keep the true times"
        )
        places = (times - times[0]) * rate
    count = round(float(places[-1])) + 1
    if count > max(_LONGEST, 20 * len(record)):
        raise InputError(f"{record.source}: {len(record)} poses spread over {count:,} frames make no animation")
    grid = np.arange(count, dtype=np.float64)
    after = np.searchsorted(places, grid).clip(0, len(places) - 1)
    exact = np.abs(places[after] - grid) < 1e-6
    before = np.where(exact, after, np.maximum(after - 1, 0))
    gap = (times[after] - times[before]) * ~exact
    long = gap > max(max_gap, 1.5 / rate)
    share = np.where(exact | long, 0.0, (grid - places[before]) / np.maximum(places[after] - places[before], 1e-9))
    moved = (1.0 - share)[:, None, None] * joints[before] + share[:, None, None] * joints[after]
    notes += _gap_notes(record, even, exact, long, max_gap)
    return SteadyMotion(moved, ~long, rate, float(times[0]), tuple(notes))


def _even_places(record: PoseRecord, times: np.ndarray) -> tuple[np.ndarray | None, float]:
    """(T,) whole steps of each pose and the steps a second, where times go by frame numbers; None where they vary."""
    numbers = (record.frames - record.frames[0]).astype(np.float64)
    slope = float((numbers * (times - times[0])).sum() / np.square(numbers).sum())  # seconds a frame
    if not slope > 0:
        return None, 0.0
    step = int(np.gcd.reduce(np.diff(record.frames)))
    if record.fps and record.fps * slope * step > 1.5:  # all that is there is far apart: gaps, not a lower rate
        step = max(round(1.0 / (record.fps * slope)), 1)
    straight = np.abs(times - times[0] - slope * numbers).max() < 0.25 * slope * step
    places: np.ndarray = np.rint(numbers / step)
    return (places, 1.0 / (slope * step)) if straight else (None, 0.0)


def _gap_notes(record: PoseRecord, even: bool, exact: np.ndarray, long: np.ndarray, max_gap: float) -> list[str]:
    notes = []
    filled = int((~exact & ~long).sum()) if even else 0
    if filled:
        notes.append(f"{filled} frames in gaps of up to {max_gap:g} s are interpolated in animations, TRC, C3D and CSV")
    if long.any():
        wide = list(itertools.pairwise(record.frames.tolist()))
        usual = int(np.median(np.diff(record.frames)))
        gaps = [f"{a + usual}-{b - 1}" for a, b in wide if b - a > usual]
        longest = sorted(gaps, key=lambda text: -int(text.split("-")[1]) + int(text.split("-")[0]))[:3]
        notes.append(
            f"nobody is seen in frames {', '.join(longest)}{' ...' if len(gaps) > 3 else ''}: gaps longer than "
            f"{max_gap:g} s hold the last pose in animations, and are blank in TRC, C3D and CSV"
        )
    return notes
