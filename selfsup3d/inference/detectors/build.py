"""A detector by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfsup3d.config.choices import PoseDetectorName
from selfsup3d.errors import InputError
from selfsup3d.inference.detectors.protocol import PoseDetector

__all__ = ["build_detector"]


def build_detector(
    name: PoseDetectorName, weights: Sequence[Path], people: int = 4, device: str = "cpu", masks: bool = False
) -> PoseDetector:
    """A detector by name.

    Args:
        name: see `PoseDetectorName`.
        weights: its file; for "rtmlib" a person detector and a pose model, or one RTMO; for "model" a run or released
            model of this project.
        people: at most so many in a frame, where the detector wants to know.
        device: of torch's detectors.
        masks: people have masks, where the detector makes any (mediapipe).

    Raises:
        InputError: a missing package, no weights, or a file that is something else.
    """
    for file in weights:
        if not file.exists():
            raise InputError(f"{file}: no such file; expected weights for --detector {name}")
    if not weights:
        raise InputError(f"--detector {name} needs --detector-weights FILE; nothing is downloaded by itself")
    if name == "mediapipe":
        from selfsup3d.inference.detectors.blazepose import BlazePose

        return BlazePose(weights[0], people, masks)
    if name == "rtmlib":
        from selfsup3d.inference.detectors.rtm import RTMPose

        return RTMPose(weights)
    if name == "torchvision":
        from selfsup3d.inference.detectors.keypoint_rcnn import KeypointRCNN

        return KeypointRCNN(weights[0], device)
    from selfsup3d.inference.detectors.label_free import LabelFree

    return LabelFree(weights[0], device)
