"""From a video to clips of one person each: shots, tracks, square crops, saliency; what is dropped is told with why.

The video is read twice, side by side: ahead in small for shots and tracks, behind in full for the crops. Memory is
bounded by a segment (at most `SEGMENT` frames of one shot).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from selfsup3d.config.choices import CropMode, SaliencyMethod
from selfsup3d.data.saliency.background_model import camera_is_still
from selfsup3d.errors import InputError
from selfsup3d.io.video import read_frames, video_info
from selfsup3d.preparation.boxes import find_box_file, read_boxes
from selfsup3d.preparation.cropping import Cutter, Dropped, Job, PersonClip
from selfsup3d.preparation.shots import CutDetector
from selfsup3d.preparation.tracks import Track, find_tracks, follow, is_part_of, motion_energy, square_windows

__all__ = ["CropSettings", "person_clips"]


SEGMENT = 900
"""Frames of one shot that are looked at together: a minute at 15 a second."""

_SMALL = 240  # pixels of the longer side in which people are found


@dataclass(frozen=True)
class CropSettings:
    """How people are cut out of a video.

    Attributes:
        mode: "motion" finds whoever moves before a still camera; "boxes" reads a box file (see `data.boxes`); "whole"
            takes the middle square; "auto": boxes where a file is there, the whole of square images (somebody cut
            them already) and of moving cameras, else motion. "detector" is a pretrained network, see `data.pretrained`.
        work: side in pixels of the crops, at which saliency is found.
        max_fps: frames are skipped down to about this rate.
        max_frames: of one clip; longer ones are thinned out evenly.
        min_frames: of one clip; shorter ones are dropped.
        static_seconds: stretches without movement longer than this are dropped; they end a clip that was found by motion.
        least_upright: height over width below which whatever moves is taken for an animal or a thing.
        method: of the saliency.
        detector, segmenter: weights for mode "detector" and method "network"; None = torch's cache.
        static_camera: None = found from the frames.
    """

    mode: CropMode = "auto"
    work: int = 128
    max_fps: float = 15.0
    max_frames: int = 600
    min_frames: int = 8
    static_seconds: float = 2.0
    least_upright: float = 0.75
    method: SaliencyMethod = "auto"
    static_camera: bool | None = None
    detector: str | None = None
    segmenter: str | None = None


@dataclass(frozen=True)
class _Segment:
    """Frames of one shot, small. `first` counts kept frames; `scale` is small pixels per source pixel."""

    first: int
    small: np.ndarray
    scale: float

    def __len__(self) -> int:
        return len(self.small)


def person_clips(
    path: str | Path, settings: CropSettings, box_file: str | Path | None = None
) -> Iterator[PersonClip | Dropped]:
    """Every person of a video, shot by shot.

    Args:
        path: video, or folder of images.
        box_file: None = the one beside the video, if any.

    Raises:
        InputError: the video or its box file cannot be read, or mode "boxes" without one.
    """
    path = Path(path)
    info = video_info(path)
    every = max(1, round(info.fps / settings.max_fps)) if info.fps else 1
    fps = (info.fps or 10.0) / every
    file = Path(box_file) if box_file is not None else find_box_file(path)
    if settings.mode == "boxes" and file is None:
        raise InputError(f"{path}: crop mode 'boxes' needs {path.stem}.boxes.json or .csv beside it (see data.boxes)")
    given = None
    if file is not None and settings.mode in ("auto", "boxes"):
        given = [_thinned(track, every) for track in read_boxes(file)]
    behind = read_frames(path, every=every)
    for segment in _segments(read_frames(path, every=every)):
        jobs = _jobs(segment, given, fps, settings)
        still = camera_is_still(segment.small) if settings.static_camera is None else settings.static_camera
        cuts = [Cutter(job, settings.work, still) for job in jobs if isinstance(job, Job)]
        for k in range(len(segment)):
            frame = next(behind)
            for cut in cuts:
                cut.add(k, frame)
        numbers = (segment.first + np.arange(len(segment))) * every
        for job in jobs:
            if isinstance(job, Dropped):
                yield Dropped(job.reason, int(numbers[job.first]), int(numbers[job.last]))
        for cut in cuts:
            found = cut.finish(numbers, fps, settings.method, settings.min_frames, settings.segmenter)
            yield from [found] if isinstance(found, Dropped) else _one_person_each(found, cut.job, numbers, settings)


def _one_person_each(
    clip: PersonClip, job: Job, numbers: np.ndarray, settings: CropSettings
) -> Iterator[PersonClip | Dropped]:
    """The stretches of movement of a clip, each for itself: during a long standstill people may leave and others come
    to the same place, and a standing thing (an opened door) keeps the track alive between them [ours]."""
    if job.stretches is None:
        yield clip
        return
    of_frame = job.stretches[np.searchsorted(numbers, clip.numbers) - job.first]
    for stretch in np.unique(of_frame):
        mine = np.flatnonzero(of_frame == stretch)
        if len(mine) < settings.min_frames:
            first, last = clip.numbers[mine[[0, -1]]].tolist()
            yield Dropped(f"too short: {len(mine)} frames between standstills", first, last)
            continue
        found = clip.saliency
        masks, background = (
            found.saliency[mine],
            found.background[mine] if found.background.ndim == 4 else found.background,
        )
        yield replace(
            clip,
            frames=clip.frames[mine],
            saliency=replace(found, saliency=masks, background=background, coverage=float((masks > 127).mean())),
            boxes=clip.boxes[mine],
            numbers=clip.numbers[mine],
        )


def _thinned(track: Track, every: int) -> Track:
    """A track in source frames, in kept frames."""
    kept = np.arange(-(-track.first // every), (track.first + len(track) - 1) // every + 1)
    return Track(int(kept[0]) if len(kept) else 0, track.boxes[kept * every - track.first], track.person)


def _segments(frames: Iterator[np.ndarray]) -> Iterator[_Segment]:
    detector = CutDetector()
    first = 0
    small: list[np.ndarray] = []
    scale = 1.0
    for frame in frames:
        scale = min(1.0, _SMALL / max(frame.shape[:2]))
        size = (max(round(frame.shape[1] * scale), 1), max(round(frame.shape[0] * scale), 1))
        reduced = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        if small and (detector.is_cut(reduced) or len(small) == SEGMENT):
            yield _Segment(first, np.stack(small), scale)
            first, small = first + len(small), []
        elif not small:
            detector.is_cut(reduced)
        small.append(reduced)
    if small:
        yield _Segment(first, np.stack(small), scale)


# --------------------------------------------------------------------------------------------------------------------
# What to cut
# --------------------------------------------------------------------------------------------------------------------


def _jobs(segment: _Segment, given: Sequence[Track] | None, fps: float, settings: CropSettings) -> list[Job | Dropped]:
    """Tracks of a segment, and what of it is dropped."""
    height, width = segment.small.shape[1:3]
    cut_already = settings.mode == "whole" or (settings.mode == "auto" and given is None and height == width)
    whole = cut_already
    if len(segment) < settings.min_frames:
        return [Dropped(f"too short: a shot of {len(segment)} frames", 0, len(segment) - 1)]
    if given is None and settings.mode in ("auto", "motion") and not whole and not camera_is_still(segment.small):
        if settings.mode == "motion":
            return [Dropped("the camera moves: give a box file, or crop mode 'whole'", 0, len(segment) - 1)]
        whole = True
    if whole:
        side = min(height, width)
        box = np.array([(width - side) / 2, (height - side) / 2, side, side])
        return [_whole_job(segment, Track(0, np.tile(box, (len(segment), 1))), fps, settings, cut_already)]
    if given is not None:
        tracks = [part for track in given if (part := _within(track, segment)) is not None]
    elif settings.mode == "detector":
        found = _detected(segment.small, settings.detector)
        tracks = follow(found, patience=max(2, round(0.7 * fps)))
    else:
        tracks = find_tracks(segment.small, fps)
    if not tracks:
        return [Dropped("nobody: no box here" if given is not None else "nothing moves", 0, len(segment) - 1)]
    short = [track for track in tracks if len(track) < settings.min_frames]
    seen = [_seen(segment, track, fps) for track in tracks if len(track) >= settings.min_frames]
    dropped = [Dropped(f"too short: a track of {len(t)} frames", t.first, t.first + len(t) - 1) for t in short]
    judged = given is None and settings.mode != "detector"
    return [*dropped, *(_job(segment, track, seen, fps, settings, judged) for track in seen)]


def _detected(frames: np.ndarray, weights: str | None) -> list[np.ndarray]:
    # Imported here: torchvision's models double the time in which everything that reads clips starts.
    from selfsup3d.data.saliency.torchvision_models import detect_people, detector

    return detect_people(detector(weights), frames)


def _within(track: Track, segment: _Segment) -> Track | None:
    """The part of a track (kept frames, source pixels) inside a segment, in the segment's frames and pixels."""
    start = max(track.first, segment.first)
    stop = min(track.first + len(track), segment.first + len(segment))
    if stop <= start:
        return None
    boxes = track.boxes[start - track.first : stop - track.first] * segment.scale
    return Track(start - segment.first, boxes, track.person)


