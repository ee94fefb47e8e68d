"""Boxes round people that somebody made already: a file beside the video.

`walk.mp4` takes `walk.boxes.json` or `walk.boxes.csv`; a folder of images `walk/` takes the same names beside it, or
`boxes.json` / `boxes.csv` inside. Frames are counted from 0 in the source, pixels are the source's, (x, y) is the upper
left corner. One row a box:

    frame,x,y,width,height,person        (CSV with this header; person may be left out)
    {"boxes": [{"frame": 0, "x": 10, "y": 20, "width": 80, "height": 200, "person": "anna"}, ...]}

Frames between two boxes of a person are interpolated, over gaps of up to `max_gap` frames.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.preparation.tracks import Track

__all__ = ["find_box_file", "read_boxes"]

_FIELDS = ("frame", "x", "y", "width", "height")


def find_box_file(video: str | Path) -> Path | None:
    """The box file of a video or folder of images, if there is one."""
    video = Path(video)
    here = Path(os.path.abspath(video))  # "." has no name of its own, and "/" none at all
    stem = here.name if video.is_dir() else video.stem
    candidates = [here.parent / f"{stem}.boxes.{kind}" for kind in ("json", "csv")]
    if video.is_dir():
        candidates += [video / f"boxes.{kind}" for kind in ("json", "csv")]
    return next((file for file in candidates if file.is_file()), None)


def read_boxes(path: str | Path, max_gap: int = 15) -> list[Track]:
    """Tracks of a box file; a person with a gap longer than `max_gap` frames becomes several.

    Raises:
        InputError: unreadable, a missing column, or a value that makes no sense; the message names the row.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _json_rows(text) if path.suffix.lower() == ".json" else list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a box file ({error})") from error
    people: dict[str, dict[int, np.ndarray]] = {}
    for number, row in enumerate(rows):
        person, frame, box = _box(path, number, row)
        people.setdefault(person, {})[frame] = box
    if not people:
        raise InputError(f"{path}: holds no boxes; expected rows of {', '.join(_FIELDS)}")
    return [track for person, boxes in sorted(people.items()) for track in _tracks(person, boxes, max_gap)]


def _json_rows(text: str) -> list[Mapping[str, Any]]:
    value = parse_json(text)
    rows = value.get("boxes") if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError('expected {"boxes": [{"frame": ..., "x": ..., ...}, ...]}')
    return rows


def _box(path: Path, number: int, row: Mapping[str, Any]) -> tuple[str, int, np.ndarray]:
    try:
        values = [float(row[name]) for name in _FIELDS]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: row {number} needs numbers for {', '.join(_FIELDS)} ({error!r})") from error
    frame, _, _, width, height = values
    if not all(math.isfinite(v) for v in values) or width <= 0 or height <= 0 or frame < 0 or frame != int(frame):
        raise InputError(f"{path}: row {number}: frame {frame:g}, width {width:g} and height {height:g} make no box")
    return str(row.get("person") or ""), int(frame), np.array(values[1:])


def _tracks(person: str, boxes: Mapping[int, np.ndarray], max_gap: int) -> Iterable[Track]:
    frames = np.array(sorted(boxes))
    for run in np.split(frames, np.flatnonzero(np.diff(frames) > max_gap) + 1):
        every = np.arange(run[0], run[-1] + 1)
        given = np.stack([boxes[f] for f in run])
        filled = np.stack([np.interp(every, run, given[:, column]) for column in range(4)], axis=1)
        yield Track(first=int(every[0]), boxes=filled, person=person or None)
