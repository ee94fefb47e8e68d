"""Plain charts drawn by OpenCV, so that reports need no plotting library: scatter plots and curves."""

from __future__ import annotations

import colorsys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from selfsup3d.viz.colours import ERROR, Colour
from selfsup3d.viz.sheets import tile

__all__ = ["curves", "distinct_colours", "lines", "scatter", "titled"]

_PAPER: Colour = (255, 255, 255)
_INK: Colour = (30, 30, 30)
_FRAME: Colour = (170, 170, 170)
_LINE: Colour = (40, 90, 220)
_GRID: Colour = (226, 226, 226)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT = 4
_MOST_LABELS, _LONGEST = 14, 36  # of a legend, and letters of an entry


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
        points: (N, 2); axes are scaled to the data. labels: N texts; "" is grey and not in the legend.
        title: above. size: of the square plot, px.
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
    colours = defaultdict(lambda: _FRAME, zip(names, distinct_colours(len(names)), strict=True))
    legend = [*names, *([f"{len(counts) - len(names)} others"] if len(counts) > len(names) else [])]
    canvas = np.full((size, size, 3), _PAPER, np.uint8)
    places = _placed(points, size, side if thumbnails is not None else 6)
    if thumbnails is None:
        for (x, y), label in zip(places, labels, strict=True):
            centre = (round(x * 2**_SHIFT), round(y * 2**_SHIFT))
            cv2.circle(canvas, centre, 3 << _SHIFT, colours[label], -1, cv2.LINE_AA, _SHIFT)
    else:
        _paste(canvas, places, thumbnails, [colours[label] for label in labels], side)
    cv2.rectangle(canvas, (0, 0), (size - 1, size - 1), _FRAME, 1)
    return titled(np.concatenate([canvas, _legend(legend, colours, size)], 1), title)


def _placed(points: np.ndarray, size: int, margin: int) -> np.ndarray:
    """(N, 2) px, y upwards; outliers beyond the 0.5th and 99.5th percentile are kept at the edge."""
    low, high = np.percentile(points, 0.5, axis=0), np.percentile(points, 99.5, axis=0)
    unit = ((points - low) / np.maximum(high - low, 1e-9)).clip(0.0, 1.0)
    unit[:, 1] = 1.0 - unit[:, 1]
    return margin + unit * (size - 2 * margin)


def _paste(
    canvas: np.ndarray, places: np.ndarray, thumbnails: np.ndarray, colours: Sequence[Colour], side: int
) -> None:
    taken: list[np.ndarray] = []
    for place, image, colour in zip(places, thumbnails, colours, strict=True):
        if any(np.abs(place - other).max() < 0.8 * side for other in taken):
            continue
        taken.append(place)
        x, y = (int(v) for v in (place - side / 2).clip(0, canvas.shape[0] - side))
        small = cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=cv2.INTER_AREA)
        canvas[y : y + side, x : x + side] = small
        cv2.rectangle(canvas, (x, y), (x + side - 1, y + side - 1), colour, 1)


