"""One image, whatever its file: upright 8-bit RGB. Every command reads images here.

The kind of a file is decided by its content, never by its name. Grey is repeated, transparent pixels lie over white,
16 bits are scaled to 8, and a photograph is turned as its camera was held (EXIF).
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, ImageOps

from selfsup3d.errors import InputError
from selfsup3d.io.limits import read_within
from selfsup3d.io.quiet_codecs import silent

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "FolderImages",
    "decode_image",
    "file_kind",
    "find_images",
    "frame_files",
    "is_image",
    "natural_key",
    "over_white",
    "read_image",
    "refuse_giants",
]

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".ppm", ".pgm",
)  # fmt: skip
"""Of files that count as images even where their content is damaged, so that the damage is reported."""

MAX_PIXELS = 100_000_000
"""Of one image. A few kilobytes can claim more, and would take gigabytes of memory."""

FileKind = Literal["image", "video", "text", "other"]

_MAGIC: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"\xff\xd8\xff", "image"),
    (0, b"\x89PNG\r\n\x1a\n", "image"),
    (0, b"BM", "image"),
    (8, b"WEBP", "image"),
    (0, b"II*\0", "image"),
    (0, b"MM\0*", "image"),
    (0, b"\0\0\0\x0cjP  ", "image"),
    (0, b"P5", "image"),
    (0, b"P6", "image"),
    (0, b"GIF8", "video"),
    (4, b"ftyp", "video"),
    (4, b"moov", "video"),
    (4, b"mdat", "video"),
    (8, b"AVI ", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),  # Matroska and WebM
    (0, b"OggS", "video"),
    (0, b"FLV", "video"),
    (0, b"\x00\x00\x01\xba", "video"),  # MPEG program stream
    (0, b"\x00\x00\x01\xb3", "video"),
    (0, b"\x30\x26\xb2\x75", "video"),  # ASF, WMV
)
"""Offset, bytes and kind; what shares a container with videos is told apart by `_STILLS`."""

_STILLS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"hevc")
"""Brands of still images in the container of MP4."""
_HEIF = (*_STILLS[:6], b"hevc")

_ORIENTATION = 0x0112  # EXIF's tag
_SWAPPED = (5, 6, 7, 8)  # rows and columns change places, then the image is flipped
_FLIPS: dict[int, Any] = {
    2: np.s_[:, ::-1],
    3: np.s_[::-1, ::-1],
    4: np.s_[::-1],
    6: np.s_[:, ::-1],
    7: np.s_[::-1, ::-1],
    8: np.s_[::-1],
}


# ------------------------------------------------------------------------------------------------------ kinds of files


def file_kind(path: str | Path) -> FileKind:
    """What a file holds, by its first bytes; a file that cannot be opened is "other"."""
    path = Path(path)
    if not path.is_file():  # a named pipe would be waited for
        return "other"
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return "other"
    if head[4:8] == b"ftyp" and head[8:12] in _STILLS:
        return "image"
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "text" if text and all(32 <= byte < 127 or byte in b"\t\r\n" or byte >= 128 for byte in text) else "other"


def is_image(path: str | Path) -> bool:
    """Whether a file is an image by its content; a damaged or missing one counts where its name says so."""
    path = Path(path)
    if path.is_dir():
        return False
    kind = file_kind(path)
    return kind == "image" or (kind in ("other", "text") and path.suffix.lower() in IMAGE_SUFFIXES)


@dataclass(frozen=True)
class FolderImages:
    """What a folder of images holds.

    Attributes:
        files: images, in natural order.
        skipped: visible files that are no images.
    """

    files: list[Path]
    skipped: list[Path]

    def report(self) -> str | None:
        """One line about the files that were skipped; None where there are none."""
        if not self.skipped:
            return None
        names = ", ".join(path.name for path in self.skipped[:3]) + (" ..." if len(self.skipped) > 3 else "")
        return (
            f"{self.skipped[0].parent}: {len(self.skipped)} of {len(self.files) + len(self.skipped)} files are no "
            f"images and are skipped ({names})"
        )


def find_images(folder: str | Path) -> FolderImages:
    """Images of a folder in natural order (frame 2 before frame 10); links that lead nowhere count, to be reported."""
    visible = [p for p in Path(folder).iterdir() if not p.name.startswith(".") and (p.is_file() or not p.exists())]
    images = {path for path in visible if is_image(path)}
    ordered = sorted(visible, key=lambda p: (natural_key(p.stem), p.name))
    return FolderImages([p for p in ordered if p in images], [p for p in ordered if p not in images])


def frame_files(folder: str | Path) -> list[Path]:
    """The images of `find_images`."""
    return find_images(folder).files


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that compares the numbers inside a name by value."""
    parts: list[tuple[int, int | str]] = []
    number = ""
    for character in text + "\0":
        if character.isdecimal() and character.isascii():
            number += character
            continue
        if number:
            parts.append((0, int(number)))
            number = ""
        parts.append((1, character))
    return tuple(parts)


# ------------------------------------------------------------------------------------------------------------- reading


