import os
import threading

import cv2
import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.io.images import read_image
from selfsup3d.io.quiet_codecs import silent


def test_silent_inside_and_loud_again(capfd):
    with silent():
        os.write(2, b"lost")
        with silent():
            os.write(2, b"lost")
        os.write(2, b"lost")
    os.write(2, b"heard")
    with pytest.raises(KeyError), silent():
        raise KeyError
    os.write(2, b" again")
    assert capfd.readouterr().err == "heard again"


def test_threads_leave_no_descriptor_open(capfd):
    def work():
        for _ in range(200):
            with silent():
                os.write(2, b"lost")

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_a_damaged_png_is_told_by_us_alone(tmp_path, capfd):
    """Its rows name a filter that there is not, which libpng prints."""
    image = np.random.default_rng(0).integers(0, 255, (60, 44, 3), np.uint8)
    data = bytearray(cv2.imencode(".png", image)[1].tobytes())
    data[50:250] = b"\xff" * 200
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png"):
        read_image(tmp_path / "a.png")
    assert capfd.readouterr().err == ""
