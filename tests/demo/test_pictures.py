import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from selfsup3d.demo import pictures
from selfsup3d.demo.pictures import read_upload, window_of
from selfsup3d.errors import InputError


@pytest.fixture
def colours():
    return np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(("suffix", "options"), [(".png", {}), (".bmp", {}), (".webp", {"lossless": True})])
def test_pictures_are_read_as_they_are(tmp_path, colours, suffix, options):
    Image.fromarray(colours).save(tmp_path / f"a{suffix}", **options)
    assert np.array_equal(read_upload(tmp_path / f"a{suffix}"), colours)


def test_a_picture_from_a_turned_phone_stands_upright(tmp_path, colours):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    Image.fromarray(colours).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_upload(tmp_path / "a.png"), np.rot90(colours, -1))


def test_transparent_parts_are_white_and_other_modes_become_rgb(tmp_path, colours):
    clear = np.dstack([colours, np.zeros(colours.shape[:2], np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (read_upload(tmp_path / "clear.png") == 255).all()
    for mode in ("L", "P", "1", "LA"):
        Image.fromarray(colours).convert(mode).save(tmp_path / "mode.png")
        assert read_upload(tmp_path / "mode.png").shape == (40, 30, 3)
    deep = (np.arange(1200).reshape(40, 30) * 54).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    read = read_upload(tmp_path / "deep.png")
    assert read.max() == 255
    assert np.all(np.diff(read[..., 0].ravel().astype(int)) >= 0)


def test_broken_files_are_named_without_their_folder(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    broken = {
        "empty.png": b"",
        "text.png": b"hello, I am a text",
        "cut.png": whole[: len(whole) // 2],
        "turned.png": whole[:60] + bytes(reversed(whole[60:])),
        "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "picture.txt": whole,
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError) as told:
            read_upload(tmp_path / name, name=f"my {name}")
        assert str(told.value).startswith(f"my {name} ")
        assert str(tmp_path) not in str(told.value)


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_small_file_that_unpacks_to_gigabytes_is_turned_away_by_its_header(tmp_path, side):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match="pixels; at most 40 million"):
        read_upload(tmp_path / "bomb.png")


def test_sizes_have_limits(tmp_path, monkeypatch, colours):
    Image.fromarray(colours).resize((200, 8)).save(tmp_path / "flat.png")
    with pytest.raises(InputError, match="200 x 8 pixels; each side needs 16"):
        read_upload(tmp_path / "flat.png")
    Image.fromarray(colours).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="larger than"):
        read_upload(tmp_path / "a.png")


def test_windows_hold_the_whole_picture_or_its_middle():
    image = np.zeros((40, 100, 3), np.uint8)
    assert window_of(image, "whole").tolist() == [0, -30, 100]
    assert window_of(image, "middle").tolist() == [30, 0, 40]
    with pytest.raises(InputError, match="framing"):
        window_of(image, "none")