def read_image(path: str | Path, upright: bool = True) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file.

    Read through a buffer, so that any file name the system knows works.

    Args:
        path: of the file.
        upright: turn it as its camera was held (EXIF), as viewers show it; images of datasets, whose labels belong to
            the stored pixels, are read with False (but TIFF's decoders always turn).

    Raises:
        InputError: missing, empty, not an image, or one of more than `MAX_PIXELS` pixels.
    """
    path = Path(path)
    try:
        data = np.frombuffer(read_within(path), dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return decode_image(data, str(path), upright)


def decode_image(data: np.ndarray, name: str, upright: bool = True) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the bytes of an image file (N,) uint8; see `read_image`.

    Args:
        data: of the file. name: what errors call it. upright: see `read_image`.

    Raises:
        InputError: as `read_image`.
    """
    if data.size == 0:
        raise InputError(f"{name}: the file is empty")
    if bytes(data[4:8]) == b"ftyp" and bytes(data[8:12]) in _HEIF:
        return _decode_heif(data, name, upright)
    refuse_giants(name, data)
    if _pillow_is_right(data):
        try:
            return _decode_pillow(data, name, upright)
        except InputError:
            pass  # TIFF of 16 bits a channel, which Pillow does not know
    try:
        with silent():
            image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:  # kinds that only Pillow knows
        return _decode_pillow(data, name, upright)
    return _to_rgb8(_turned(image, data) if upright else image)


def refuse_giants(name: str | Path, data: np.ndarray) -> None:
    """Raise by what an image's header says, before anything is decoded; what has no known header is OpenCV's to tell.

    Raises:
        InputError: more than `MAX_PIXELS` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            width, height = Image.open(io.BytesIO(data.tobytes())).size
    except Image.DecompressionBombError:
        raise InputError(f"{name}: an image of more than {MAX_PIXELS:,} pixels; reduce it first") from None
    except Exception:  # whatever Pillow's readers raise for a damaged header
        return
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: {width}x{height} pixels; images of up to {MAX_PIXELS:,} are read, reduce it first")


def _pillow_is_right(data: np.ndarray) -> bool:
    """Where OpenCV, which is faster, loses something: a TIFF's alpha and orientation, a grey PNG's transparent value."""
    if bytes(data[:4]) in (b"II*\0", b"MM\0*"):
        return True
    return bytes(data[:4]) == b"\x89PNG" and data.size > 26 and data[25] == 0 and b"tRNS" in bytes(data[:4096])


def _decode_heif(data: np.ndarray, name: str, upright: bool) -> np.ndarray:
    """HEIC, as telephones write it, by the optional reader."""
    try:
        import pillow_heif
    except ImportError:
        raise InputError(
            f"{name}: a HEIC image needs the optional reader (pip install pillow-heif), or save it as JPEG or PNG"
        ) from None
    pillow_heif.register_heif_opener()
    return _decode_pillow(data, name, upright)


def _decode_pillow(data: np.ndarray, name: str, upright: bool) -> np.ndarray:
    refuse_giants(name, data)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data.tobytes())) as opened:
            image: Image.Image = ImageOps.exif_transpose(opened) if upright else opened
            if image.mode.startswith(("I", "F")):
                return _to_rgb8(np.asarray(image))
            pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    except Exception as error:  # Pillow's decoders meet damage with errors of any kind
        raise InputError(f"{name}: not an image that can be read (damaged, or no image)") from error
    return over_white(pixels) if pixels.shape[2] == 4 else np.ascontiguousarray(pixels)


def _turned(image: np.ndarray, data: np.ndarray) -> np.ndarray:
    """A decoded image upright, by the orientation that its file states; as it is where none is stated.

    OpenCV itself would do this only together with a conversion to 8-bit BGR.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about damaged tags
            opened = Image.open(io.BytesIO(data.tobytes()))
            orientation = (
                opened.getexif().get(_ORIENTATION, 1) if "exif" in opened.info else 1
            )  # or Pillow decodes all of it
    except Exception:  # whatever Pillow's readers raise for a damaged header
        return image
    if orientation in _SWAPPED:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[_FLIPS.get(orientation, np.s_[:])])


def _to_rgb8(image: np.ndarray) -> np.ndarray:
    """OpenCV's grey, grey and alpha, BGR or BGRA of any depth as RGB."""
    if image.dtype.kind == "u" and image.dtype.itemsize == 2:
        image = ((image.astype(np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)
    elif image.dtype.kind in "iu" and image.dtype != np.uint8:  # wider whole numbers hold 16 bits
        image = np.clip(image.astype(np.int64) // 257, 0, 255).astype(np.uint8)
    elif image.dtype != np.uint8:
        image = np.clip(np.rint(np.nan_to_num(image) * 255.0), 0, 255).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    if image.shape[2] == 2:
        return over_white(np.concatenate([np.repeat(image[..., :1], 3, axis=2), image[..., 1:]], axis=2))
    if image.shape[2] == 4:
        return over_white(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # a tenth of the time that reversing the last axis takes


def over_white(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) of (H, W, 4) uint8 RGBA composited over white, as browsers show it."""
    colour, alpha = image[..., :3], image[..., 3:]
    if bool((alpha == 255).all()):
        return np.ascontiguousarray(colour)
    weight = alpha.astype(np.uint16)
    mixed = colour.astype(np.uint16) * weight + 255 * (255 - weight)
    return ((mixed + 127) // 255).astype(np.uint8)
