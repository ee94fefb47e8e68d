"""A tracked person cut out of a streaming video: square crops, their saliency and their background."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from selfsup3d.config.choices import SaliencyMethod
from selfsup3d.data.saliency.saliency import Saliency, video_saliency

__all__ = ["Cutter", "Dropped", "Job", "PersonClip"]

_REGION_BYTES = 400 * 2**20  # of one track's still region; larger ones are cut window by window


@dataclass(frozen=True)
class PersonClip:
    """One person's crops.

    Attributes:
        frames: (T, S, S, 3) uint8 RGB.
        saliency: of these frames.
        boxes: (T, 4) x, y, width, height of the crops in the source, pixels.
        numbers: (T,) of the frames in the source.
        fps: of the frames before any were dropped.
        person: name from a box file.
        statistics: seconds, frames that were dropped and why, sizes, movement.
    """

    frames: np.ndarray
    saliency: Saliency
    boxes: np.ndarray
    numbers: np.ndarray
    fps: float
    person: str | None = None
    statistics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dropped:
    """A stretch of video that gave no clip.

    Attributes:
        reason: in words.
        first, last: numbers of its frames in the source.
    """

    reason: str
    first: int
    last: int


@dataclass(frozen=True)
class Job:
    """A track to cut out of a segment.

    Attributes:
        first: its first frame in the segment.
        windows: (T, 3) x, y, side in source pixels.
        keep: which of the T frames.
        people: (T, 4) boxes in source pixels, outside of which nobody is salient; None = the whole window.
        empty: frames of the segment in which nobody is anywhere near the windows.
        stretches: (T,) number of the stretch of movement that a frame belongs to, counted over long standstills; None =
            one person throughout, whatever stands still.
        person, statistics: see `PersonClip`.
    """

    first: int
    windows: np.ndarray
    keep: np.ndarray
    people: np.ndarray | None
    empty: np.ndarray
    stretches: np.ndarray | None
    person: str | None
    statistics: dict[str, Any]


class Cutter:
    """Collects one track's pixels while the video streams by.

    Before a still camera it keeps the whole region that the windows travel over, in which a background model sees a
    still image; otherwise each window by itself.
    """

    def __init__(self, job: Job, work: int, still: bool) -> None:
        self.job, self._work = job, work
        low = np.floor(job.windows[:, :2].min(0)).astype(int)
        high = np.ceil((job.windows[:, :2] + job.windows[:, 2:]).max(0)).astype(int)
        self._corner, self._extent = low, high - low
        self._scale = work / float(job.windows[:, 2].mean())
        self._size = np.maximum(np.round(self._extent * self._scale).astype(int), 1)
        moves = bool(job.statistics["crop_moves"])
        self._by_region = still and moves and 3 * int(self._size.prod()) * len(job.keep) < _REGION_BYTES
        self._wanted = set((job.first + job.keep).tolist())
        self._one_view = still and (self._by_region or not moves)
        self._empty_wanted = set(job.empty.tolist()) if self._one_view else set()
        self._images: list[np.ndarray] = []
        self._empty: list[np.ndarray] = []

    def add(self, k: int, frame: np.ndarray) -> None:
        """Frame k of the segment, full size."""
        for wanted, images in ((self._wanted, self._images), (self._empty_wanted, self._empty)):
            if k in wanted:
                images.append(self._view(k, frame))

    def _view(self, k: int, frame: np.ndarray) -> np.ndarray:
        if not self._by_region:
            row = min(max(k - self.job.first, 0), len(self.job.windows) - 1)
            return _window(frame, self.job.windows[row], self._work)
        cut = _cut(frame, *self._corner, *self._extent)
        interpolation = cv2.INTER_AREA if self._scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(cut, tuple(self._size.tolist()), interpolation=interpolation)

    def finish(
        self, numbers: np.ndarray, fps: float, method: SaliencyMethod, min_frames: int, weights: str | None = None
    ) -> PersonClip | Dropped:
        """The clip, once every frame was seen.

        Args:
            numbers: (N,) of the segment's frames in the source.
            fps: of the segment.
            method, weights: of the saliency.
            min_frames: with somebody in them, or the track is dropped.
        """
        job = self.job
        windows = job.windows[job.keep]
        images = np.stack(self._images)
        empty = np.stack(self._empty) if len(self._empty) >= 5 else None
        found = video_saliency(images, method=method, static_camera=self._one_view, empty=empty, weights=weights)
        saliency, background = found.saliency, found.background
        # Where the windows lie in the images, which are whole regions or the windows themselves.
        origin, scale = (
            (self._corner, self._scale) if self._by_region else (windows[:, :2], self._work / windows[:, 2:])
        )
        if job.people is not None:
            boxes = job.people[job.keep]
            saliency = _only_near(saliency, np.hstack([boxes[:, :2] - origin, boxes[:, 2:]]) * scale)
        if self._by_region:
            local = np.column_stack([(windows[:, :2] - origin) * scale, windows[:, 2] * scale])
            backgrounds = background if background.ndim == 4 else [background] * len(local)
            images, saliency, background = (
                np.stack([_window(p, w, self._work) for p, w in zip(stack, local, strict=True)])
                for stack in (images, saliency, backgrounds)
            )
        covered = (saliency > 127).mean((1, 2))
        seen = covered > max(0.01, 0.3 * float(np.median(covered)))  # whoever is half out of the image is dropped
        numbers = numbers[job.first + job.keep]
        if job.people is None:
            seen[:] = True  # a clip that somebody cut already is taken as it is
        elif seen.sum() < min_frames:
            return Dropped("empty: nobody stands out in the crop", int(numbers[0]), int(numbers[-1]))
        saliency, background = saliency[seen], background[seen] if background.ndim == 4 else background
        return PersonClip(
            frames=images[seen],
            saliency=Saliency(saliency, background, found.method, self._one_view, float((saliency > 127).mean())),
            boxes=np.column_stack([windows, windows[:, 2]])[seen],
            numbers=numbers[seen],
            fps=fps,
            person=job.person,
            statistics={**job.statistics, "empty_frames_dropped": int((~seen).sum())},
        )


def _only_near(saliency: np.ndarray, boxes: np.ndarray, grow: float = 0.2) -> np.ndarray:
    """Saliency (T, H, W) set to 0 outside of the boxes (T, 4), grown by a share of their size: others may walk by."""
    out = np.zeros_like(saliency)
    for mask, kept, (x, y, width, height) in zip(saliency, out, boxes, strict=True):
        left, top = max(int(x - grow * width), 0), max(int(y - grow * height), 0)
        part = np.s_[top : max(int(y + (1 + grow) * height) + 1, 0), left : max(int(x + (1 + grow) * width) + 1, 0)]
        kept[part] = mask[part]
    return out


def _cut(frame: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """A window of a frame; outside of the image its edge goes on."""
    rows, columns = frame.shape[:2]
    inside = frame[max(y, 0) : min(y + height, rows), max(x, 0) : min(x + width, columns)]
    pads = (max(-y, 0), max(y + height - rows, 0), max(-x, 0), max(x + width - columns, 0))
    if not any(pads):
        return inside
    if inside.size == 0:
        return np.zeros((height, width, *frame.shape[2:]), dtype=frame.dtype)
    return cv2.copyMakeBorder(inside, *pads, borderType=cv2.BORDER_REPLICATE)


def _window(frame: np.ndarray, window: np.ndarray, size: int) -> np.ndarray:
    """(size, size, ...) of a square window x, y, side, to the nearest pixel."""
    side = max(round(float(window[2])), 1)
    cut = _cut(frame, round(float(window[0])), round(float(window[1])), side, side)
    return cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
