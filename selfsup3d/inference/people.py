"""Who is who from frame to frame: people with 2D keypoints joined into one track each.

Ids that a file or detector gives are used. Without them, people are matched to where their tracks should be by now:
joint distance in units of the body, box overlap, and a steady motion. A jump larger than a body is refused; then that
frame is left out of the track instead of handing it to a bystander.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

__all__ = ["Person", "PersonTrack", "Tracker", "box_of", "main_track", "track_people"]

_REACH = 1.0  # bodies that a person may move between two frames
_DRIFT = 0.1  # bodies a frame that they may move besides, while they are out of sight
_FARTHEST = 2.0  # bodies that they may move in all: who comes in elsewhere is somebody else
_PATIENCE = 150  # frames out of sight after which a track without an id ends, where times are not known
_STEADY = 10  # frames over which a motion is continued while nobody sees it
_OVERLAP = 0.5  # weight of the box overlap beside the joint distance
_SIZES = 2.0  # two bodies that differ by more than this factor are two people


@dataclass(frozen=True)
class Person:
    """One person in one frame.

    Attributes:
        joints: (F, 2) px. confidence: (F,), 0 = missing.
        box: (4,) x, y, width, height, px; None = that of the joints.
        id: given by a file or a detector; None = unknown.
        mask: (H, W) uint8 of the image, 255 = surely this person; None = the detector makes none.
    """

    joints: np.ndarray
    confidence: np.ndarray
    box: np.ndarray | None = None
    id: str | None = None
    mask: np.ndarray | None = None

    @property
    def certainty(self) -> float:
        """Sum of the confidences: many joints, surely seen."""
        return float(self.confidence.sum())


def box_of(person: Person) -> np.ndarray:
    """(4,) x, y, width, height of a person, px."""
    if person.box is not None:
        return person.box
    seen = person.joints[person.confidence > 0]
    low, high = seen.min(0), seen.max(0)
    return np.concatenate([low, high - low])


@dataclass
class PersonTrack:
    """One person over time.

    Attributes:
        id: its name. frames: numbers, increasing. people: one a frame.
    """

    id: str
    frames: list[int] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def weight(self) -> float:
        """How much of the person was seen: the sum of certainties."""
        return sum(person.certainty for person in self.people)

    def predicted(self, number: int) -> Person:
        """The last person, moved on steadily to a frame."""
        last = self.people[-1]
        if len(self) < 2:
            return last
        before = max(0, len(self) - 4)
        common = (self.people[before].confidence > 0) & (last.confidence > 0)
        if not common.any():
            return last
        step = (last.joints - self.people[before].joints)[common].mean(0) / (self.frames[-1] - self.frames[before])
        shift = step * min(number - self.frames[-1], _STEADY)
        box = None if last.box is None else last.box + np.concatenate([shift, [0.0, 0.0]])
        return replace(last, joints=last.joints + shift, box=box)


class Tracker:
    """Gives every person of every frame a track; frames come in order.

    Attributes:
        tracks: everybody's, in order of appearance. duplicates: people that repeat another's id in their frame.
        patience: frames out of sight after which a track without an id ends; whoever comes then is somebody else.
    """

    def __init__(self, patience: int = _PATIENCE) -> None:
        self.patience = patience
        self.tracks: list[PersonTrack] = []
        self.duplicates = 0
        self._named: dict[str, PersonTrack] = {}
        self._count = 0

    def update(self, number: int, people: Sequence[Person]) -> list[str]:
        """The track ids of the people of a frame, in their order; "" for one that repeats another's id."""
        ids = [""] * len(people)
        for k in sorted(range(len(people)), key=lambda k: -people[k].certainty):
            name = people[k].id
            if name is None:
                continue
            track = self._named.get(name) or self._begin(name)
            self._named[name] = track
            if track.frames and track.frames[-1] == number:
                self.duplicates += 1
                continue
            self._add(track, number, people[k])
            ids[k] = track.id
        nameless = [k for k, person in enumerate(people) if person.id is None]
        for k, track in self._matched(number, people, nameless):
            self._add(track, number, people[k])
            ids[k] = track.id
        for k in nameless:
            if not ids[k]:
                track = self._begin(None)
                self._add(track, number, people[k])
                ids[k] = track.id
        return ids

    def _matched(self, number: int, people: Sequence[Person], nameless: Iterable[int]) -> list[tuple[int, PersonTrack]]:
        """Best pairs first; each person and each track once."""
        named = {id(track) for track in self._named.values()}
        alive = [
            track for track in self.tracks if id(track) not in named and 0 < number - track.frames[-1] <= self.patience
        ]
        pairs = []
        for t, track in enumerate(alive):
            expected, gap = track.predicted(number), number - track.frames[-1]
            for k in nameless:
                cost = _cost(expected, people[k], min(_REACH + _DRIFT * (gap - 1), _FARTHEST))
                if cost is not None:
                    pairs.append((cost, t, k))
        found, used, taken = [], set(), set()
        for _, t, k in sorted(pairs):
            if t not in used and k not in taken:
                used.add(t)
                taken.add(k)
                found.append((k, alive[t]))
        return found

    def _begin(self, name: str | None) -> PersonTrack:
        while name is None or any(track.id == name for track in self.tracks):
            name, self._count = str(self._count), self._count + 1
        self.tracks.append(PersonTrack(name))
        return self.tracks[-1]

    @staticmethod
    def _add(track: PersonTrack, number: int, person: Person) -> None:
        track.frames.append(number)
        track.people.append(person)


def _cost(expected: Person, person: Person, reach: float) -> float | None:
    """How unlike two people are; None = they cannot be one."""
    a, b = box_of(expected), box_of(person)
    body = max(float(a[2:].max()), float(b[2:].max()), 1.0)
    both = (expected.confidence > 0) & (person.confidence > 0)
    if both.sum() > 3:  # of the joints that both show, since people behind things show few
        spans = [float(np.ptp(one.joints[both], axis=0).max()) for one in (expected, person)]
        if max(spans) > _SIZES * min(spans) + 0.2 * body:
            return None
    middles = np.linalg.norm((a[:2] + 0.5 * a[2:]) - (b[:2] + 0.5 * b[2:]))
    away = np.linalg.norm(expected.joints - person.joints, axis=-1)[both].mean() if both.any() else middles
    if away > reach * body:
        return None
    return float(away / body + _OVERLAP * (1.0 - _overlap(a, b)))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes x, y, width, height."""
    sides = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0.0)))
    return shared / max(float(np.prod(a[2:]) + np.prod(b[2:])) - shared, 1e-9)


def track_people(frames: Iterable[tuple[int, Sequence[Person]]]) -> Tracker:
    """A tracker that has seen frames (number, people), numbers increasing."""
    tracker = Tracker()
    for number, people in frames:
        tracker.update(number, people)
    return tracker


def main_track(tracks: Sequence[PersonTrack]) -> PersonTrack:
    """The person of whom most was seen."""
    return max(tracks, key=lambda track: track.weight)
