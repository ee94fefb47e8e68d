"""What a detector of people is to the rest: one image in, people with keypoints out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.inference.people import Person, box_of

__all__ = ["DetectorFailedError", "PoseDetector", "without_repeats"]


class DetectorFailedError(InputError):
    """A detector died while it was at work."""


class PoseDetector(Protocol):
    """People with 2D keypoints in an image.

    Attributes:
        skeleton: name of the joints in `skeleton.FOREIGN`.
    """

    skeleton: str

    def detect(self, image: np.ndarray, time: float) -> list[Person]:
        """People (px of the image) in an image (H, W, 3) uint8 RGB at a time in seconds, which never goes back."""
        ...

    def restart(self) -> None:
        """Another video begins: forget who was seen."""
        ...

    def close(self) -> None:
        """Give back what the detector holds."""
        ...


def without_repeats(people: Sequence[Person], least: float = 0.15) -> list[Person]:
    """People without those that lie on a surer one: mean joint distance below `least` of the body."""
    kept: list[Person] = []
    for person in sorted(people, key=lambda person: -person.certainty):
        body = max(float(box_of(person)[2:].max()), 1.0)
        apart = [np.linalg.norm(person.joints - other.joints, axis=-1).mean() / body for other in kept]
        if all(distance > least for distance in apart):
            kept.append(person)
    return kept
