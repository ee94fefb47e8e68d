"""Boxes round people that somebody made already: a file beside the video.

`walk.mp4` takes `walk.boxes.json` or `walk.boxes.csv`; a folder of images `walk/` takes the same names beside it, or
`boxes.json` / `boxes.csv` inside. Frames are counted from 0 in the source, pixels are the source's, (x, y) is the upper
left corner. One row a box:

    frame,x,y,width,height,person        (CSV with this header; person may be left out)
    {"boxes": [{"frame": 0, "x": 10, "y": 20, "width": 80, "height": 200, "person": "anna"}, ...]}

Capitals, spaces, tabs and semicolons in the header do not matter, nor does the comma of decimals between semicolons.
Rows of numbers without a header are MOT's: frame (from 1), id, x, y, width, height, and what follows.

Frames between two boxes of a person are interpolated, over gaps of up to `max_gap` frames.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import read_within
from selfsup3d.preparation.tracks import Track, follow

__all__ = ["MAX_GAP", "find_box_file", "read_boxes"]

MAX_GAP = 15
"""Frames over which the boxes of a person are interpolated."""

_FIELDS = ("frame", "x", "y", "width", "height")
_ALIASES = {
    "frame": ("frame_id", "frame_number", "frameid", "image_id"),
    "x": ("left", "bb_left", "bbox_left", "bbox_x", "xmin", "x_min", "x1"),
    "y": ("top", "bb_top", "bbox_top", "bbox_y", "ymin", "y_min", "y1"),
    "width": ("w", "bb_width", "bbox_width", "bbox_w"),
    "height": ("h", "bb_height", "bbox_height", "bbox_h"),
    "right": ("xmax", "x_max", "x2"),
    "bottom": ("ymax", "y_max", "y2"),
    "person": ("id", "track_id", "name"),
}
"""Our column -> what others call it."""
_SHARES = 2.0  # no person is so few pixels wide and high
_MOT = ("frame", "person", "x", "y", "width", "height", "counts")


def find_box_file(video: str | Path) -> Path | None:
    """The box file of a video or folder of images, if there is one."""
    video = Path(video)
    here = Path(os.path.abspath(video))  # "." has no name of its own, and "/" none at all
    stem = here.name if video.is_dir() else video.stem
    candidates = [here.parent / f"{stem}.boxes.{kind}" for kind in ("json", "csv")]
    if video.is_dir():
        candidates += [video / f"boxes.{kind}" for kind in ("json", "csv")]
    return next((file for file in candidates if os.path.isfile(file)), None)  # of an over-long name, too


def read_boxes(path: str | Path, max_gap: int = MAX_GAP) -> list[Track]:
    """Tracks of a box file; a person with a gap longer than `max_gap` frames has several, of one name.

    Boxes without a name are one person's, or joined by their overlap where a frame has several.

    Raises:
        InputError: unreadable, a missing column, or a value that makes no sense; the message names the row.
    """
    path = Path(path)
    try:
        data = read_within(path)
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        rows = _json_rows(text) if path.suffix.lower() == ".json" else _csv_rows(path, text)
    except InputError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a box file ({error})") from error
    people: dict[str, dict[int, list[np.ndarray]]] = {}
    for number, row in enumerate(rows):
        person, frame, box = _box(path, number, row)
        people.setdefault(person, {}).setdefault(frame, []).append(box)
    sides = [float(box[2:].max()) for boxes in people.values() for found in boxes.values() for box in found]
    if sides and max(sides) <= _SHARES:
        raise InputError(
            f"{path}: no box is wider or higher than {max(sides):.2f}, so these are shares of the image and not pixels; "
            "multiply x and width by its width, y and height by its height"
        )
    if not people:
        raise InputError(f"{path}: holds no boxes; expected rows of {', '.join(_FIELDS)}")
    tracks: list[Track] = []
    for person, boxes in sorted(people.items()):
        crowded = next((frame for frame, found in boxes.items() if len(found) > 1), None)
        if crowded is None:
            tracks += _tracks(person, {frame: found[0] for frame, found in boxes.items()}, max_gap)
        elif person:
            raise InputError(f"{path}: frame {crowded} has {len(boxes[crowded])} boxes of {person!r}; keep one of them")
        else:
            frames = np.array(sorted(boxes))
            for run in np.split(frames, np.flatnonzero(np.diff(frames) > max_gap) + 1):  # nobody is followed across
                every = range(int(run[0]), int(run[-1]) + 1)
                followed = follow([np.array(boxes.get(f, [])).reshape(-1, 4) for f in every], patience=max_gap)
                tracks += [Track(track.first + every[0], track.boxes) for track in followed]
    return tracks


def _csv_rows(path: Path, text: str) -> list[Mapping[str, Any]]:
    """Rows by column; the separator is the one that the first line has most of, or spaces."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    mark = max(";\t,", key=lines[0].count)
    spaced = mark not in lines[0]
    split = [line.split() for line in lines] if spaced else list(csv.reader(lines, delimiter=mark))
    table = [[cell.strip().strip('"') for cell in row] for row in split]
    if mark != ",":
        table = [[_decimal_point(cell) for cell in row] for row in table]
    if all(_is_number(cell) for cell in table[0]):
        if len(table[0]) < 6:
            raise InputError(
                f"{path}: {len(table[0])} columns without a header; name them in a first line: {','.join(_FIELDS)}"
            )
        short = next((number for number, row in enumerate(table) if len(row) < 6), None)
        if short is not None:
            raise InputError(f"{path}: row {short} has {len(table[short])} columns, the first has {len(table[0])}")
        rows = [dict(zip(_MOT, row, strict=False)) for row in table]
        rows = [row for row in rows if row.get("counts") != "0"]  # MOT's mark of boxes to be ignored
        return [{**row, "frame": float(row["frame"]) - 1.0, "person": _mot_name(row["person"])} for row in rows]
    names = [_column(cell) for cell in table[0]]
    missing = [field for field in _FIELDS if field not in names]
    if missing and not {"right", "bottom"} <= set(names):
        raise InputError(
            f"{path}: no column {missing[0]!r}; the first line has {', '.join(table[0])}, expected {', '.join(_FIELDS)}"
        )
    return [_with_sides(dict(zip(names, row, strict=False))) for row in table[1:]]


