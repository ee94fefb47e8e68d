"""Which rows of an index are drawn for training, and what a sample says of itself."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from selfsup3d.data.datasets.frame_index import FrameIndex
from selfsup3d.structures.random import RandomStreams

__all__ = ["Balance", "RowDraws", "meta_of"]

"""2D joints from the ground truth, or a dataset's detections."""

Balance = Literal["person", "take", "frame"]
"""What training samples are drawn evenly over first."""


class RowDraws:
    """RandomStreams rows: groups alike, then the frames of a group alike."""

    def __init__(self, index: FrameIndex, balance: Balance) -> None:
        people = np.unique([t.person for t in index.takes], return_inverse=True)[1]
        of_row = {"person": people[index.take], "take": index.take, "frame": np.zeros(len(index), int)}[balance]
        self._draw = _Groups(of_row)
        self._person = people[index.take]
        self._of_person = _Groups(self._person)

    def target(self, streams: RandomStreams) -> np.ndarray:
        """(B,) rows."""
        return self._draw.draw(streams, streams.integers(len(self._draw)))

    def of_same_person(self, streams: RandomStreams, rows: np.ndarray) -> np.ndarray:
        """(B,) rows of the persons in `rows`."""
        return self._of_person.draw(streams, self._person[rows])


class _Groups:
    """Rows sorted by group; group g owns order[start[g] : start[g] + count[g]]."""

    def __init__(self, group: np.ndarray) -> None:
        self._order = np.argsort(group, kind="stable")
        _, self._start, self._count = np.unique(group[self._order], return_index=True, return_counts=True)

    def __len__(self) -> int:
        return len(self._start)

    def draw(self, streams: RandomStreams, group: np.ndarray) -> np.ndarray:
        return self._order[self._start[group] + streams.integers(self._count[group])]


def meta_of(index: FrameIndex, rows: np.ndarray) -> tuple[dict[str, Any], ...]:
    """`Batch.meta` of rows: dataset, person, subject, action, file (the take's name), frame."""
    takes = [index.takes[t] for t in index.take[rows]]
    return tuple(
        {
            "dataset": index.dataset,
            "person": take.person,
            "subject": take.subject,
            "action": take.action,
            "file": take.name,
            "frame": int(frame),
        }
        for take, frame in zip(takes, index.frame[rows], strict=True)
    )
