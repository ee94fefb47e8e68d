"""RTMPose, RTMO and their person detectors by rtmlib (ONNX Runtime); model files are given by path."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.inference.detectors.protocol import DetectorFailedError
from selfsup3d.inference.people import Person

__all__ = ["RTMPose"]

_SKELETONS = {17: "coco_17", 26: "halpe_26", 133: "coco_17"}


class RTMPose:
    """A person detector (YOLOX, RTMDet) and a pose model (RTMPose), or one model for both (RTMO).

    Args:
        weights: ONNX files: [RTMO], or [person detector, RTMPose] in this order.

    Raises:
        InputError: rtmlib is not installed, or a file is no such model.
    """

    def __init__(self, weights: Sequence[Path]) -> None:
        try:
            import onnxruntime
            import rtmlib
        except ImportError as error:
            raise InputError(f"--detector rtmlib needs a package ({error}): pip install rtmlib onnxruntime") from None
        if len(weights) > 2:
            raise InputError("--detector-weights: rtmlib takes RTMO.onnx, or PERSON_DETECTOR.onnx RTMPOSE.onnx")
        sides = []
        for file in weights:
            try:
                shape = (
                    onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).get_inputs()[0].shape
                )
                sides.append((int(shape[3]), int(shape[2])))
            except Exception as error:  # whatever ONNX Runtime raises for other files, or sizes left open
                raise InputError(
                    f"{file}: not an ONNX model of a fixed image size ({str(error).splitlines()[0]})"
                ) from error
        more: dict[str, Any] = {"backend": "onnxruntime"}
        with contextlib.redirect_stdout(io.StringIO()):  # rtmlib prints what it loads
            self._boxes = rtmlib.YOLOX(str(weights[0]), sides[0], **more) if len(weights) == 2 else None
            kind = rtmlib.RTMPose if len(weights) == 2 else rtmlib.RTMO
            self._pose = kind(str(weights[-1]), sides[-1], **more)
        self.skeleton = "coco_17"

    def detect(self, image: np.ndarray, time: float) -> list[Person]:
        """See `PoseDetector`; the joints' set (17, 26 or 133) is the pose model's."""
        bgr = np.ascontiguousarray(image[..., ::-1])
        try:
            boxes = None if self._boxes is None else self._boxes(bgr)
            if boxes is not None and len(boxes) == 0:
                return []
            joints, scores = self._pose(bgr) if boxes is None else self._pose(bgr, bboxes=list(boxes))
        except Exception as error:
            raise DetectorFailedError(f"rtmlib failed ({str(error).splitlines()[0]})") from error
        joints, scores = np.asarray(joints, np.float64), np.asarray(scores, np.float64).clip(0.0, 1.0)
        if not len(joints):
            return []
        if joints.shape[1] not in _SKELETONS:
            raise InputError(f"--detector rtmlib: a pose model of {joints.shape[1]} joints; known are 17, 26 and 133")
        self.skeleton = _SKELETONS[joints.shape[1]]
        kept = 17 if self.skeleton == "coco_17" else joints.shape[1]
        return [Person(j[:kept], s[:kept]) for j, s in zip(joints, scores, strict=True) if (s[:kept] > 0).any()]

    def restart(self) -> None:
        """Every image is looked at by itself."""

    def close(self) -> None:
        """Nothing is held."""
