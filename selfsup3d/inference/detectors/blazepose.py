"""BlazePose by MediaPipe's PoseLandmarker (the tasks API): 33 landmarks a person, tracked through a video."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.inference.detectors.protocol import DetectorFailedError, without_repeats
from selfsup3d.inference.people import Person
from selfsup3d.io.quiet_codecs import silent

__all__ = ["BlazePose"]


class BlazePose:
    """MediaPipe's pose landmarks.

    Args:
        weights: a `pose_landmarker_*.task` file. people: at most so many; each costs a pass of the landmark model.
        masks: give people their masks.

    Raises:
        InputError: MediaPipe is not installed, or the file is no model of it.
    """

    skeleton = "mediapipe_33"

    def __init__(self, weights: Path, people: int = 4, masks: bool = False) -> None:
        os.environ.setdefault("GLOG_minloglevel", "3")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise InputError(f"--detector mediapipe needs MediaPipe ({error}): pip install -e '.[detector]'") from None
        self._weights, self._create = weights, vision.PoseLandmarker.create_from_options
        self._options = vision.PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(weights.absolute())),
            running_mode=vision.RunningMode.VIDEO,
            num_poses=people,
            output_segmentation_masks=masks,
        )
        self._image = mediapipe.Image
        self._format = mediapipe.ImageFormat.SRGB
        self._begin()

    def _begin(self) -> None:
        try:
            with silent():  # TensorFlow Lite tells of itself
                self._landmarker = self._create(self._options)
        except Exception as error:  # whatever MediaPipe raises for other files
            raise InputError(
                f"{self._weights}: not a pose model of MediaPipe, such as pose_landmarker_full.task ({_first_line(error)})"
            ) from error
        self._last = -1

    def restart(self) -> None:
        """See `PoseDetector`: it follows people from frame to frame, so it is begun anew."""
        self.close()
        self._begin()

    def detect(self, image: np.ndarray, time: float) -> list[Person]:
        """See `PoseDetector`; the confidence is the landmarks' visibility."""
        height, width = image.shape[:2]
        quiet = silent() if self._last < 0 else nullcontext()  # its graph tells of itself at the first image
        self._last = max(self._last + 1, round(1000.0 * time) if np.isfinite(time) else self._last + 33)
        try:
            with quiet:
                found = self._landmarker.detect_for_video(
                    self._image(image_format=self._format, data=np.ascontiguousarray(image)), self._last
                )
        except Exception as error:
            raise DetectorFailedError(f"MediaPipe failed ({_first_line(error)})") from error
        people = []
        masks = found.segmentation_masks or [None] * len(found.pose_landmarks)
        for landmarks, mask in zip(found.pose_landmarks, masks, strict=True):
            joints = np.array([[mark.x * width, mark.y * height] for mark in landmarks])
            visible = np.array([mark.visibility for mark in landmarks], dtype=np.float64).clip(0, 1)
            people.append(Person(joints, visible, mask=None if mask is None else _to_uint8(mask.numpy_view())))
        return without_repeats(people)

    def close(self) -> None:
        """Its threads outlive the interpreter otherwise."""
        with silent():
            self._landmarker.close()


def _to_uint8(mask: np.ndarray) -> np.ndarray:
    """(H, W) of probabilities (H, W) or (H, W, 1)."""
    return np.rint(255.0 * mask.reshape(mask.shape[:2]).clip(0.0, 1.0)).astype(np.uint8)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