def _legend(names: Sequence[str], colours: Mapping[str, Colour], height: int) -> np.ndarray:
    if not names:
        return np.full((height, 1, 3), _PAPER, np.uint8)
    width = max(cv2.getTextSize(_short(name), _FONT, 0.4, 1)[0][0] for name in names) + 30
    column = np.full((height, width, 3), _PAPER, np.uint8)
    step = min(18, max(9, (height - 10) // len(names)))
    for row, name in enumerate(names):
        y = 14 + row * step
        cv2.circle(column, (12, y - 4), 4, colours[name], -1, cv2.LINE_AA)
        cv2.putText(column, _short(name), (22, y), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
    return column


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 3] + "..."


def titled(canvas: np.ndarray, title: str) -> np.ndarray:
    """An image (H, W, 3) with a line of text above it, made smaller until it fits; "" adds nothing."""
    if not title:
        return canvas
    head = np.full((22, canvas.shape[1], 3), _PAPER, np.uint8)
    scale = 0.45 * min(1.0, (canvas.shape[1] - 12) / max(cv2.getTextSize(title, _FONT, 0.45, 1)[0][0], 1))
    cv2.putText(head, title, (6, 15), _FONT, scale, _INK, 1, cv2.LINE_AA)
    return np.concatenate([head, canvas])


def curves(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    beside: tuple[str, np.ndarray, np.ndarray] | None = None,
    columns: int = 3,
    size: tuple[int, int] = (360, 200),
) -> np.ndarray:
    """A panel for each curve, its own range written on it; one more curve can run through all panels in red.

    Args:
        series: name -> x (N,) and y (N,); values that are not finite are left out.
        beside: name, x and y of the curve in every panel, scaled to its own range from 0.
        columns: panels in a row. size: width and height of a panel, px.

    Raises:
        ValueError: no curve.
    """
    if not series:
        raise ValueError("there is no curve to draw")
    panels = [_panel(name, x, y, beside, size) for name, (x, y) in series.items()]
    return tile([panels[k : k + columns] for k in range(0, len(panels), columns)], gap=6)


def lines(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    across: str,
    up: str,
    size: tuple[int, int] = (480, 320),
) -> np.ndarray:
    """Several curves in one frame, with points, numbers on both axes and a legend on the right.

    Args:
        series: name -> x (N,) and y (N,).
        across, up: what the axes show.
        size: width and height without the legend, px.

    Raises:
        ValueError: no curve.
    """
    if not series:
        raise ValueError("there is no curve to draw")
    width, height = size
    left, top, right, bottom = 44, 24, width - 12, height - 34
    x, y = (np.concatenate([np.asarray(pair[k], float) for pair in series.values()]) for k in (0, 1))
    ticks = [_ticks(0.0 if k == 0 else float(v.min()), float(v.max()), most=(5, 8)[k]) for k, v in enumerate((x, y))]
    canvas = np.full((height, width, 3), _PAPER, np.uint8)

    def placed(values: np.ndarray, axis: int) -> np.ndarray:
        low, high = ticks[axis][0], ticks[axis][-1]
        unit = (np.asarray(values, float) - low) / max(high - low, 1e-12)
        return left + unit * (right - left) if axis == 0 else bottom - unit * (bottom - top)

    for value in ticks[0]:
        place = round(float(placed(np.array(value), 0)))
        cv2.line(canvas, (place, top), (place, bottom), _GRID, 1)
        cv2.putText(
            canvas, f"{value:,g}", (place - 4 * len(f"{value:,g}"), bottom + 14), _FONT, 0.36, _INK, 1, cv2.LINE_AA
        )
    for value in ticks[1]:
        place = round(float(placed(np.array(value), 1)))
        cv2.line(canvas, (left, place), (right, place), _GRID, 1)
        cv2.putText(canvas, f"{value:g}", (4, place + 4), _FONT, 0.36, _INK, 1, cv2.LINE_AA)
    colours = dict(zip(series, distinct_colours(len(series)), strict=True))
    for name, (xs, ys) in series.items():
        points = np.stack([placed(xs, 0), placed(ys, 1)], 1)
        shifted = np.rint(points * 2**_SHIFT).astype(np.int32)
        cv2.polylines(canvas, [shifted], False, colours[name], 1, cv2.LINE_AA, _SHIFT)
        for point in shifted.tolist():
            cv2.circle(canvas, (point[0], point[1]), 2 << _SHIFT, colours[name], -1, cv2.LINE_AA, _SHIFT)
    cv2.putText(canvas, up, (4, 14), _FONT, 0.38, _INK, 1, cv2.LINE_AA)
    cv2.putText(canvas, across, (left, height - 6), _FONT, 0.38, _INK, 1, cv2.LINE_AA)
    return np.concatenate([canvas, _legend(list(series), colours, height)], 1)


def _ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers that span a range."""
    rough = max(high - low, 1e-9) / most
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(step * k) for k in np.arange(first, max(last, first + 1) + 1)]


def _panel(
    name: str, x: np.ndarray, y: np.ndarray, beside: tuple[str, np.ndarray, np.ndarray] | None, size: tuple[int, int]
) -> np.ndarray:
    width, height = size
    canvas = np.full((height, width, 3), _PAPER, np.uint8)
    kept = np.isfinite(y)
    x, y = x[kept], y[kept]
    left, top, right, bottom = 8, 24, width - 8, height - 20
    cv2.rectangle(canvas, (left, top), (right, bottom), _FRAME, 1)
    told = name
    if beside is not None:
        other_name, other_x, other_y = beside
        highest = float(np.nanmax(other_y)) if len(other_y) else 0.0
        _line(canvas, other_x, other_y, (0.0, max(highest, 1e-12)), (left, top, right, bottom), ERROR)
        told += f"   (red: {other_name}, to {highest:.3g})"
    if len(y):
        # A curve that starts far above where it ends would be flat: the first entries may leave the panel.
        low, high = float(y.min()), float(np.percentile(y, 98))
        _line(canvas, x, y, (low, max(high, low + 1e-12)), (left, top, right, bottom), _LINE)
        text = f"{low:.4g} to {high:.4g}, last {y[-1]:.4g}; step {x[-1]:.0f}"
        cv2.putText(canvas, text, (left, height - 6), _FONT, 0.36, _INK, 1, cv2.LINE_AA)
    cv2.putText(canvas, told, (left, 16), _FONT, 0.38, _INK, 1, cv2.LINE_AA)
    return canvas


def _line(
    canvas: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    limits: tuple[float, float],
    box: tuple[int, int, int, int],
    colour: Colour,
) -> None:
    if len(x) < 2:
        return
    left, top, right, bottom = box
    across = (x - x[0]) / max(float(x[-1] - x[0]), 1e-12)
    up = ((y - limits[0]) / (limits[1] - limits[0])).clip(0.0, 1.0)
    pixels = np.stack([left + across * (right - left), bottom - up * (bottom - top)], 1)
    cv2.polylines(canvas, [np.rint(pixels * 2**_SHIFT).astype(np.int32)], False, colour, 1, cv2.LINE_AA, _SHIFT)
