"""Smoothing over time while frames stream by: the One Euro filter (Casiez, Roussel & Vogel, CHI 2012)."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["OneEuro"]


class OneEuro:
    """A low-pass filter whose cutoff rises with speed: steady where things stand, quick where they move.

    Args:
        fps: frames per second.
        cutoff: Hz at rest; smaller is smoother. beta: Hz per unit and second by which speed raises it.
        speed_cutoff: Hz, of the speed's own filter.
    """

    def __init__(self, fps: float, cutoff: float = 1.0, beta: float = 2.0, speed_cutoff: float = 1.0) -> None:
        self.fps, self.cutoff, self.beta, self.speed_cutoff = fps, cutoff, beta, speed_cutoff
        self._value: np.ndarray | None = None
        self._speed: np.ndarray | None = None

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """The filtered value of any shape; the first one passes as it is."""
        if self._value is None or self._speed is None:
            self._value, self._speed = value, np.zeros_like(value)
            return value
        speed = (value - self._value) * self.fps
        self._speed = self._speed + self._weight(self.speed_cutoff) * (speed - self._speed)
        weight = self._weight(self.cutoff + self.beta * np.abs(self._speed))
        self._value = self._value + weight * (value - self._value)
        return self._value

    def _weight(self, cutoff: float | np.ndarray) -> float | np.ndarray:
        ratio = 2.0 * math.pi * cutoff / self.fps
        return ratio / (ratio + 1.0)
