"""Views are exact: a known pattern lies where the geometry says, at every reduction, from images and videos."""

import multiprocessing
import os
import pickle

import cv2
import numpy as np
import pytest
import torch

from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import crop_intrinsics, project
from selfsup3d.io import crops as views
from selfsup3d.io import images as image_files
from selfsup3d.io.crops import (
    Frames,
    Reduced,
    cube_squares,
    map_pixels,
    pixel_step,
    read_image,
    read_view,
    square_view,
    squares_of_boxes,
    virtual_view,
    warp_view,
)

K = np.array([[900.0, 0, 330], [0, 910, 250], [0, 0, 1]])


def blobs(width, height, points, radius=9.0):
    """Smooth bright blobs at continuous pixels on black, RGB."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    image = np.zeros((height, width))
    for px, py in points:
        image = np.maximum(image, 255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2)))
    return np.repeat(image[..., None], 3, -1).astype(np.uint8)


def centre_of_light(crop):
    weight = crop[..., 0].astype(float)
    y, x = np.mgrid[0 : crop.shape[0], 0 : crop.shape[1]] + 0.5
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


POINT = (397.3, 241.8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    image = blobs(641, 483, [POINT])
    for suffix in ("jpg", "png"):
        assert cv2.imwrite(str(folder / f"img_000007.{suffix}"), image, [cv2.IMWRITE_JPEG_QUALITY, 97])
    assert cv2.imwrite(str(folder / "half_000007.jpg"), cv2.resize(image, (320, 241), interpolation=cv2.INTER_AREA))
    return folder


@pytest.mark.parametrize("name", ["img_{:06d}.jpg", "img_{:06d}.png", "half_{:06d}.jpg"])
@pytest.mark.parametrize("size", [16, 32, 64, 128, 256])
def test_a_point_lands_where_k_crop_says(images, name, size):
    square = np.array([250.0, 130.0, 255.0])  # from no reduction to 1/8
    crop = read_view(Frames(images), name, 7, square_view(square, size), size, 641, 483)
    expected = (np.array(POINT) - square[:2]) * size / square[2]
    assert np.abs(centre_of_light(crop) - expected).max() < 0.12
    np.testing.assert_allclose(map_pixels(square_view(square, size), np.array(POINT)), expected)
    point = torch.tensor([[(POINT[0] - K[0, 2]) / K[0, 0] * 4, (POINT[1] - K[1, 2]) / K[1, 1] * 4, 4.0]])
    inner = crop_intrinsics(torch.from_numpy(K).float(), torch.from_numpy(square[:2]).float(), size / square[2])
    np.testing.assert_allclose(project(point, inner)[0], expected, atol=1e-3)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8, 20])
def test_reduced_decoding_keeps_coordinates(images, reduction):
    reduced = read_image(images / "img_000007.jpg", 641, 483, reduction)
    factor = max(f for f in (1, 2, 4, 8) if f <= reduction)
    assert reduced.scale == (1 / factor, 1 / factor)
    assert abs(reduced.image.shape[1] - 641 / factor) < 1
    assert np.abs(centre_of_light(reduced.image) * factor - POINT).max() < 0.6
    assert read_image(images / "img_000007.png", 641, 483, reduction).scale == (1, 1)


def test_virtual_view_sees_what_a_turned_camera_sees():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 3)) * [0.4, 0.8, 0.3] + [1.4, -0.6, 4]  # far off the middle
    pixels = project(torch.from_numpy(points), torch.from_numpy(K)).numpy()
    square = squares_of_boxes(np.array([[*pixels.min(0), *np.ptp(pixels, axis=0)]]))[0]
    view, rotation, inner = virtual_view(square, K, 128)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    expected = project(torch.from_numpy(points @ rotation.T), torch.from_numpy(inner)).numpy()
    np.testing.assert_allclose(map_pixels(view, pixels), expected, atol=1e-4)
    np.testing.assert_allclose(inner[:2, 2], 64)
    middle = map_pixels(view, square[:2] + square[2] / 2)
    np.testing.assert_allclose(middle, 64, atol=1e-3)
    assert pixel_step(view, 128) == pytest.approx(square[2] / 128, rel=0.2)


def test_virtual_view_moves_the_image_along():
    image = Reduced(np.ascontiguousarray(blobs(641, 483, [POINT])), (1.0, 1.0))
    view, _, _ = virtual_view(np.array([250.0, 130.0, 255.0]), K, 128)
    expected = map_pixels(view, np.array(POINT))
    assert np.abs(centre_of_light(warp_view(image, view, 128)) - expected).max() < 0.1
    small = Reduced(cv2.resize(image.image, (321, 242), interpolation=cv2.INTER_AREA), (321 / 641, 242 / 483))
    assert np.abs(centre_of_light(warp_view(small, view, 128)) - expected).max() < 0.15


def test_outside_the_image_is_grey_and_colours_are_rgb():
    image = np.zeros((50, 60, 3), np.uint8)
    image[..., 0] = 200  # blue, as OpenCV stores it
    crop = warp_view(Reduced(image, (1.0, 1.0)), square_view(np.array([-60.0, 0, 100]), 10), 10)
    assert (crop[:, 0] == 127).all()
    assert (crop[2, 8] == [0, 0, 200]).all()


def test_thin_structures_do_not_alias():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = warp_view(Reduced(stripes, (1.0, 1.0)), square_view(np.array([0.0, 0, 512]), 32), 32)
    assert np.abs(crop.astype(int) - 127).max() < 10


def test_squares():
    np.testing.assert_allclose(squares_of_boxes(np.array([[10.0, 20, 30, 60]]), 1.0), [[-5, 20, 60]])
    joints = np.zeros((1, 17, 3))
    joints[:, 0] = [0.5, 0.1, 5]
    x, y, side = cube_squares(joints, K[None], side=2.0)[0]
    assert side == pytest.approx(2.0 * 905 / 5)
    assert x + side / 2 == pytest.approx(900 * 0.1 + 330)
    assert y + side / 2 == pytest.approx(910 * 0.02 + 250)


def write_video(path, frames=80, size=(112, 64)):
    """Each frame shows its number as seven black or white bars."""
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v")), 25, size
    )
    for n in range(frames):
        bars = [255 if n >> bit & 1 else 0 for bit in range(7)]
        writer.write(np.repeat(np.tile(np.repeat(np.uint8(bars), 16), (size[1], 1))[..., None], 3, -1))
    writer.release()


def number_in(image):
    return sum(int(image[:, 16 * bit + 4 : 16 * bit + 12].mean() > 127) << bit for bit in range(7))


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_video_frames_by_number_in_any_order(tmp_path, name):
    write_video(tmp_path / name)
    frames = Frames(tmp_path, open_videos=1)
    for number in (0, 1, 1, 5, 4, 70, 12, 79, 0):
        assert number_in(frames.read(name, number, 112, 64).image) == number
    with pytest.raises(InputError, match=rf"{name}: frame 80 cannot be decoded"):
        frames.read(name, 80, 112, 64)
    other = pickle.loads(pickle.dumps(frames))  # a worker opens its own
    assert number_in(other.read(name, 3, 112, 64).image) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_workers_open_videos_of_their_own(tmp_path):
    write_video(tmp_path / "a.mp4")
    frames = Frames(tmp_path)
    frames.read("a.mp4", 10, 112, 64)
    fork = multiprocessing.get_context("fork")
    found = fork.Queue()

    def read(numbers):
        found.put([number_in(frames.read("a.mp4", n, 112, 64).image) for n in numbers])

    wanted = [list(range(11, 61, 7)), list(range(12, 61, 5))]
    workers = [fork.Process(target=read, args=(numbers,), daemon=True) for numbers in wanted]
    for worker in workers:
        worker.start()
    assert sorted(found.get(timeout=60) for _ in workers) == wanted
    for worker in workers:
        worker.join()
    assert number_in(frames.read("a.mp4", 12, 112, 64).image) == 12


def test_few_videos_stay_open(tmp_path):
    for n in range(4):
        write_video(tmp_path / f"{n}.avi", frames=3)
    frames = Frames(tmp_path, open_videos=2)
    for n in (0, 1, 2, 3, 0, 3):
        frames.read(f"{n}.avi", 1, 112, 64)
    assert len(frames._videos) == 2


def test_bad_images_name_themselves(images, tmp_path):
    raw = (images / "img_000007.jpg").read_bytes()
    damages = {
        "cut.jpg": raw[: len(raw) // 2],
        "empty.jpg": b"",
        "text.jpg": b"404 not found",
        "text.png": b"no image",
    }
    for name, content in damages.items():
        (tmp_path / name).write_bytes(content)
    for name in (*damages, "absent.jpg"):
        with pytest.raises(InputError, match=name):
            read_image(tmp_path / name)
    (tmp_path / "bad.avi").write_bytes(b"RIFF")
    for name in ("bad.avi", "absent.avi"):
        with pytest.raises(InputError, match=name):
            Frames(tmp_path).read(name, 0, 10, 10)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_giants_are_refused_by_their_header(tmp_path, suffix, monkeypatch):
    cv2.imwrite(str(tmp_path / f"a{suffix}"), np.zeros((20, 30, 3), np.uint8))
    assert read_image(tmp_path / f"a{suffix}").image.shape == (20, 30, 3)
    for module in (image_files, views):
        monkeypatch.setattr(module, "MAX_PIXELS", 599)
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(InputError, match=rf"a{suffix}: 30x20 pixels; images of up to 599"):
        read_image(tmp_path / f"a{suffix}")
