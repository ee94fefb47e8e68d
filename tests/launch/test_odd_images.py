"""Images that are unusual but whole, in every script that takes images: read, or refused for what they are."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from selfsup3d.cli import run
from selfsup3d.data.sampling.clip_store import ClipStore
from selfsup3d.viz.sheets import write_png

NOISE = cv2.resize(np.random.default_rng(0).integers(0, 255, (5, 4, 3), np.uint8), (30, 40))
GOOD = {
    "1x1.png": NOISE[:1, :1],
    "1x300.png": np.repeat(NOISE[:1, :1], 300, axis=1),
    "300x1.jpg": np.repeat(NOISE[:1, :1], 300, axis=0),
    "grey.png": NOISE[..., 0],
    "grey.jpg": NOISE[..., 0],
    "alpha.png": np.concatenate([NOISE, NOISE[..., :1]], -1),
    "sixteen bits.png": NOISE.astype(np.uint16) * 257,
    "sixteen grey bits.png": NOISE[..., 0].astype(np.uint16) * 257,
    "sixteen bits and alpha.png": np.concatenate([NOISE, NOISE[..., :1]], -1).astype(np.uint16) * 257,
    "odd size.png": NOISE[:37, :23],
    "odd size.webp": NOISE[:37, :23],
    "UPPER.JPG": NOISE,
    "ünïcode 中文 плач.bmp": NOISE,
}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def giant_png(side):
    """A whole, valid PNG of side x side pixels of one bit: 20,000 make 400 million pixels of 60 KB."""
    rows = zlib.compressobj(9)
    row = b"\0" + bytes((side + 7) // 8)
    packed = b"".join(rows.compress(row * 1000) for _ in range(side // 1000)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def giant(tmp_path_factory):
    path = tmp_path_factory.mktemp("giant") / "giant.png"
    path.write_bytes(giant_png(20_000))
    assert path.stat().st_size < 200_000
    return path


def write(folder, name):
    """An image of the table."""
    path = folder / name
    path.write_bytes(cv2.imencode(path.suffix.lower(), GOOD[name])[1].tobytes())
    return path


def refuses(script, out, *arguments):
    """The first line that a script prints on stderr; it must leave nothing at `out`."""

    def call(capfd):
        capfd.readouterr()
        assert run(script.main, [str(a) for a in arguments]) == 2
        printed = capfd.readouterr().err
        assert "Traceback" not in printed
        assert not out.exists()
        return printed.splitlines()[0]

    return call


# ---- launch/novel_view.py ----


def novel_view(model, image, out, *more):
    return ["--checkpoint", model, "--image", image, "--output", out, "--device", "cpu", "--count", 1,
            "--video", "none", *more]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_novel_view(load_script, model, tmp_path, name):
    image, out = write(tmp_path, name), tmp_path / "out"
    background = ["--background", image if name == "alpha.png" else "background"]
    assert run(load_script("novel_view").main, [str(a) for a in novel_view(model, image, out, *background)]) == 0
    assert [path.name for path in out.iterdir()] == ["views.png"]
    sheet = cv2.imread(str(out / "views.png"))
    assert sheet[2:130, 2:130].std() > 0 or 1 in GOOD[name].shape[:2]  # the image itself; no white or black square


def test_novel_view_of_a_giant(load_script, model, scenes, tmp_path, giant, capfd):
    script, out = load_script("novel_view"), tmp_path / "out"
    told = refuses(script, out, *novel_view(model, giant, out))(capfd)
    assert told.startswith(f"{giant}: ")
    assert "pixels" in told
    told = refuses(script, out, *novel_view(model, scenes / "a.png", out, "--background", giant))(capfd)
    assert str(giant) in told


# ---- launch/pose_transfer.py ----


def pose_transfer(model, appearance, driving, out, *more):
    return ["--checkpoint", model, "--appearance", appearance, "--driving", *driving, "--output", out,
            "--device", "cpu", "--scale", 1, *more]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_pose_transfer(load_script, model, scenes, tmp_path, name):
    image, out = write(tmp_path, name), tmp_path / "out"
    command = pose_transfer(model, image, [image, scenes / "b.png"], out)
    assert run(load_script("pose_transfer").main, [str(a) for a in command]) == 0
    assert [path.name for path in out.iterdir()] == ["grid.png"]


def test_pose_transfer_of_giants(load_script, model, scenes, tmp_path, giant, capfd):
    script, out = load_script("pose_transfer"), tmp_path / "out"
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "0.png").write_bytes(giant.read_bytes())
    for appearance, driving in ((giant, scenes / "b.png"), (scenes / "a.png", giant), (scenes / "a.png", folder)):
        told = refuses(script, out, *pose_transfer(model, appearance, [driving], out))(capfd)
        assert ".png: " in told
        assert "pixels" in told


# ---- launch/prepare_data.py ----


def prepare(root, out, *more):
    return ["--dataset", "videos", "--root", root, "--output", out, "--size", 32, "--crop", "whole", "--quiet", *more]


@pytest.mark.parametrize("name", GOOD)
def test_prepare_data(load_script, tmp_path, name):
    """A clip of such frames."""
    frames, out = tmp_path / "videos" / "clip of frames", tmp_path / "clips"
    frames.mkdir(parents=True)
    data = write(tmp_path, name).read_bytes()
    for number in range(16):
        (frames / f"{number} {name}").write_bytes(data)
    assert run(load_script("prepare_data").main, [str(a) for a in prepare(tmp_path / "videos", out)]) == 0
    (clip,) = ClipStore(out)
    assert clip.frames.shape == (16, 32, 32, 3)
    assert len(np.unique(clip.frames)) > 1 or 1 in GOOD[name].shape[:2]


def test_prepare_data_of_frames_of_every_kind(load_script, tmp_path):
    """Grey, transparent and deep frames of one size that show the same are one clip of one still."""
    frames, out = tmp_path / "videos", tmp_path / "clips"
    frames.mkdir()
    grey = NOISE[..., 0]
    rgb = np.repeat(grey[..., None], 3, -1)
    clear = np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], -1)
    kinds = [grey, rgb, clear, *(kind.astype(np.uint16) * 257 for kind in (grey, rgb, clear))]
    for number in range(18):
        cv2.imwrite(str(frames / f"{number}.png"), kinds[number % 6])
    assert run(load_script("prepare_data").main, [str(a) for a in prepare(frames, out)]) == 0
    (clip,) = ClipStore(out)
    assert len(clip.frames) == 18
    assert (clip.frames == clip.frames[:1]).all()


def test_prepare_data_of_giants(load_script, tmp_path, giant, capfd):
    script, out, videos = load_script("prepare_data"), tmp_path / "clips", tmp_path / "videos"
    (videos / "giants").mkdir(parents=True)
    (videos / "giants" / "0.png").write_bytes(giant.read_bytes())
    arguments = [str(a) for a in prepare(videos, out)]
    assert run(script.main, arguments) == 2
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert f"{videos / 'giants' / '0.png'}: " in told.splitlines()[0]
    assert "pixels" in told.splitlines()[0]
    (videos / "fine").mkdir()
    for number in range(16):
        write_png(videos / "fine" / f"{number}.png", NOISE)
    assert run(script.main, arguments) == 0  # one bad clip among others is left out, and told
    assert "giants" in capfd.readouterr().err
    assert len(list(ClipStore(out))) == 1