@dataclass(frozen=True)
class _Seen:
    """A track with its movement (T,) and its windows (T, 3), in the segment's small pixels."""

    track: Track
    energy: np.ndarray
    windows: np.ndarray

    @property
    def moves(self) -> bool:
        """Whether this is somebody at all: where the background has changed, a standing blob is left."""
        return bool(np.percentile(self.energy, 90) >= 0.08)


def _seen(segment: _Segment, track: Track, fps: float) -> _Seen:
    height, width = segment.small.shape[1:3]
    return _Seen(track, motion_energy(segment.small, track), square_windows(track, fps, (width, height)))


def _job(
    segment: _Segment, seen: _Seen, all_seen: Sequence[_Seen], fps: float, settings: CropSettings, judged: bool
) -> Job | Dropped:
    """A track to cut out. Blobs found by movement alone are judged: they may be anything."""
    track = seen.track
    static = _static_stretches(seen.energy, fps, settings.static_seconds)
    reason = _not_a_person(segment, seen, all_seen, settings) if judged else None
    if reason is None and (~static).sum() < settings.min_frames:
        reason = "static: hardly any movement in the track"
    if reason is not None:
        return Dropped(reason, track.first, track.first + len(track) - 1)
    empty = _empty_frames(seen.windows, [other.track for other in all_seen if other.moves], len(segment))
    job = _make_job(segment, seen, static, track.boxes / segment.scale, empty, fps, settings)
    return replace(job, stretches=_stretches(static)) if judged else job


