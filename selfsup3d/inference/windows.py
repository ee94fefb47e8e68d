"""Where the person is in each frame: square windows from a box file, by movement, by a detector, or the whole frame.

A window is (x, y, side) in whole pixels of the frame; it may reach beyond the frame, whose edge is then repeated.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch

from selfsup3d.config.choices import Detector, WindowMode
from selfsup3d.config.load import nearest
from selfsup3d.data.saliency.background_model import camera_is_still
from selfsup3d.errors import InputError
from selfsup3d.io.crops import squares_of_boxes
from selfsup3d.io.images import is_image
from selfsup3d.io.video import read_frames, video_info
from selfsup3d.preparation.boxes import MAX_GAP, find_box_file, read_boxes
from selfsup3d.preparation.tracks import Track, find_tracks, square_windows

__all__ = ["WindowOptions", "Windows", "cut", "find_windows", "whole_frame"]

Windows = Callable[[int, np.ndarray], np.ndarray | None]
"""Frame number and image -> (3,) int x, y, side; None where nobody is."""

_LOOKED_AT = 600  # small frames that movement is searched in, whatever the video's length
_SMALL = 240  # px of their longer side
_SURE = 0.5  # score of a detection that counts
_PERSON = 1  # label of people in COCO's numbering, which torchvision's detectors use


@dataclass(frozen=True)
class WindowOptions:
    """How people are found.

    Attributes:
        mode: "auto" takes the box file or detector that is named, else a box file that stands beside the video; the
            whole of single images, square videos and moving cameras; else movement.
        boxes: box file (see `data.boxes`); None = the one beside the video.
        detector: weights of a torchvision detector (a state dict). architecture: its name, one of `Detector`.
        frames: how many of the first frames will be looked at, None = all: the person with most of them is followed.
        person: name in the box file of whom to follow. box_gap: frames over which their boxes are interpolated.
    """

    mode: WindowMode = "auto"
    boxes: Path | None = None
    detector: Path | None = None
    architecture: Detector = "ssdlite320_mobilenet_v3_large"
    frames: int | None = None
    person: str | None = None
    box_gap: int = MAX_GAP


def whole_frame(image: np.ndarray) -> np.ndarray:
    """(3,) the square that holds the whole of (H, W, 3), its middle in the middle."""
    height, width = image.shape[:2]
    side = max(height, width)
    return np.array([(width - side) // 2, (height - side) // 2, side])


def cut(image: np.ndarray, window: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) of a window of (H, W, 3) uint8: averaged where it shrinks, the edge repeated beyond the frame."""
    x, y, side = (int(v) for v in window)
    height, width = image.shape[:2]
    left, top = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    right, bottom = min(max(x + side, left + 1), width), min(max(y + side, top + 1), height)
    scale = size / side
    inside = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    inside = (min(inside[0], size), min(inside[1], size))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    seen = cv2.resize(image[top:bottom, left:right], inside, interpolation=how)
    if inside == (size, size):
        return seen
    before = [
        min(max(round((a - b) * scale), 0), size - n) for a, b, n in zip((left, top), (x, y), inside, strict=True)
    ]
    after = [size - n - b for n, b in zip(inside, before, strict=True)]
    return cv2.copyMakeBorder(seen, before[1], after[1], before[0], after[0], cv2.BORDER_REPLICATE)


def find_windows(
    path: str | Path, options: WindowOptions, report: Callable[[str], None] = lambda line: None
) -> Windows:
    """How the windows of a video, folder or image are found; movement is searched here, in one pass over the video.

    Args:
        path: of the source. options: how to look. report: takes lines about who and what is left out.

    Raises:
        InputError: a box file or weights that are missing, damaged or not asked for; nobody moves.
    """
    path = Path(path)
    file = options.boxes or find_box_file(path)
    mode = options.mode
    if mode == "auto" and (options.boxes is not None or options.detector is not None):
        mode = "detector" if options.boxes is None else "boxes"  # what was named comes before what stands there
    for name, given in (("boxes", options.boxes), ("detector", options.detector)):
        if given is not None and mode not in ("auto", name):
            raise InputError(f"--{name} {given}: finding people by {mode} does not look at it; leave one of them out")
    if mode == "auto":
        mode = _usual_mode(path, file is not None)
    if mode == "boxes":
        if file is None:
            raise InputError(
                f"{path}: no box file beside it ({path.stem}.boxes.json or .csv); put one there, or name it: --boxes FILE"
            )
        return _from_boxes(path, file, options, report)
    if mode == "detector":
        if options.detector is None:
            raise InputError("--crop detector needs --detector WEIGHTS, a torchvision detector's state dict")
        return _from_detector(options.detector, options.architecture)
    return _from_motion(path, options.frames, report) if mode == "motion" else lambda _, image: whole_frame(image)


