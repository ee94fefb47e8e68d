"""Learning curves on real clips: accuracy against the images seen, on a log axis; one point a measured checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.evaluation.reference_2d_report import reading_line
from selfsup3d.io.files import write_json
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.viz.charts import lines
from selfsup3d.viz.sheets import write_png

__all__ = ["add_to_curve"]

_SHOWN = {
    "keypoints, PCK@0.2": ("keypoints", "pck_0.2"),
    "projected joints, PCK@0.2": ("joints", "pck_0.2"),
    "left/right errors": ("keypoints", "left_right_frames"),
}


def add_to_curve(file: Path, run: str, images: int, result: Mapping[str, Any]) -> list[Path]:
    """Add a point of a run's curve and draw all of them; a point of the same run and images is replaced.

    Args:
        file: JSON with the points; the drawing lies beside it (.png). run: title of the curve.
        images: training images seen so far. result: of `real_clips.measure_clips`, whole-body clips where there are some.

    Returns:
        Both files.

    Raises:
        InputError: the file is damaged.
    """
    points: list[dict[str, Any]] = []
    if file.is_file():
        try:
            points = list(parse_json(file.read_text(encoding="utf-8"))["points"])
            points = [point for point in points if (point["run"], point["images"]) != (run, images)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: not the points of a curve ({error}); give another --curve") from None
    rows = (result["groups"].get("whole body") or result["groups"]["all"])["rows"]
    told = {title: rows[system][name] for title, (system, name) in _SHOWN.items()}
    points.append({"run": run, "images": images, "reading": reading_line(result), **told})
    points.sort(key=lambda point: (point["run"], point["images"]))
    write_json(file, {"points": points})
    series = {
        f"{name}: {title}": _curve(points, name, title)
        for name in dict.fromkeys(point["run"] for point in points)
        for title in _SHOWN
    }
    drawing = file.with_suffix(".png")
    write_png(drawing, lines(series, across="images seen", up="share", size=(900, 420), log=True))
    return [file, drawing]


def _curve(points: list[dict[str, Any]], run: str, title: str) -> tuple[np.ndarray, np.ndarray]:
    own = [point for point in points if point["run"] == run and point[title] is not None]
    return np.array([point["images"] for point in own]), np.array([point[title] for point in own])
