"""This project's label-free model as a detector: the 2D joints of the one person that fills the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from selfsup3d.builders.systems import evaluated, load_system
from selfsup3d.errors import InputError
from selfsup3d.inference.people import Person
from selfsup3d.inference.predictor import Predictor
from selfsup3d.inference.windows import whole_frame

__all__ = ["LabelFree"]


class LabelFree:
    """2D joints by a system that takes images; it was trained without labels, and sees one person.

    Args:
        weights: a run, a released model or a checkpoint. device: to run on.

    Raises:
        InputError: no such model, or one that gives no 2D joints.
    """

    skeleton = "h36m_17"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        system, config = load_system(weights, torch.device(device))
        self._predictor = Predictor(system, int(getattr(evaluated(config), "size", 64)), parts="none")

    def detect(self, image: np.ndarray, time: float) -> list[Person]:
        """See `PoseDetector`; the model states no confidence, so that of every joint is 1."""
        (posed,) = self._predictor.stream([(0, image)], lambda _, frame: whole_frame(frame))
        if posed.joints_2d is None or not np.isfinite(posed.joints_2d).all():
            raise InputError("--detector model: this model gives no 2D joints; take a part-guided one")
        return [Person(posed.joints_2d.astype(np.float64), np.ones(len(posed.joints_2d)))]

    def restart(self) -> None:
        """Every image is looked at by itself."""

    def close(self) -> None:
        """Nothing is held."""
