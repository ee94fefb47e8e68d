"""A webcam's video, recorded with the times at which its frames came."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.viz.animation import write_animation

__all__ = ["record_webcam"]


def record_webcam(number: int, path: Path, limit: int) -> Path:
    """Record until q or Escape is pressed in the window, Ctrl-C, or `limit` frames; the path of the recording.

    Args:
        number: of the camera, 0 = the first. path: of the video to write.

    Raises:
        InputError: there is no such camera.
    """
    camera = cv2.VideoCapture(number)
    good, frame = camera.read() if camera.isOpened() else (False, None)
    if not good:
        camera.release()
        raise InputError(f"--input {number}: there is no camera {number} here; give a video file, or another number")
    print(f"recording camera {number} into {path}; q in its window, or Ctrl-C, ends it")
    times: deque[float] = deque()

    def frames() -> Iterator[np.ndarray]:
        image, count = frame, 0
        try:
            while image is not None and count < limit:
                times.append(time.monotonic())
                yield np.ascontiguousarray(image[..., ::-1])
                count += 1
                if _shown(image) in (ord("q"), 27):
                    return
                image = camera.read()[1]
        except KeyboardInterrupt:
            return

    try:
        write_animation(path, frames(), 30.0, iter(times.popleft, None))
    finally:
        camera.release()
        cv2.destroyAllWindows() if hasattr(cv2, "destroyAllWindows") else None
    return path


def _shown(image: np.ndarray) -> int:
    """The key that was pressed while a window shows an image; -1 = none, or there is no screen."""
    try:
        cv2.imshow("selfsup3d", image)
        return cv2.waitKey(1) & 0xFF
    except cv2.error:
        return -1
