import cv2
import numpy as np
import pytest
from PIL import Image

from selfsup3d.errors import InputError
from selfsup3d.viz.animation import FORMATS, write_animation


def frames(count=6, size=(33, 47)):
    """A bright square that walks to the right over a ramp; odd sizes."""
    for k in range(count):
        frame = np.zeros((*size, 3), np.uint8)
        frame[..., 0] = np.linspace(0, 120, size[1]).astype(np.uint8)
        frame[8:20, 4 + 5 * k : 12 + 5 * k] = (250, 240, 40)
        yield frame


def read_back(path):
    if path.suffix in (".gif", ".png"):
        with Image.open(path) as image:
            out = []
            for k in range(image.n_frames):
                image.seek(k)
                out.append(np.array(image.convert("RGB")))
            return out
    capture, out = cv2.VideoCapture(str(path)), []
    while True:
        ok, frame = capture.read()
        if not ok:
            return out
        out.append(frame[..., ::-1])


def test_a_gif_keeps_the_colours_of_thin_limbs_beside_a_image_full_of_others(tmp_path):
    rng = np.random.default_rng(0)
    frame = np.full((128, 384, 3), 250, np.uint8)
    for left in (0, 256):
        dark = rng.integers(60, 150, (12, 12, 3), dtype=np.uint8)
        frame[:, left : left + 128] = cv2.resize(dark, (128, 128), interpolation=cv2.INTER_CUBIC)
    frame[:, :128] //= 2
    frame[60:100, 180], frame[60:100, 190] = (30, 90, 190), (250, 130, 40)
    write_animation(tmp_path / "a.gif", [frame, frame], fps=10)
    shown = read_back(tmp_path / "a.gif")[0].astype(int)
    assert np.abs(shown - frame)[60:100, 180:191].max() < 20


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_frames_back_in_order_and_colour(suffix, tmp_path):
    path = tmp_path / f"walk{suffix}"
    assert write_animation(path, frames(), fps=10) == 6
    shown = read_back(path)
    assert len(shown) == 6
    for frame, original in zip(shown, frames(), strict=True):
        assert np.abs(frame[:33, :47].astype(int) - original).mean() < 8
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_png_is_lossless_and_durations_follow_the_rate(tmp_path):
    write_animation(tmp_path / "a.png", frames(), fps=20)
    np.testing.assert_array_equal(np.stack(read_back(tmp_path / "a.png")), np.stack(list(frames())))
    write_animation(tmp_path / "a.gif", frames(), fps=20)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["duration"] == 50
        assert image.info["loop"] == 0


@pytest.mark.parametrize("fps", [8.0, 15.0, 24.0, 30.0])
def test_a_gif_lasts_as_long_as_its_frames(tmp_path, fps):
    images = [np.full((8, 8, 3), 10 * k, np.uint8) for k in range(25)]
    write_animation(tmp_path / "a.gif", images, fps)
    with Image.open(tmp_path / "a.gif") as image:
        lasts = []
        for k in range(image.n_frames):
            image.seek(k)
            lasts.append(image.info["duration"])
    assert len(lasts) == 25
    assert abs(sum(lasts) - 25_000.0 / fps) <= 10
    assert min(lasts) >= 20


def test_videos_take_frame_by_frame(tmp_path):
    taken = []

    def counted():
        for frame in frames():
            taken.append(len(taken))
            yield frame

    write_animation(tmp_path / "a.webm", counted())
    assert taken == list(range(6))


def test_bad_input_leaves_no_file(tmp_path):
    with pytest.raises(InputError, match=r"\.mkv"):
        write_animation(tmp_path / "a.mkv", frames())
    with pytest.raises(ValueError, match="at least one"):
        write_animation(tmp_path / "a.gif", [])
    with pytest.raises(ValueError, match=r"\(33, 47, 3\)"):
        write_animation(tmp_path / "a.webm", [*frames(2), *frames(1, (10, 10))])
    assert list(tmp_path.iterdir()) == []
