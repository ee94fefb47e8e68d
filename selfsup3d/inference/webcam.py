"""A webcam's video, recorded with the times at which its frames came."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.io.quiet_codecs import silent
from selfsup3d.viz.animation import write_animation

__all__ = ["record_webcam"]

_FPS = 30.0  # of the first frame; from then on frames have times
_ENDING = (ord("q"), 27)  # keys


def record_webcam(number: int, path: Path, limit: int) -> Path:
    """Record until q or Escape is pressed in the window, Ctrl-C, `limit` frames, or until no more frames come; the path of
    the recording.

    Args:
        number: of the camera, 0 = the first. path: of the video to write.

    Raises:
        InputError: no picture comes from such a camera.
    """
    with silent():  # OpenCV tells of every way that it tries
        camera = cv2.VideoCapture(number)
        first = camera.read()[1] if camera.isOpened() else None
    times: deque[float] = deque()
    try:
        if first is None:
            raise InputError(
                f"--input {number}: there is no camera {number} here, or another program holds it; give a video file, or "
                "another number"
            )
        window = _has_screen()
        print(f"recording camera {number} into {path}; {'q in its window, or ' if window else ''}Ctrl-C ends it")
        with _interrupt_noted() as ended:

            def frames() -> Iterator[np.ndarray]:
                image, count = first, 0
                while image is not None:
                    times.append(time.monotonic())
                    yield np.ascontiguousarray(image[..., ::-1])
                    count += 1
                    if count >= limit or ended.is_set() or (window and _shown(image) in _ENDING):
                        return
                    image = camera.read()[1]

            write_animation(path, frames(), _FPS, iter(times.popleft, None))
    finally:
        camera.release()
        with suppress(cv2.error):  # builds without windows
            cv2.destroyAllWindows()
    return path


@contextmanager
def _interrupt_noted() -> Iterator[threading.Event]:
    """Inside, a first Ctrl-C sets the event, and no more: an exception while a frame is encoded would lose the recording. A
    second one interrupts."""
    ended = threading.Event()

    def note(*_: object) -> None:
        ended.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGINT, before)


def _has_screen() -> bool:
    """Whether a window can be opened: without an X display Qt, which draws OpenCV's windows on Linux, ends the process."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY"))


def _shown(image: np.ndarray) -> int:
    """The key that was pressed while a window shows an image; -1 = none, or OpenCV was built without windows."""
    try:
        cv2.imshow("selfsup3d", image)
        return cv2.waitKey(1) & 0xFF
    except cv2.error:
        return -1
