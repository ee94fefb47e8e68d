"""Static charts of reports, drawn by matplotlib (loaded when a chart is drawn): scatter plots and curves.

Figures are made without pyplot, so that no window or global state is touched, and come back as RGB arrays.
"""

from __future__ import annotations

import colorsys
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from selfsup3d.viz.colours import ERROR, LEFT, MIDDLE, RIGHT, Colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves", "distinct_colours", "left_right_panels", "lines", "scatter", "titled"]

_DPI = 100
_GREY: Colour = (170, 170, 170)
_LINE: Colour = (40, 90, 220)
_MOST_LABELS, _LONGEST = 14, 36  # of a legend, and letters of an entry

Series = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Name -> x (N,) and y (N,)."""


def distinct_colours(count: int) -> list[Colour]:
    """Colours that differ in hue, and between neighbours in brightness too."""
    values = [colorsys.hsv_to_rgb(k / max(count, 1), 0.85, (0.85, 0.55)[k % 2]) for k in range(count)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in values]


def scatter(
    points: np.ndarray,
    labels: Sequence[str],
    *,
    title: str = "",
    size: int = 640,
    thumbnails: np.ndarray | None = None,
    side: int = 36,
) -> np.ndarray:
    """Points in the plane, coloured by label with a legend on the right; or small images at some of the points.

    Labels beyond the 14 most frequent are grey and stand in the legend together.

    Args:
        points: (N, 2); axes are scaled to the data, outliers beyond the 0.5th and 99.5th percentile stay at the edge.
        labels: N texts; "" is grey and not in the legend.
        title: above. size: height of the image, px.
        thumbnails: (N, h, w, 3) uint8, drawn where they do not cover one another, framed in the label's colour.
        side: of the thumbnails, px.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: other than N labels or thumbnails.
    """
    if points.ndim != 2 or points.shape[1] != 2 or len(labels) != len(points):
        raise ValueError(f"expected points (N, 2) and N labels, got {points.shape} and {len(labels)}")
    if thumbnails is not None and len(thumbnails) != len(points):
        raise ValueError(f"{len(thumbnails)} thumbnails for {len(points)} points")
    counts = Counter(label for label in labels if label)
    names = sorted(name for name, _ in counts.most_common(_MOST_LABELS))
    colours = dict(zip(names, distinct_colours(len(names)), strict=True))
    figure = _figure(size * 4 // 3, size)
    axes = figure.add_subplot(title=title, xticks=[], yticks=[])
    low, high = np.percentile(points, 0.5, axis=0), np.percentile(points, 99.5, axis=0)
    points = points.clip(low, high)
    for name in (*names, ""):
        chosen = np.array([(label if label in colours else "") == name for label in labels])
        if chosen.any():
            text = name or (f"{len(counts) - len(names)} others" if len(counts) > len(names) else None)
            axes.scatter(*points[chosen].T, s=14, color=_unit(colours.get(name, _GREY)), label=_short(text))  # type: ignore[misc]
    if names:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    if thumbnails is not None:
        figure.draw_without_rendering()  # the layout decides where points are
        frames = [_unit(colours.get(label, _GREY)) for label in labels]
        _add_thumbnails(axes, points, thumbnails, frames, side)
    return _rendered(figure)


def curves(
    series: Series,
    *,
    through_all: tuple[str, np.ndarray, np.ndarray] | None = None,
    columns: int = 3,
    size: tuple[int, int] = (360, 220),
) -> np.ndarray:
    """A panel for each curve, its last value in the title; one more curve can run through all panels, on its own axis.

    Args:
        series: values that are not finite are left out.
        through_all: name, x and y of the curve in every panel, in red.
        columns: panels in a row. size: width and height of a panel, px.

    Raises:
        ValueError: no curve.
    """
    if not series:
        raise ValueError("there is no curve to draw")
    columns = min(columns, len(series))
    rows = math.ceil(len(series) / columns)
    figure = _figure(columns * size[0], rows * size[1])
    for number, (name, (x, y)) in enumerate(series.items(), 1):
        kept = np.isfinite(y)
        x, y = np.asarray(x)[kept], np.asarray(y)[kept]
        axes = figure.add_subplot(rows, columns, number)
        axes.plot(x, y, color=_unit(_LINE), linewidth=1)
        axes.set_title(f"{name}, last {y[-1]:.4g}" if len(y) else name, fontsize=8)
        axes.tick_params(labelsize=7)
        if len(y) > 1:  # a curve that starts far above where it ends would lie at the bottom
            axes.set_ylim(top=max(float(np.percentile(y, 98)) * 1.02, float(y.min()) + 1e-12))
        if through_all is not None:
            other, other_x, other_y = through_all
            twin = axes.twinx()
            twin.plot(other_x, other_y, color=_unit(ERROR), linewidth=1, label=other)
            twin.legend(loc="upper right", fontsize=7, frameon=False)
            twin.tick_params(labelsize=7)
    return _rendered(figure)


def lines(series: Series, *, across: str, up: str, size: tuple[int, int] = (640, 320), log: bool = False) -> np.ndarray:
    """Several curves in one frame, with points and a legend on the right.

    Args:
        across, up: what the axes show. size: width and height, px. log: a logarithmic axis across.

    Raises:
        ValueError: no curve.
    """
    if not series:
        raise ValueError("there is no curve to draw")
    figure = _figure(*size)
    axes = figure.add_subplot(xlabel=across, ylabel=up)
    for (name, (x, y)), colour in zip(series.items(), distinct_colours(len(series)), strict=True):
        axes.plot(x, y, color=_unit(colour), marker=".", linewidth=1, label=_short(name))
    axes.grid(alpha=0.4)
    if log:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0.0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    return _rendered(figure)


def left_right_panels(
    times: np.ndarray,
    values: Mapping[str, np.ndarray],
    *,
    unit: str,
    columns: int = 2,
    size: tuple[int, int] = (520, 190),
) -> np.ndarray:
    """Values over time, a panel for each quantity: "left_x" and "right_x" share one, in the sides' colours.

    Args:
        times: (T,) seconds. values: name -> (T,); what is not finite leaves a gap in its curve.
        unit: of the values, shown on the axis. columns: panels in a row. size: width and height of a panel, px.

    Raises:
        ValueError: no values.
    """
    sides = {"left": LEFT, "right": RIGHT}
    panels: dict[str, list[tuple[str, Colour]]] = {}
    for name in values:
        side, _, rest = name.partition("_")
        what, colour = (rest, sides[side]) if side in sides else (name, MIDDLE)
        panels.setdefault(what, []).append((name, colour))
    if not panels:
        raise ValueError("there is no curve to draw")
    rows = math.ceil(len(panels) / columns)
    figure = _figure(columns * size[0], rows * size[1])
    for number, (what, curves_of) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        for name, colour in curves_of:
            label = name.partition("_")[0] if len(curves_of) > 1 else None
            axes.plot(times, values[name], color=_unit(colour), linewidth=1.2, label=label)
        axes.set_title(what.replace("_", " "), fontsize=9)
        axes.set_ylabel(unit, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if len(curves_of) > 1:
            axes.legend(loc="upper right", fontsize=7, frameon=False)
        if number > len(panels) - columns:
            axes.set_xlabel("seconds", fontsize=8)
    return _rendered(figure)


def titled(canvas: np.ndarray, title: str) -> np.ndarray:
    """An image (H, W, 3) with a line of text above it, made smaller until it fits; "" adds nothing."""
    if not title:
        return canvas
    head, font = np.full((22, canvas.shape[1], 3), 255, np.uint8), cv2.FONT_HERSHEY_SIMPLEX
    scale = 0.45 * min(1.0, (canvas.shape[1] - 12) / max(cv2.getTextSize(title, font, 0.45, 1)[0][0], 1))
    cv2.putText(head, title, (6, 15), font, scale, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([head, canvas])


def _add_thumbnails(axes, points: np.ndarray, images: np.ndarray, frames: Sequence, side: int) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    taken: list[np.ndarray] = []
    for point, image, frame in zip(points, images, frames, strict=True):
        place = axes.transData.transform(point)
        if any(np.abs(place - other).max() < 0.8 * side for other in taken):
            continue
        taken.append(place)
        small = cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=cv2.INTER_AREA)
        box = AnnotationBbox(OffsetImage(small, zoom=72 / _DPI), point, pad=0.1, bboxprops={"edgecolor": frame})
        axes.add_artist(box)


def _figure(width: int, height: int) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")


def _rendered(figure: Figure) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _unit(colour: Colour) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in colour)


def _short(name: str | None) -> str | None:
    return name if name is None or len(name) <= _LONGEST else name[: _LONGEST - 3] + "..."