def _whole_job(segment: _Segment, track: Track, fps: float, settings: CropSettings, cut_already: bool) -> Job:
    """The middle square of the image, throughout; of one person, if somebody cut it to them already."""
    seen = _Seen(track, motion_energy(segment.small, track), track.boxes[:, :3])
    static = _static_stretches(seen.energy, fps, settings.static_seconds)
    if (~static).sum() < settings.min_frames:
        static[:] = False  # somebody cut this clip already: it is taken as it is
    job = _make_job(segment, seen, static, None, np.zeros(0, dtype=int), fps, settings)
    return job if cut_already else replace(job, stretches=_stretches(static))


def _stretches(static: np.ndarray) -> np.ndarray:
    """(T,) how many standstills (T,) have begun so far."""
    return np.cumsum(np.diff(static.astype(np.int8), prepend=0) == 1)


def _make_job(
    segment: _Segment,
    seen: _Seen,
    static: np.ndarray,
    people: np.ndarray | None,
    empty: np.ndarray,
    fps: float,
    settings: CropSettings,
) -> Job:
    keep = np.flatnonzero(~static)
    keep = keep[np.unique(np.linspace(0, len(keep) - 1, settings.max_frames).astype(int))]
    windows = seen.windows / segment.scale
    statistics = {
        "seconds": round(len(static) / fps, 2),
        "frames_in_track": len(static),
        "static_frames_dropped": int(static.sum()),
        "movement": round(float(seen.energy.mean()), 4),
        "crop_pixels": round(float(windows[:, 2].mean()), 1),
        "crop_moves": bool(np.ptp(windows, axis=0).max() > 0),
    }
    return Job(seen.track.first, windows, keep, people, empty, None, seen.track.person, statistics)


def _not_a_person(segment: _Segment, seen: _Seen, all_seen: Sequence[_Seen], settings: CropSettings) -> str | None:
    """Why a moving blob is no person of its own; None if it may be one."""
    track = seen.track
    if not seen.moves:
        return "static: hardly any movement in the track"
    if any(is_part_of(track, other.track, other.windows) for other in all_seen if other is not seen):
        return "part of another track"
    upright = float(np.median(track.boxes[:, 3] / np.maximum(track.boxes[:, 2], 1e-9)))
    if upright < settings.least_upright:
        return f"wider than a person: height over width {upright:.2f}"
    if seen.windows[0, 2] / segment.scale < 24:
        return f"too small: {seen.windows[0, 2] / segment.scale:.0f} pixels"
    return None


def _empty_frames(windows: np.ndarray, tracks: Sequence[Track], count: int) -> np.ndarray:
    """Up to 24 of `count` frames in which no track comes into the region that the windows travel over."""
    low, high = windows[:, :2].min(0), (windows[:, :2] + windows[:, 2:]).max(0)
    empty = np.ones(count, dtype=bool)
    for track in tracks:
        inside = (track.boxes[:, :2] < high).all(1) & (track.boxes[:, :2] + track.boxes[:, 2:] > low).all(1)
        empty[track.first : track.first + len(track)] &= ~inside
    frames = np.flatnonzero(empty)
    return frames[np.unique(np.linspace(0, len(frames) - 1, 24).astype(int))] if len(frames) else frames


def _static_stretches(energy: np.ndarray, fps: float, seconds: float) -> np.ndarray:
    """(T,) bool: inside a stretch of at least `seconds` in which under 1 % of the box changes from frame to frame."""
    quiet = energy < 0.01
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    static = np.zeros(len(energy), dtype=bool)
    for start, stop in edges.reshape(-1, 2):
        if stop - start > seconds * fps:
            static[start:stop] = True
    return static
