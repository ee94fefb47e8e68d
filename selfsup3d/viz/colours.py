"""One palette: left warm, right cool, middle neutral, as in the puppet's part table; heat for errors.

Colours are RGB. Nothing rests on hue alone: left and right differ in brightness too, so that prints in grey and
colour-blind readers can tell them apart.
"""

from __future__ import annotations

import numpy as np

from selfsup3d.structures.skeleton import Skeleton

__all__ = ["ERROR", "LEFT", "MIDDLE", "PEOPLE", "PREDICTION", "RIGHT", "TRUTH", "bone_colours", "heat", "joint_colours"]

Colour = tuple[int, int, int]

LEFT: Colour = (240, 130, 40)
RIGHT: Colour = (30, 90, 190)
MIDDLE: Colour = (110, 110, 110)
TRUTH: Colour = (150, 150, 150)
PREDICTION: Colour = (40, 90, 220)
ERROR: Colour = (220, 30, 30)

# green, yellow, red, dark red at 0, 1/3, 2/3, 1
_HEAT = np.array([(40, 160, 80), (240, 210, 60), (220, 60, 40), (110, 10, 40)], dtype=np.float64)


def joint_colours(skeleton: Skeleton) -> list[Colour]:
    """Colour of each joint by its side."""
    return [LEFT if j in skeleton.left else RIGHT if j in skeleton.right else MIDDLE for j in range(len(skeleton))]


def bone_colours(skeleton: Skeleton) -> list[Colour]:
    """Colour of each bone, in the order of `skeleton.bones`: the side of its child."""
    colours = joint_colours(skeleton)
    return [colours[child] for _, child in skeleton.bones]


def heat(values: np.ndarray, limit: float) -> np.ndarray:
    """Values of any shape, 0 to `limit`, as colours (..., 3) uint8 from green over yellow to dark red.

    Values beyond the limit get its colour; non-finite ones are black.
    """
    values = np.asarray(values, dtype=np.float64)
    position = np.nan_to_num(values / limit, nan=0.0, posinf=1.0).clip(0.0, 1.0) * (len(_HEAT) - 1)
    channels = [np.interp(position, np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)]
    return np.where(np.isfinite(values)[..., None], np.stack(channels, -1), 0.0).round().astype(np.uint8)


PEOPLE: tuple[Colour, ...] = (
    (240, 130, 40), (40, 110, 210), (60, 170, 90), (190, 60, 160), (220, 190, 40), (40, 180, 190), (150, 90, 50), (120, 120, 120),
)  # fmt: skip
"""One colour a person, repeated beyond."""
