"""Uploaded images: what is let in, and the square that the network sees."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, UnidentifiedImageError

from selfsup3d.errors import InputError
from selfsup3d.inference.windows import whole_frame
from selfsup3d.io.images import decode_image
from selfsup3d.io.limits import refuse_pipes

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "MIN_SIDE", "SUFFIXES", "Framing", "read_upload", "window_of"]

FORMATS: tuple[str, ...] = ("PNG", "JPEG", "WEBP", "BMP")
"""Of a file's content, as Pillow names them."""
SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Of its name; both are checked."""
MAX_BYTES = 10 * 2**20
MAX_PIXELS = 40_000_000
"""Read from the header, before anything is decoded: a small file may unpack to gigabytes."""
MIN_SIDE = 16

_DAMAGED = "{} is damaged or cut off: send it again, or another image"
_SEND = "send a PNG, JPEG, WebP or BMP file"

Framing = Literal["whole", "middle"]
"""whole = all of the image, its edges drawn out to a square; middle = the largest square in its middle."""


def read_upload(path: str | Path, name: str | None = None) -> np.ndarray:
    """An image that a stranger sent, upright as its camera was held.

    Args:
        path: the file. name: what to call it in messages; None = its own name.

    Returns:
        (H, W, 3) uint8 RGB; transparent parts are white.

    Raises:
        InputError: not an image, of another format, damaged or cut off, too large or too small; the message names
            the file without its folder.
    """
    path = Path(path)
    called = name or path.name
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{called} is not an image that can be read: {_SEND}")
    try:
        refuse_pipes(path)
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{called} is larger than {MAX_BYTES // 2**20} MB: make it smaller first")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about sizes that are checked here
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise InputError(
                        f"{called} has {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million are read"
                    )
                if min(width, height) < MIN_SIDE:
                    raise InputError(f"{called} has {width} x {height} pixels; each side needs {MIN_SIDE} at least")
                image.load()  # a file that is cut off ends here
        return decode_image(np.fromfile(path, np.uint8), called)
    except InputError as error:
        if "not an image" in str(error):
            raise InputError(_DAMAGED.format(called)) from None
        raise
    except Image.DecompressionBombError:  # Pillow looks at the header too, and at far more pixels refuses by itself
        raise InputError(f"{called} has too many pixels; at most {MAX_PIXELS // 10**6} million are read") from None
    except UnidentifiedImageError:
        raise InputError(f"{called} is not an image that can be read: {_SEND}") from None
    except Exception:  # Pillow's decoders meet damage with errors of any kind: OSError, SyntaxError, struct.error ...
        raise InputError(_DAMAGED.format(called)) from None


def window_of(image: np.ndarray, framing: Framing) -> np.ndarray:
    """(3,) x, y, side in px of the square of an image (H, W, 3) that the network is to see.

    Raises:
        InputError: unknown framing.
    """
    if framing == "whole":
        return whole_frame(image)
    if framing != "middle":
        raise InputError(f"framing is {framing!r}; expected {' or '.join(get_args(Framing))}")
    height, width = image.shape[:2]
    side = min(height, width)
    return np.array([(width - side) // 2, (height - side) // 2, side])
