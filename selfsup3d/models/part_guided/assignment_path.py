"""Left and right over time: the likeliest path of a video through the four left/right assignments (Viterbi 1967).

A person's arms do not change places between two frames. Each frame has a pose for each assignment and their
probabilities (`averaging`); a step from one frame's pose to the next one's costs what its joints move beyond the nearest of
the next frame's poses **[ours]**: people move, and an assignment whose poses happen to move less is no likelier for it. A
single frame that reads left and right the other way round is outvoted by its neighbours.
"""

from __future__ import annotations

import numpy as np

__all__ = ["AssignmentPath", "best_path", "movement_cost"]

WEIGHT = 100.0
"""Nats per metre that joints move on average: a whole-body exchange of 0.25 m costs as much as logits of 25 in one frame
or of 2.5 in ten [ours]. Logits on real frames are surer than they are right, and alike wrong in frames in a row. Rendered people,
whose logits hold, would have less."""

_RESET = 3
"""A gap of more frames than this (nobody found, a cut) starts afresh."""


def movement_cost(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(..., A, B) nats for going from poses (..., A, 17, 3) to (..., B, 17, 3): mean joint distance, root-relative, beyond
    that to the nearest of the B."""
    first, second = (p - p[..., :1, :] for p in (before, after))
    moved = np.linalg.norm(first[..., :, None, :, :] - second[..., None, :, :, :], axis=-1).mean(-1)
    return WEIGHT * (moved - moved.min(-1, keepdims=True))


def best_path(log_probability: np.ndarray, steps: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """(T,) indices that maximise the sum of log-probabilities (T, A) less the costs of steps (T - 1, A, A).

    Args:
        start: (A,) cost of each first index; None = 0.
    """
    count = len(log_probability)
    best = log_probability[0] - (0.0 if start is None else start)
    came = np.zeros(log_probability.shape, np.int64)
    for t in range(1, count):
        through = best[:, None] - steps[t - 1]
        came[t] = through.argmax(0)
        best = through.max(0) + log_probability[t]
    path = np.empty(count, np.int64)
    path[-1] = best.argmax()
    for t in range(count - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return path


class AssignmentPath:
    """The path while frames stream by: a frame is decided once `lag` frames after it have been seen, or at the end.

    Frames that were decided stay so, and what follows starts from them; memory stays flat.
    """

    def __init__(self, lag: int = 24) -> None:
        self.lag = lag
        self._numbers: list[int] = []
        self._logs: list[np.ndarray] = []
        self._poses: list[np.ndarray] = []
        self._last: tuple[int, np.ndarray] | None = None

    def add(self, number: int, log_probability: np.ndarray, poses: np.ndarray) -> None:
        """A frame's number, log-probabilities (A,) and poses (A, 17, 3), metres, in order."""
        self._numbers.append(number)
        self._logs.append(np.asarray(log_probability, np.float64))
        self._poses.append(np.asarray(poses, np.float64))

    def decided(self, final: bool = False) -> list[int]:
        """Indices of the oldest frames that can be decided now, in order; all of them where it is the end."""
        ready = len(self._logs) if final else len(self._logs) - self.lag
        if ready <= 0:
            return []
        poses = np.stack(self._poses)
        steps = movement_cost(poses[:-1], poses[1:])
        for t, gap in enumerate(np.diff(self._numbers)):
            steps[t] = 0.0 if gap > _RESET else steps[t] / gap
        start = None
        if self._last is not None and self._numbers[0] - self._last[0] <= _RESET:
            start = movement_cost(self._last[1][None], poses[0])[0] / (self._numbers[0] - self._last[0])
        path = best_path(np.stack(self._logs), steps, start)[:ready].tolist()
        self._last = (self._numbers[ready - 1], self._poses[ready - 1][path[-1]])
        del self._numbers[:ready], self._logs[:ready], self._poses[:ready]
        return path
