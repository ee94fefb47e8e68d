"""People in a still camera's shot, found by movement: background model, blobs, tracks, and smooth square windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from selfsup3d.data.saliency.background_model import fit_background, foreground_distance

__all__ = ["Track", "blobs", "find_tracks", "follow", "is_part_of", "motion_energy", "square_windows"]

_SAMPLED = 60  # frames that the background model of a shot rests on


@dataclass(frozen=True)
class Track:
    """One person through consecutive frames.

    Attributes:
        first: number of the first frame.
        boxes: (T, 4) x, y, width, height, one for each frame from `first` on.
        person: name, where known.
    """

    first: int
    boxes: np.ndarray
    person: str | None = None

    def __len__(self) -> int:
        return len(self.boxes)


def find_tracks(frames: np.ndarray, fps: float, threshold: float = 4.0) -> list[Track]:
    """Tracks of whoever moves before a still camera.

    Args:
        frames: (T, H, W, 3) uint8, small: about 240 pixels on the longer side do.
        fps: of these frames.
        threshold: distance from the background that counts, in units of its noise.

    Returns:
        tracks in the pixels of `frames`, longest first.
    """
    sample = frames[np.unique(np.linspace(0, len(frames) - 1, _SAMPLED).astype(int))]
    model = fit_background(sample)
    first = foreground_distance(sample, model)
    model = fit_background(sample, np.stack([_mask(d, threshold) for d in first]))
    masks = np.stack([_mask(foreground_distance(frame[None], model)[0], threshold) for frame in frames])
    detections = [blobs(mask) for mask in _lingered(masks, max(1, round(0.25 * fps)))]
    found = follow(detections, patience=max(2, round(0.7 * fps)))
    return sorted(found, key=len, reverse=True)


def _mask(distance: np.ndarray, threshold: float) -> np.ndarray:
    """(H, W) bool: above the threshold, specks removed."""
    mask = (cv2.GaussianBlur(np.minimum(distance, 2 * threshold), (3, 3), 0.8) > threshold).astype(np.uint8)
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)).astype(bool)


def _lingered(masks: np.ndarray, reach: int) -> Iterator[np.ndarray]:
    """Masks joined with those up to `reach` frames away: of a person who stands, only the limbs move at one time."""
    return (masks[max(at - reach, 0) : at + reach + 1].max(0) for at in range(len(masks)))


def blobs(mask: np.ndarray, least: float = 0.004) -> np.ndarray:
    """(N, 4) boxes x, y, width, height of the connected regions of a mask, pieces that nearly touch joined.

    Args:
        mask: (H, W) bool.
        least: area of the smallest region that counts, as a share of the image.
    """
    height, width = mask.shape
    # People are taller than wide: join pieces further apart along y than along x.
    kernel = np.ones((round(0.05 * height) * 2 + 1, round(0.015 * width) * 2 + 1), np.uint8)
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    own = np.bincount(labels[mask], minlength=count)
    keep = [i for i in range(1, count) if own[i] >= least * mask.size]
    return stats[keep, :4].astype(np.float64)


def follow(detections: list[np.ndarray], patience: int) -> list[Track]:
    """Join boxes of successive frames into tracks, the best overlap first; gaps of up to `patience` frames are bridged.

    Args:
        detections: for each frame (N, 4) x, y, width, height.
        patience: frames that a person may be out of sight.
    """
    open_tracks: list[dict[int, np.ndarray]] = []
    closed: list[dict[int, np.ndarray]] = []
    for frame, boxes in enumerate(detections):
        alive: list[dict[int, np.ndarray]] = []
        for track in open_tracks:
            (alive if frame - max(track) <= patience else closed).append(track)
        open_tracks = alive
        pairs = [
            (overlap, t, b)
            for t, track in enumerate(open_tracks)
            for b, box in enumerate(boxes)
            if (overlap := _likeness(track[max(track)], box)) > 0.2
        ]
        taken_tracks: set[int] = set()
        taken_boxes: set[int] = set()
        for _, t, b in sorted(pairs, reverse=True):
            if t not in taken_tracks and b not in taken_boxes:
                open_tracks[t][frame] = boxes[b]
                taken_tracks.add(t)
                taken_boxes.add(b)
        open_tracks += [{frame: box} for b, box in enumerate(boxes) if b not in taken_boxes]
    return [_filled(track) for track in closed + open_tracks]


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two boxes over the smaller one, 0 where their areas differ more than threefold."""
    areas = sorted((a[2] * a[3], b[2] * b[3]))
    if areas[1] > 3.0 * areas[0]:
        return 0.0
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0) / areas[0]