def _usual_mode(path: Path, has_boxes: bool) -> WindowMode:
    if has_boxes:
        return "boxes"
    if path.is_dir() or is_image(path):
        return "whole"
    info = video_info(path)
    if info.width == info.height or not camera_is_still(_small_frames(path, limit=16)[0]):
        return "whole"
    return "motion"


def _share(tracks: Sequence[Track], frames: int | None) -> int:
    """How many of the first `frames` tracks are seen in."""
    ends = [t.first + len(t) if frames is None else min(t.first + len(t), frames) for t in tracks]
    return sum(max(end - track.first, 0) for end, track in zip(ends, tracks, strict=True))


def _from_boxes(path: Path, file: Path, options: WindowOptions, report: Callable[[str], None]) -> Windows:
    """Of the named person, or of the one with the most frames, over all of their gaps."""
    people: dict[str, list[Track]] = {}
    for k, track in enumerate(read_boxes(file, options.box_gap)):
        people.setdefault(track.person or f"without a name {k}", []).append(track)
    if all(name.startswith("without a name") for name in people) and not _overlapping(list(people.values())):
        people = {"": [track for tracks in people.values() for track in tracks]}
    name = max(people, key=lambda one: _share(people[one], options.frames))
    if options.person is not None:
        if options.person not in people:
            raise InputError(f"{file}: nobody is called {options.person!r}; the people are {', '.join(people)}")
        name = options.person
    tracks = sorted(people[name], key=lambda track: track.first)
    _report_gaps(file, name, tracks, len(people) - 1, options, report)
    still = path.is_dir() or is_image(path)
    info = None if still else video_info(path)
    runs = []
    for track in tracks:
        if info is None:
            squares = squares_of_boxes(track.boxes)
        else:
            squares = square_windows(track, info.fps or 10.0, (info.width, info.height))  # moved into the frame
        runs.append(_along(track.first, squares, track.boxes))
    return _any_of(runs)


def _overlapping(people: Sequence[Sequence[Track]]) -> bool:
    """Whether two of them are there at one time."""
    spans = sorted((track.first, track.first + len(track)) for tracks in people for track in tracks)
    return any(after[0] < before[1] for before, after in itertools.pairwise(spans))


def _report_gaps(
    file: Path,
    name: str,
    tracks: Sequence[Track],
    others: int,
    options: WindowOptions,
    report: Callable[[str], None],
) -> None:
    if others:
        report(f"{file}: {name or 'one person'} is followed; {others} other people ignored (--person NAME picks one)")
    gaps = [(a.first + len(a), b.first - 1) for a, b in itertools.pairwise(tracks) if b.first > a.first + len(a)]
    if gaps:
        shown = ", ".join(f"{a}-{b}" for a, b in gaps[:4]) + (" ..." if len(gaps) > 4 else "")
        report(
            f"{file}: no box in frames {shown}, which stay without a pose; gaps of up to {options.box_gap} frames are "
            "interpolated (--box-gap)"
        )


def _any_of(runs: Sequence[Windows]) -> Windows:
    """The window of the run that has the frame."""

    def window(number: int, image: np.ndarray) -> np.ndarray | None:
        return next((found for run in runs if (found := run(number, image)) is not None), None)

    return window


