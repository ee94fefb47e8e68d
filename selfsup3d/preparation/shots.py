"""Where a video cuts from one shot to the next."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

__all__ = ["CutDetector"]

_THUMBNAIL = (32, 18)


class CutDetector:
    """Finds cuts while frames stream by: a jump in the image far above what the last frames did, and in the colours.

    A cut changes most of the thumbnail at once and its colour histogram too; a person who walks through changes a part,
    a panning camera keeps the colours.

    Args:
        jump: least mean change of the thumbnail, grey levels.
        ratio: least change relative to the median of the last second or so.
        colours: least change of the colour histogram, 0-1.
    """

    def __init__(self, jump: float = 18.0, ratio: float = 4.0, colours: float = 0.15) -> None:
        self._jump, self._ratio, self._colours = jump, ratio, colours
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._recent: deque[float] = deque(maxlen=15)

    def is_cut(self, frame: np.ndarray) -> bool:
        """Whether this (H, W, 3) uint8 frame begins a new shot; the first one does not."""
        thumbnail = cv2.resize(frame, _THUMBNAIL, interpolation=cv2.INTER_AREA)
        histogram = _histogram(thumbnail)
        if self._last is None:
            self._last = (thumbnail, histogram)
            return False
        change = float(cv2.absdiff(thumbnail, self._last[0]).mean())
        shift = 0.5 * float(np.abs(histogram - self._last[1]).sum())
        usual = float(np.median(self._recent)) if self._recent else 1.0
        self._last = (thumbnail, histogram)
        cut = change > self._jump and change > self._ratio * max(usual, 1.0) and shift > self._colours
        if cut:
            self._recent.clear()
        else:
            self._recent.append(change)
        return cut


def _histogram(thumbnail: np.ndarray) -> np.ndarray:
    """(64,) shares of 4 x 4 x 4 colour bins."""
    bins = (thumbnail >> 6).astype(np.int64) @ np.array([16, 4, 1])
    return np.bincount(bins.ravel(), minlength=64) / bins.size
