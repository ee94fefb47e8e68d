"""A detector's keypoints and masks of the person in a prepared clip, in place of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selfsup3d.config.choices import PoseDetectorName
from selfsup3d.inference.clock import Clock
from selfsup3d.inference.detection import detect_people
from selfsup3d.inference.detectors.build import build_detector
from selfsup3d.inference.keypoint_files import sequence_of
from selfsup3d.inference.people import main_track
from selfsup3d.io.stored_arrays import file_digest
from selfsup3d.io.video import VideoFrame
from selfsup3d.preparation.videos import ClipKeypoints
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["ClipMarker"]

_USUAL_FPS = 10.0


class ClipMarker:
    """Marks clips by a detector; of several people in a crop, the one of whom most is seen (`preparation.videos.Marker`).

    Args:
        name, weights: of the detector, see `detectors.build.build_detector`.

    Raises:
        InputError: see there.
    """

    def __init__(self, name: PoseDetectorName, weights: Sequence[Path]) -> None:
        self._detector = build_detector(name, weights, people=2, masks=True)
        self.name = " ".join([name, *(file_digest(file)[:16] for file in weights if file.is_file())])

    def close(self) -> None:
        """Give back what the detector holds: MediaPipe complains where the interpreter ends before it."""
        self._detector.close()

    def __call__(self, frames: np.ndarray, fps: float) -> ClipKeypoints:
        """Keypoints, and masks where the detector makes any, of frames (T, S, S, 3) uint8 RGB.

        Raises:
            DetectorFailedError: it died.
        """
        self._detector.restart()
        times = np.arange(len(frames)) / (fps or _USUAL_FPS)
        images = (VideoFrame(k, float(t), image) for k, (t, image) in enumerate(zip(times, frames, strict=True)))
        found = detect_people(images, self._detector, Clock())
        if found.failure is not None:
            raise found.failure
        marked = np.zeros((len(frames), NUM_JOINTS, 3), np.float32)
        if not found.tracker.tracks:
            return ClipKeypoints(marked)
        track = main_track(found.tracker.tracks)
        sequence = sequence_of(track, found.skeleton, found.size, "detector")
        if sequence is not None:
            marked[sequence.frames] = np.concatenate([sequence.joints, sequence.confidence[..., None]], -1)
        people = dict(zip(track.frames, track.people, strict=True))
        masks = np.zeros(frames.shape[:3], np.uint8)
        for number, person in people.items():
            if person.mask is None:
                return ClipKeypoints(marked)
            masks[number] = person.mask
        return ClipKeypoints(marked, masks)