def _from_motion(path: Path, frames: int | None, report: Callable[[str], None]) -> Windows:
    """Of the track with the most frames, found in small, evenly spaced frames and interpolated between them."""
    info = video_info(path)
    small, every, scale = _small_frames(path, _LOOKED_AT)
    tracks = find_tracks(small, fps=(info.fps or 10.0) / every)
    if not tracks:
        raise InputError(f"{path}: nobody moves; use --crop whole, or give boxes with --boxes FILE")
    main = max(tracks, key=lambda track: _share([track], None if frames is None else -(-frames // every)))
    same = _returning(main, tracks)
    if len(tracks) > len(same):
        report(f"{path}: who moves most is followed; {len(tracks) - len(same)} other people ignored")
    size = (small[0].shape[1], small[0].shape[0])
    return _any_of([_moving(track, every, (info.fps or 10.0) / every, size, scale) for track in same])


def _returning(main: Track, tracks: Sequence[Track]) -> list[Track]:
    """A track and those of somebody of its size who comes back near to where it ended, or was there before."""
    same = [main]
    for track in sorted(tracks, key=lambda track: abs(track.first - main.first)):
        if any(track is one or _overlapping([[one], [track]]) for one in same):
            continue
        pairs = [sorted((one, track), key=lambda t: t.first) for one in same]
        a, b = min(pairs, key=lambda pair: pair[1].first - pair[0].first - len(pair[0]))
        gap, before, after = b.first - a.first - len(a), a.boxes[-1], b.boxes[0]
        height = max(before[3], after[3])
        away = np.linalg.norm(before[:2] + 0.5 * before[2:] - after[:2] - 0.5 * after[2:])
        if min(before[3], after[3]) > 0.6 * height and away < height * (1.0 + 0.1 * gap):
            same.append(track)
    return same


def _moving(track: Track, every: int, fps: float, size: tuple[int, int], scale: float) -> Windows:
    """Windows of a track of small frames, every so many of the source's."""
    squares = square_windows(Track(0, track.boxes), fps, size) / scale
    kept = every * np.arange(len(squares))
    full = np.arange(kept[-1] + 1)
    dense = np.stack([np.interp(full, kept, squares[:, column]) for column in range(3)], axis=1)
    return _along(track.first * every, dense)


def _small_frames(path: Path, limit: int) -> tuple[np.ndarray, int, float]:
    """(T, h, w, 3) fewer than 2 `limit` evenly spaced frames in small, their spacing, and small pixels per pixel."""
    small = np.empty((0, 1, 1, 3), np.uint8)
    size, scale, every, count = (1, 1), 1.0, 1, 0
    for number, frame in enumerate(read_frames(path)):
        if number == 0:
            scale = min(1.0, _SMALL / max(frame.shape[:2]))
            size = (max(round(frame.shape[1] * scale), 1), max(round(frame.shape[0] * scale), 1))
            small = np.empty((2 * limit, size[1], size[0], 3), np.uint8)  # takes memory only where it is written
        if number % every:
            continue
        small[count] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        count += 1
        if count == 2 * limit:  # twice as far apart from here on: the length need not be known
            small[:limit] = small[::2]
            every, count = every * 2, limit
    return small[:count], every, scale


def _along(first: int, squares: np.ndarray, boxes: np.ndarray | None = None) -> Windows:
    """Windows of frames in a row; a box (x, y, width, height) that lies wholly beside its image holds nobody."""
    rounded = np.rint(squares).astype(int)
    rounded[:, 2] = np.maximum(rounded[:, 2], 1)

    def window(number: int, image: np.ndarray) -> np.ndarray | None:
        if not first <= number < first + len(rounded):
            return None
        if boxes is not None:
            x, y, width, height = boxes[number - first]
            if x >= image.shape[1] or y >= image.shape[0] or x + width <= 0 or y + height <= 0:
                return None
        return rounded[number - first]

    return window


def _from_detector(weights: Path, architecture: str) -> Windows:
    """The surest person of each frame; the window follows it smoothly."""
    from torchvision.models import detection

    if architecture not in get_args(Detector):
        raise InputError(f"--detector-architecture {architecture}: unknown{nearest(architecture, get_args(Detector))}")
    model = getattr(detection, architecture)(weights=None, weights_backbone=None)
    try:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise InputError(f"{weights}: no such file; expected a state dict of {architecture}") from None
    except Exception as error:  # damaged, another architecture, or pickled objects that are refused
        raise InputError(f"{weights}: not a state dict of {architecture} ({str(error).splitlines()[0]})") from error
    model.eval()
    last: list[np.ndarray] = []

    def window(_: int, image: np.ndarray) -> np.ndarray | None:
        with torch.inference_mode():
            found = model([torch.from_numpy(image).permute(2, 0, 1).float() / 255.0])[0]
        people = (found["labels"] == _PERSON) & (found["scores"] > _SURE)
        if not people.any():
            return None
        x0, y0, x1, y1 = found["boxes"][people][0].numpy()  # sorted by score
        square = squares_of_boxes(np.array([[x0, y0, x1 - x0, y1 - y0]]))[0]
        last[:] = [square if not last else 0.7 * last[0] + 0.3 * square]
        return np.rint(last[0]).astype(int)

    return window
