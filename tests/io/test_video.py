import contextlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from selfsup3d.errors import InputError
from selfsup3d.io import crops, video
from selfsup3d.io.images import frame_files, read_image
from selfsup3d.io.video import read_frames, read_timed_frames, video_info
from tests.video_writing import turn_by_header, write_timed

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mov": "mp4v", ".webm": "VP80", ".mkv": "MJPG"}


def write_video(path, frames, fps=10.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODECS[path.suffix]), fps, frames.shape[2:0:-1])
    if not writer.isOpened():
        pytest.skip(f"this OpenCV writes no {path.suffix}")
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


@pytest.fixture
def colours() -> np.ndarray:
    """(9, 48, 64, 3): each frame one flat colour, red rising."""
    frames = np.zeros((9, 48, 64, 3), dtype=np.uint8)
    frames[..., 0] = np.arange(20, 200, 20)[:, None, None]
    frames[..., 2] = 60
    return frames


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_videos_come_back_in_order_and_in_rgb(tmp_path, colours, suffix):
    path = write_video(tmp_path / f"clip{suffix}", colours)
    frames = list(read_frames(path))
    assert len(frames) == 9
    assert frames[0].shape == (48, 64, 3)
    means = np.stack([f.mean((0, 1)) for f in frames])
    assert np.abs(means - colours.mean((1, 2))).max() < 12
    assert video_info(path).fps == pytest.approx(10.0, abs=0.1)


def test_gif(tmp_path, colours):
    from torch import from_numpy  # noqa: F401 - PIL comes with torchvision
    from PIL import Image  # isort: skip

    images = [Image.fromarray(frame) for frame in colours]
    images[0].save(tmp_path / "clip.gif", save_all=True, append_images=images[1:], duration=100)
    frames = list(read_frames(tmp_path / "clip.gif"))
    assert len(frames) == 9
    assert np.abs(frames[4].mean((0, 1)) - colours[4].mean((0, 1))).max() < 12


def test_every_nth_frame_of_a_range(tmp_path, colours):
    path = write_video(tmp_path / "clip.avi", colours)
    for source in (path, _folder(tmp_path, colours)):
        red = [int(f[0, 0, 0]) for f in read_frames(source, every=3, start=1, stop=8)]
        assert np.abs(np.array(red) - [40, 100, 160]).max() < 8


def _folder(tmp_path, frames, suffix=".png"):
    folder = tmp_path / "frames"
    folder.mkdir(exist_ok=True)
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"frame {index}{suffix}"), frame[..., ::-1])
    return folder


def test_folders_are_read_in_natural_order(tmp_path):
    frames = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    folder = _folder(tmp_path, frames)
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    assert len(frame_files(folder)) == 12
    assert [int(f[0, 0, 0]) for f in read_frames(folder)] == list(range(12))
    assert video_info(folder).frames == 12


@pytest.mark.parametrize("name", ["плач 中文 é.png", "with space.jpg", "UPPER.PNG"])
def test_any_file_name(tmp_path, name):
    image = np.full((8, 8, 3), 77, dtype=np.uint8)
    good, data = cv2.imencode(name[-4:].lower(), image)
    assert good
    (tmp_path / name).write_bytes(data.tobytes())
    assert np.abs(read_image(tmp_path / name).astype(int) - 77).max() <= 2
    assert len(list(read_frames(tmp_path))) == 1


def test_videos_with_any_name(tmp_path, colours):
    path = write_video(tmp_path / "clip.avi", colours).rename(tmp_path / "видео 中.avi")
    assert len(list(read_frames(path))) == 9


