"""People with keypoints through a whole video: decoding runs ahead in a thread while the detector works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import numpy as np

from selfsup3d.inference.clock import Clock
from selfsup3d.inference.detectors.protocol import DetectorFailedError, PoseDetector
from selfsup3d.inference.keypoint_files import KeypointSequence, sequence_of
from selfsup3d.inference.people import Person, Tracker
from selfsup3d.inference.windows import Windows
from selfsup3d.io.crops import squares_of_boxes
from selfsup3d.io.video import VideoFrame

__all__ = ["Detected", "ahead", "detect_people", "windows_of_detector"]

Item = TypeVar("Item")

_AHEAD = 8  # frames that are decoded before they are asked for
_OUT_OF_SIGHT = 2.0  # seconds after which whoever comes is somebody else
_LEAST = 8  # frames of a track that counts, where a longer one is there


def ahead(items: Iterable[Item], count: int = _AHEAD) -> Iterator[Item]:
    """The same items, produced by a thread that runs ahead by up to `count` of them; errors come out where they arise."""
    waiting: queue.Queue[tuple[bool, object]] = queue.Queue(count)
    stop = threading.Event()

    def put(done: bool, value: object) -> None:
        while not stop.is_set():
            try:
                waiting.put((done, value), timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                put(False, item)
                if stop.is_set():
                    return
            put(True, None)
        except BaseException as error:
            put(True, error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            done, value = waiting.get()
            if done:
                if isinstance(value, BaseException):
                    raise value
                return
            yield cast(Item, value)
    finally:
        stop.set()
        thread.join()


@dataclass
class Detected:
    """What a detector found in a video.

    Attributes:
        tracker: all people. times: seconds by frame number. size: (width, height) of the frames, px.
        skeleton: of the joints. failure: why the detector stopped early.
    """

    tracker: Tracker = field(default_factory=Tracker)
    times: dict[int, float] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    skeleton: str = ""
    failure: DetectorFailedError | None = None

    def sequences(self) -> tuple[list[KeypointSequence], int]:
        """Keypoints of everybody who is there for some time, the one of whom most is seen first; and how many others
        there are."""
        tracks = sorted(self.tracker.tracks, key=lambda track: -track.weight)
        least = min(_LEAST, max((len(track) for track in tracks), default=0))
        kept = [track for track in tracks if len(track) >= least]
        found = [sequence_of(track, self.skeleton, self.size, "detector") for track in kept]
        people = [sequence for sequence in found if sequence is not None]
        return people, len(tracks) - len(people)


def detect_people(frames: Iterable[VideoFrame], detector: PoseDetector, clock: Clock, least: float = 0.2) -> Detected:
    """Run a detector over frames; if it dies, what it found until then is kept.

    Args:
        frames: in order. clock: counts waiting for frames and detecting. least: confidence below which a joint is
            missing: detectors guess joints that lie outside the image.
    """
    found = Detected(skeleton=detector.skeleton)
    before: tuple[int, float] | None = None
    for frame in clock.watch("read", ahead(frames)):
        if before is not None and frame.time > before[1]:
            step = frame.number - before[0]
            found.tracker.patience = max(step, round(_OUT_OF_SIGHT * step / (frame.time - before[1])))
        before = (frame.number, frame.time)
        with clock.stage("detect"):
            try:
                people = detector.detect(frame.image, frame.time)
            except DetectorFailedError as error:
                found.failure = error
                break
            sure = [replace(p, confidence=np.where(p.confidence < least, 0.0, p.confidence)) for p in people]
            found.tracker.update(frame.number, [person for person in sure if (person.confidence > 0).any()])
        found.times[frame.number] = frame.time
        found.size = (frame.image.shape[1], frame.image.shape[0])
    found.skeleton = detector.skeleton
    return found


def windows_of_detector(detector: PoseDetector) -> Windows:
    """Windows for systems that take images: of the person who is first found most surely, followed from there."""
    tracker = Tracker()
    chosen: list[str] = []

    def window(number: int, image: np.ndarray) -> np.ndarray | None:
        people = detector.detect(image, np.nan)
        ids = tracker.update(number, people)
        if not chosen and people:
            chosen.append(ids[max(range(len(people)), key=lambda k: people[k].certainty)])
        mine = next((person for person, name in zip(people, ids, strict=True) if name in chosen), None)
        return None if mine is None else _window(mine)

    return window


def _window(person: Person) -> np.ndarray:
    seen = person.joints[person.confidence > 0.2]
    points = seen if len(seen) else person.joints
    low, high = points.min(0), points.max(0)
    box = person.box if person.box is not None else np.concatenate([low, high - low])
    window: np.ndarray = np.rint(squares_of_boxes(box[None], 1.35)[0]).astype(int)
    return window
