"""One image gives one answer, whatever its file's format and name."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from selfsup3d.errors import InputError
from selfsup3d.io.crops import read_image as read_reduced
from selfsup3d.io.images import file_kind, find_images, is_image, read_image
from selfsup3d.io.video import read_frames

COLOURS = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (32, 24))
ALPHA = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))


def over_white(colours, alpha):
    """Pillow's own composite, as the oracle."""
    clear = Image.fromarray(np.dstack([colours, alpha]))
    return np.asarray(Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB"))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_transparent_images_lie_over_white_in_every_reader(tmp_path, suffix):
    expected = over_white(COLOURS, ALPHA)
    path = tmp_path / f"clear{suffix}"
    Image.fromarray(np.dstack([COLOURS, ALPHA])).save(path, lossless=True)
    assert np.abs(read_image(path).astype(int) - expected).max() <= 1
    assert np.abs(next(read_frames(tmp_path)).astype(int) - expected).max() <= 1
    assert np.abs(read_reduced(path).image[..., ::-1].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("hidden", [0, 100, 255])
def test_hidden_colours_of_transparent_pixels_do_not_show(tmp_path, hidden):
    colours = np.where(ALPHA[..., None] == 0, np.uint8(hidden), COLOURS)
    Image.fromarray(np.dstack([colours, ALPHA])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[:, 0], 255)


@pytest.mark.parametrize(("mode", "transparent"), [("L", 77), ("P", 3), ("RGB", (10, 20, 30))])
def test_a_transparent_colour_of_a_png_is_white(tmp_path, mode, transparent):
    image = Image.fromarray(COLOURS).convert(mode)
    image.putpixel((4, 4), transparent)
    image.save(tmp_path / "a.png", transparency=transparent)
    assert read_image(tmp_path / "a.png")[4, 4].tolist() == [255, 255, 255]


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".jfif", ".avif", ".jp2", ".ppm", ""])
def test_images_are_known_by_their_content(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    kind = {".tif": "TIFF", ".tiff": "TIFF", ".jfif": "JPEG", ".avif": "AVIF", ".jp2": "JPEG2000", ".ppm": "PPM"}
    Image.fromarray(COLOURS).save(path, format=kind.get(suffix, "JPEG"), quality=95)
    assert is_image(path)
    assert np.abs(read_image(path).astype(int) - COLOURS).mean() < 12
    assert next(read_frames(tmp_path)).shape == (24, 32, 3)


def test_an_image_under_a_wrong_name_is_read(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.mp4")
    np.testing.assert_array_equal(read_image(tmp_path / "a.mp4"), COLOURS)
    assert is_image(tmp_path / "a.mp4")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled(tmp_path, channels, suffix):
    deep = np.linspace(0, 65_535, 24 * 32).reshape(24, 32).astype(np.uint16)
    image = np.dstack([deep] * channels)
    if channels == 4:
        image[..., 3] = 65_535
    cv2.imwrite(str(tmp_path / f"deep{suffix}"), image)
    assert np.abs(read_image(tmp_path / f"deep{suffix}")[..., 0] - deep / 257).max() <= 1.0


@pytest.mark.parametrize("told", range(1, 9))
def test_tiffs_from_turned_cameras_stand_upright(tmp_path, told):
    exif = Image.Exif()
    exif[0x0112] = told
    Image.fromarray(COLOURS).save(tmp_path / "a.tif", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.tif")))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)


def test_heic_is_read_by_the_optional_reader_or_refused_with_the_remedy(tmp_path, monkeypatch):
    reader = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    reader.from_pillow(Image.fromarray(cv2.resize(COLOURS, (64, 64)))).save(path, quality=95)
    assert is_image(path)
    assert read_image(path).shape == (64, 64, 3)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"photo\.heic: .*pip install pillow-heif.*JPEG"):
        read_image(path)


def test_files_of_a_folder_that_are_no_images_are_counted(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "b.png")
    Image.fromarray(COLOURS).save(tmp_path / "a.tif")
    (tmp_path / "notes.txt").write_text("a note")
    (tmp_path / "walk.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(40))
    (tmp_path / ".hidden").write_text("not counted")
    (tmp_path / "damaged.png").write_bytes(b"junk")
    found = find_images(tmp_path)
    assert [path.name for path in found.files] == ["a.tif", "b.png", "damaged.png"]
    assert found.report() == f"{tmp_path}: 2 of 5 files are no images and are skipped (notes.txt, walk.mp4)"
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "walk.mp4").unlink()
    assert find_images(tmp_path).report() is None


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"GIF89a", "video"), (b"\x1a\x45\xdf\xa3", "video"), (b'\xef\xbb\xbf[{"a": 1}]', "text"), (b"\0\1\2\3", "other")],
)
def test_kinds_of_files(tmp_path, head, kind):
    (tmp_path / "file").write_bytes(head)
    assert file_kind(tmp_path / "file") == kind