def test_grey_alpha_and_sixteen_bits_become_rgb(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    rgba = np.dstack([np.full((8, 8), v, np.uint8) for v in (10, 20, 30, 128)])  # BGRA on disk
    cv2.imwrite(str(tmp_path / "rgba.png"), rgba)
    over_white = [round((v * 128 + 255 * 127) / 255) for v in (30, 20, 10)]
    assert read_image(tmp_path / "rgba.png")[0, 0].tolist() == over_white
    deep = np.full((8, 8, 3), 40_000, np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert read_image(tmp_path / "deep.png")[0, 0].tolist() == [156, 156, 156]
    cv2.imwrite(str(tmp_path / "one.png"), np.full((1, 1, 3), 9, np.uint8))
    assert read_image(tmp_path / "one.png").shape == (1, 1, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_images_from_turned_phones_stand_upright(tmp_path, suffix):
    held = np.zeros((40, 64, 3), np.uint8)
    held[:20, :32], held[:20, 32:], held[20:, :32] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    path = tmp_path / f"p{suffix}"
    for told in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = told
        Image.fromarray(held).save(path, exif=exif, quality=95)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        assert np.abs(read_image(path).astype(int) - expected).mean() < 3, told
        assert read_image(path, upright=False).shape == (40, 64, 3)
    assert next(read_frames(tmp_path)).shape == (64, 40, 3)  # and in folders


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.gif", "clip.webm"])
@pytest.mark.parametrize("content", [b"", b"this is no video at all", bytes(range(256)) * 40])
def test_files_that_are_no_videos(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        list(read_frames(tmp_path / name))


def test_a_truncated_video_gives_what_is_there_or_an_error(tmp_path, colours):
    for suffix in (".avi", ".mp4"):
        path = write_video(tmp_path / f"clip{suffix}", colours)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        count = 0
        with contextlib.suppress(InputError):
            for frame in read_frames(path):
                assert frame.shape == (48, 64, 3)
                count += 1
        assert count <= 9


def test_missing_and_empty(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        list(read_frames(tmp_path / "none.mp4"))
    with pytest.raises(InputError, match="no such file"):
        video_info(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="no images"):
        list(read_frames(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"junk" * 100])
def test_damaged_images_are_named(tmp_path, content):
    (tmp_path / "0001.png").write_bytes(content)
    with pytest.raises(InputError, match=r"0001\.png"):
        list(read_frames(tmp_path))


def test_images_of_different_sizes_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"2\.png: 9x8"):
        list(read_frames(tmp_path))


def test_videos_of_giant_frames_are_refused_before_one_is_decoded(tmp_path, monkeypatch):
    write_video(tmp_path / "walk.avi", np.zeros((3, 48, 64, 3), np.uint8))
    assert video_info(tmp_path / "walk.avi").width > 0
    monkeypatch.setattr(video, "MAX_PIXELS", 100)
    with pytest.raises(InputError, match=r"walk\.avi: frames of \d+x\d+ pixels; up to 100 are read"):
        next(read_frames(tmp_path / "walk.avi"))


# ---- times, pixel shapes, rotations and names of containers ----


def steps(count=5, size=(48, 64)):
    frames = np.zeros((count, *size, 3), np.uint8)
    frames[:, : size[0] // 2, : size[1] // 2] = (220, 40, 40)
    frames[:, size[0] // 2 :] += np.arange(0, 20 * count, 20, np.uint8)[:, None, None, None]
    return frames


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx-vp9")])
def test_times_of_a_variable_rate_are_the_containers(tmp_path, suffix, codec):
    times = [0.0, 0.9, 1.0, 3.0, 3.1]
    path = write_timed(tmp_path / f"a{suffix}", steps(), times, codec)
    frames = list(read_timed_frames(path))
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=2e-3)
    thinned = list(read_timed_frames(path, every=3))
    np.testing.assert_allclose([frame.time for frame in thinned], [0.0, 3.0], atol=2e-3)


def test_times_begin_at_the_first_frame(tmp_path):
    path = write_timed(tmp_path / "a.mkv", steps(), [5.0, 5.1, 5.2, 5.3, 5.4])
    np.testing.assert_allclose([f.time for f in read_timed_frames(path, start=2)], [0.2, 0.3, 0.4], atol=2e-3)


def test_a_container_without_a_rate_is_not_taken_for_a_thousand_a_second(tmp_path):
    path = write_timed(tmp_path / "a.webm", steps(), [0.1 * k for k in range(5)], "libvpx", rate=1000)
    assert video_info(path).fps < 100
    assert [round(frame.time, 3) for frame in read_timed_frames(path)] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_a_raw_stream_says_that_its_rate_is_assumed(tmp_path):
    path = write_timed(tmp_path / "a.h264", steps(), [0.1 * k for k in range(5)])
    info = video_info(path)
    assert f"{info.fps:g} frames/s are assumed" in info.note
    assert np.isfinite([frame.time for frame in read_timed_frames(path)]).all()


@pytest.mark.parametrize(("pixels", "shown"), [(Fraction(3, 2), (48, 96)), (Fraction(1, 2), (96, 64))])
def test_pixels_that_are_not_square_are_made_square(tmp_path, pixels, shown):
    path = write_timed(tmp_path / "a.mp4", steps(), [0.1 * k for k in range(5)], pixels=pixels)
    (frame, *_) = read_frames(path)
    assert frame.shape[:2] == shown == (video_info(path).height, video_info(path).width)
    assert frame[4, shown[1] // 2 - 8, 0] > 180  # the red corner fills its quarter still
    assert frame[4, shown[1] // 2 + 8, 0] < 60


def test_a_rotation_of_the_container_is_applied(tmp_path):
    path = write_timed(tmp_path / "a.mp4", steps(), [0.1 * k for k in range(5)])
    turn_by_header(path)
    (frame, *_) = read_frames(path)
    capture = cv2.VideoCapture(str(path))  # turns by itself
    oracle = capture.read()[1][..., ::-1]
    assert frame.shape == oracle.shape == (64, 48, 3)
    assert np.abs(frame.astype(int) - oracle).mean() < 3
    assert (video_info(path).width, video_info(path).height) == (48, 64)


def test_transparent_frames_of_a_gif_lie_over_white(tmp_path):
    image = Image.new("P", (16, 16), 0)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.putpixel((3, 3), 1)
    image.save(tmp_path / "a.gif", save_all=True, append_images=[image.rotate(90)], transparency=0, duration=100)
    (frame, *_) = read_frames(tmp_path / "a.gif")
    assert frame[10, 10].tolist() == [255, 255, 255]


@pytest.mark.parametrize("name", ["cam1:take2.mp4", "http:a.mp4", "walk%03d.mp4", "pipe:0.mp4", "a?b.mp4"])
def test_a_relative_name_that_looks_like_a_protocol_is_a_file(tmp_path, monkeypatch, name):
    write_timed(tmp_path / name, steps(), [0.1 * k for k in range(5)])
    monkeypatch.chdir(tmp_path)
    assert len(list(read_frames(name))) == 5
    assert crops.Frames("").read(name, 2, 64, 48).image.shape == (48, 64, 3)


def test_a_codec_that_cannot_be_decoded_is_named_with_the_command(tmp_path):
    path = write_timed(tmp_path / "a.mp4", steps(), [0.1 * k for k in range(5)])
    data = path.read_bytes()
    at = data.index(b"avc1", data.index(b"stsd"))
    path.write_bytes(data[:at] + b"xyz9" + data[at + 4 :])
    with pytest.raises(InputError, match=r"a\.mp4: no frame .*Re-encode it: ffmpeg -i a\.mp4 -c:v libx264"):
        list(read_frames(path))


def test_av1_is_decoded(tmp_path):
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("no encoder of AV1 here")
    path = write_timed(tmp_path / "a.mp4", steps(size=(64, 64)), [0.1 * k for k in range(5)], "libsvtav1")
    assert len(list(read_frames(path))) == 5


def test_a_playlist_is_no_video(tmp_path):
    write_timed(tmp_path / "a.ts", steps(), [0.1 * k for k in range(5)])
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\na.ts\n")
    with pytest.raises(InputError, match=r"list\.mp4: not a video"):
        list(read_frames(tmp_path / "list.mp4"))
