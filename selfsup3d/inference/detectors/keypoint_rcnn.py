"""Keypoint R-CNN of torchvision: COCO's 17 keypoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from selfsup3d.errors import InputError
from selfsup3d.inference.people import Person

__all__ = ["KeypointRCNN"]

_SURE = 0.7  # score of a person that counts


class KeypointRCNN:
    """`keypointrcnn_resnet50_fpn` with weights from a file.

    Args:
        weights: its state dict. device: to run on.

    Raises:
        InputError: another file.
    """

    skeleton = "coco_17"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        from torchvision.models.detection import keypointrcnn_resnet50_fpn

        self._model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
        try:
            self._model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:  # damaged, another architecture, or pickled objects that are refused
            raise InputError(
                f"{weights}: not a state dict of keypointrcnn_resnet50_fpn ({str(error).splitlines()[0]})"
            ) from error
        self._device = device
        self._model.eval().to(device)

    def detect(self, image: np.ndarray, time: float) -> list[Person]:
        """See `PoseDetector`."""
        with torch.inference_mode():
            found = self._model([torch.from_numpy(image).permute(2, 0, 1).float().to(self._device) / 255.0])[0]
        people = []
        for score, box, points, marks in zip(
            *(found[name].cpu().numpy() for name in ("scores", "boxes", "keypoints", "keypoints_scores")), strict=True
        ):
            if score < _SURE:
                continue
            confidence = 1.0 / (1.0 + np.exp(-marks.astype(np.float64)))  # the marks are logits
            people.append(
                Person(points[:, :2].astype(np.float64), confidence, np.concatenate([box[:2], box[2:] - box[:2]]))
            )
        return people

    def restart(self) -> None:
        """Every image is looked at by itself."""

    def close(self) -> None:
        """Nothing is held."""
