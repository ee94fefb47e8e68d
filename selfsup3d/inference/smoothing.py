"""Smoothing over time while frames stream by: the One Euro filter (Casiez, Roussel & Vogel, CHI 2012)."""

from __future__ import annotations

import math

import numpy as np

from selfsup3d.structures.skeleton import ALPHA_JOINTS, FK_PARENTS

__all__ = ["OneEuro", "with_bones_of"]

_NO_LENGTH = 1e-6


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

    def __call__(self, value: np.ndarray, seconds: float | None = None) -> np.ndarray:
        """The filtered value of any shape; the first one passes as it is.

        Args:
            value: the next one. seconds: since the one before; None = 1 / fps.
        """
        fps = self.fps if seconds is None or not seconds > 0 else 1.0 / seconds
        if self._value is None or self._speed is None:
            self._value, self._speed = value, np.zeros_like(value)
            return value
        speed = (value - self._value) * fps
        self._speed = self._speed + self._weight(self.speed_cutoff, fps) * (speed - self._speed)
        weight = self._weight(self.cutoff + self.beta * np.abs(self._speed), fps)
        self._value = self._value + weight * (value - self._value)
        return self._value

    @staticmethod
    def _weight(cutoff: float | np.ndarray, fps: float) -> float | np.ndarray:
        ratio = 2.0 * math.pi * cutoff / fps
        return ratio / (ratio + 1.0)


def with_bones_of(joints: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(17, 3) poses with the bone directions of one and the bone lengths of the other.

    Filtered points come nearer to one another wherever limbs turn fast: a limb that jumps to the other side would shrink
    to nothing on its way.
    """
    result = joints.copy()
    for joint in ALPHA_JOINTS:  # parents before children
        parent = FK_PARENTS[joint]
        bone, own = joints[joint] - joints[parent], like[joint] - like[parent]
        length = float(np.linalg.norm(bone))
        result[joint] = result[parent] + (bone * (np.linalg.norm(own) / length) if length > _NO_LENGTH else own)
    return result
