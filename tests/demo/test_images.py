import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from selfsup3d.demo import images
from selfsup3d.demo.images import read_upload, window_of
from selfsup3d.errors import InputError


@pytest.fixture
def colours():
    return np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(("suffix", "options"), [(".png", {}), (".bmp", {}), (".webp", {"lossless": True})])
def test_images_are_read_as_they_are(tmp_path, colours, suffix, options):
    Image.fromarray(colours).save(tmp_path / f"a{suffix}", **options)
    assert np.array_equal(read_upload(tmp_path / f"a{suffix}"), colours)


def test_a_image_from_a_turned_phone_stands_upright(tmp_path, colours):
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
    assert np.abs(read[..., 0] - deep / 257).max() <= 0.5
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
        "image.txt": whole,
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
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="larger than"):
        read_upload(tmp_path / "a.png")


def test_windows_hold_the_whole_image_or_its_middle():
    image = np.zeros((40, 100, 3), np.uint8)
    assert window_of(image, "whole").tolist() == [0, -30, 100]
    assert window_of(image, "middle").tolist() == [30, 0, 40]
    with pytest.raises(InputError, match="framing"):
        window_of(image, "none")


@pytest.mark.parametrize(
    ("size", "mode"),
    [((16, 16), "RGB"), ((17, 301), "RGB"), ((37, 23), "L"), ((37, 23), "LA"), ((37, 23), "RGBA"), ((37, 23), "P")],
)
def test_odd_images_are_answered(answers, colours, tmp_path, size, mode):
    Image.fromarray(colours).resize(size).convert(mode).save(tmp_path / "ünïcode 中文.png")
    look = answers.look(tmp_path / "ünïcode 中文.png", "whole")
    assert look.overlay.std() > 0
    assert look.files[0].stat().st_size > 0
    assert answers.view(look.seen, 30, 10, 1).shape == look.overlay.shape


def test_deep_images_are_answered_as_flat_ones(answers, colours, tmp_path):
    """16 bits, grey and colour."""
    seen = []
    for name, image in (("grey", colours[..., 0]), ("colour", colours)):
        image = image // 2 + 100
        for bits in (8, 16):
            deep = image if bits == 8 else image.astype(np.uint16) * 257
            cv2.imwrite(str(tmp_path / "deep.png"), deep)
            seen.append(answers.encode(tmp_path / "deep.png", "whole", name).image)
    for flat, deep in (seen[:2], seen[2:]):
        assert np.abs(flat.astype(int) - deep).max() <= 1


def test_what_cannot_be_answered_is_told_and_leaves_no_files(answers, tmp_path):
    def png(width, height, bits, data):
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)

    for width, height, told in ((1, 1, "each side needs 16"), (20_000, 20_000, "at most 40 million are read")):
        png(width, height, 1, bytes((1 + (width + 7) // 8) * height))
        with pytest.raises(InputError, match=told):
            answers.look(tmp_path / "a.png", "whole")
    assert not answers.results.folder.exists()
