"""Recording a camera that is made up: what comes is kept, however it ends."""

import os
import signal
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.inference import webcam
from selfsup3d.io.video import read_timed_frames

TIMES = [5.0, 5.1, 5.2, 5.35, 5.4, 5.6]
BLUE = np.broadcast_to(np.uint8([200, 40, 20]), (48, 64, 3))  # OpenCV's order: blue, green, red


class Camera:
    """Gives so many frames, and then none. `at` is called with each frame's number."""

    def __init__(self, count=6, at=lambda k: None):
        self.count, self.at, self.given, self.released = count, at, 0, False

    def isOpened(self):
        return self.count > 0

    def read(self):
        if self.given == self.count:
            return False, None
        self.at(self.given)
        self.given += 1
        return True, BLUE

    def release(self):
        self.released = True


@pytest.fixture
def record(monkeypatch, tmp_path):
    """Records a made-up camera on a machine without a screen; the frames of the video."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(webcam, "sys", SimpleNamespace(platform="linux"))

    def recorded(camera, limit=100):
        monkeypatch.setattr(webcam, "time", SimpleNamespace(monotonic=iter(TIMES).__next__))
        monkeypatch.setattr(cv2, "VideoCapture", lambda number: camera)
        frames = list(read_timed_frames(webcam.record_webcam(0, tmp_path / "webcam.mp4", limit)))
        assert camera.released
        return frames

    return recorded


def test_frames_keep_their_colours_and_the_times_at_which_they_came(record, capsys):
    frames = record(Camera())
    np.testing.assert_allclose([frame.time for frame in frames], np.subtract(TIMES, TIMES[0]), atol=1e-3)
    np.testing.assert_allclose(frames[2].image[24, 32], [20, 40, 200], atol=12)
    assert capsys.readouterr().out.rstrip().endswith("webcam.mp4; Ctrl-C ends it")


def test_so_many_frames_are_recorded_as_are_wanted(record):
    camera = Camera()
    assert len(record(camera, limit=4)) == camera.given == 4


def test_an_interrupt_ends_the_recording_and_keeps_it(record):
    before = signal.getsignal(signal.SIGINT)
    assert len(record(Camera(at=lambda k: os.kill(os.getpid(), signal.SIGINT) if k == 2 else None))) == 3
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("key", "count"), [(ord("q"), 3), (27, 3), (ord("x"), len(TIMES))])
def test_a_key_in_the_window_ends_it(record, monkeypatch, key, count):
    monkeypatch.setenv("DISPLAY", ":0")
    keys, closed = iter([255, 255, *[key] * 9]), []
    monkeypatch.setattr(cv2, "imshow", lambda title, image: None)
    monkeypatch.setattr(cv2, "waitKey", lambda delay: next(keys))
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: closed.append(True))
    assert len(record(Camera())) == count
    assert closed


def test_a_build_of_opencv_without_windows_records(record, monkeypatch):
    def fail(*_):
        raise cv2.error("The function is not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    for name in ("imshow", "waitKey", "destroyAllWindows"):
        monkeypatch.setattr(cv2, name, fail)
    assert len(record(Camera())) == len(TIMES)


def test_a_camera_that_gives_nothing_is_told_and_released(record, tmp_path):
    for camera in (Camera(count=0), Camera(at=lambda k: None)):
        camera.given = camera.count  # absent; or there, and another program holds it
        with pytest.raises(InputError, match="there is no camera 0 here, or another program holds it"):
            record(camera)
        assert camera.released
    assert list(tmp_path.iterdir()) == []