def _column(name: str) -> str:
    """Our name of a column."""
    plain = name.strip().lower().replace(" ", "_")
    return next((ours for ours, theirs in _ALIASES.items() if plain in theirs), plain)


def _with_sides(row: dict[str, Any]) -> dict[str, Any]:
    """Width and height of a row that gives the lower right corner."""
    if "right" in row and "bottom" in row and "width" not in row:
        with contextlib.suppress(KeyError, TypeError, ValueError):  # reported with the row's number by `_box`
            row["width"], row["height"] = float(row["right"]) - float(row["x"]), float(row["bottom"]) - float(row["y"])
    return row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _decimal_point(text: str) -> str:
    return text.replace(",", ".") if _is_number(text.replace(",", ".", 1)) else text


def _mot_name(text: str) -> str:
    number = float(text)
    return "" if number < 0 else f"{number:g}"


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
    if not all(math.isfinite(v) for v in values) or width <= 0 or height <= 0 or not 0 <= frame < 1e9 or frame % 1:
        raise InputError(f"{path}: row {number}: frame {frame:g}, width {width:g} and height {height:g} make no box")
    return str(row.get("person") or ""), int(frame), np.array(values[1:])


def _tracks(person: str, boxes: Mapping[int, np.ndarray], max_gap: int) -> Iterable[Track]:
    frames = np.array(sorted(boxes))
    for run in np.split(frames, np.flatnonzero(np.diff(frames) > max_gap) + 1):
        every = np.arange(run[0], run[-1] + 1)
        given = np.stack([boxes[f] for f in run])
        filled = np.stack([np.interp(every, run, given[:, column]) for column in range(4)], axis=1)
        yield Track(first=int(every[0]), boxes=filled, person=person or None)