def _filled(boxes: dict[int, np.ndarray]) -> Track:
    """A track without gaps; missing boxes are interpolated."""
    known = np.array(sorted(boxes))
    every = np.arange(known[0], known[-1] + 1)
    given = np.stack([boxes[f] for f in known])
    return Track(int(every[0]), np.stack([np.interp(every, known, given[:, c]) for c in range(4)], axis=1))


def is_part_of(track: Track, other: Track, windows: np.ndarray) -> bool:
    """Whether a track is an arm or a face that came loose from its body: for most of its time it lies within the window
    of a longer track, and it is much smaller.

    Args:
        track, other: of one segment.
        windows: (T, 3) the other's `square_windows`.
    """
    start = max(track.first, other.first)
    stop = min(track.first + len(track), other.first + len(other))
    if len(other) <= len(track) or stop - start < 0.5 * len(track):
        return False
    a = track.boxes[start - track.first : stop - track.first]
    w = windows[start - other.first : stop - other.first]
    centre = a[:, :2] + 0.5 * a[:, 2:]
    inside = ((centre > w[:, :2]) & (centre < w[:, :2] + w[:, 2:])).all(1)
    small = np.median(a[:, 2:].max(1)) < 0.5 * float(np.percentile(other.boxes[:, 2:].max(1), 90))
    return bool(small and inside.mean() > 0.5)


def _around(path: np.ndarray, reach: int) -> np.ndarray:
    """(T, D, 2 reach + 1) values of (T, D) round each frame, the ends repeated."""
    padded = np.pad(path, ((reach, reach), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)


def motion_energy(frames: np.ndarray, track: Track, level: float = 12.0) -> np.ndarray:
    """(T,) share of each box whose pixels changed by more than `level` grey levels since the frame before.

    Args:
        frames: (N, H, W, 3) uint8, in whose pixels and numbering the track stands.
    """
    energy = np.zeros(len(track))
    for k, (x, y, width, height) in enumerate(track.boxes):
        now = track.first + k
        before = max(now - 1, 0)
        window = np.s_[max(int(y), 0) : int(y + height) + 1, max(int(x), 0) : int(x + width) + 1]
        change = cv2.absdiff(frames[now][window], frames[before][window])
        energy[k] = (change.max(-1) > level).mean() if change.size else 0.0
    return np.concatenate([energy[1:2], energy[1:]]) if len(energy) > 1 else energy


def square_windows(
    track: Track, fps: float, image: tuple[int, int], margin: float = 1.2, still: float = 1.35
) -> np.ndarray:
    """(T, 3) x, y, side of smooth square windows round a track.

    The side is one for the whole track, so that the image's scale does not pump; where a window that is `still` times
    as large holds the whole track, it stands still altogether, which a background model likes best. Windows stay inside
    the image where they fit.

    Args:
        track: boxes in pixels.
        fps: of its frames.
        image: (width, height) of the frames, pixels.
        margin: side over the person's longer side (90th percentile).
    """
    x, y, width, height = track.boxes.T
    longest = float(np.percentile(np.maximum(width, height), 90))
    room = float(min(image))
    side = min(margin * longest, max(room, longest))
    low = np.array([np.percentile(x, 2), np.percentile(y, 2)])
    high = np.array([np.percentile(x + width, 98), np.percentile(y + height, 98)])
    extent = float((high - low).max())
    if extent <= still * side:
        side = min(max(side, 1.05 * extent), max(room, extent))
        corner = np.tile(0.5 * (low + high) - 0.5 * side, (len(track), 1))
    else:
        centre = np.stack([x + 0.5 * width, y + 0.5 * height], axis=1)
        corner = _smooth(centre, max(1, round(0.4 * fps))) - 0.5 * side
    slack = np.array(image, dtype=np.float64) - side
    corner = np.where(slack >= 0, np.clip(corner, 0.0, np.maximum(slack, 0.0)), corner)
    return np.column_stack([corner, np.full(len(track), side)])


def _smooth(path: np.ndarray, reach: int) -> np.ndarray:
    """(T, D) by a running median, then a running mean, both over 2 reach + 1 frames with the ends repeated."""
    for combine in (np.median, np.mean):
        path = combine(_around(path, reach), axis=-1)
    return path
