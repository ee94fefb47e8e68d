"""One budget of memory for every reader of files: what a file declares is compared with what it holds and with the budget
before anything is allocated."""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.errors import InputError

__all__ = [
    "BUDGET",
    "DOCUMENT",
    "check_mat",
    "open_npz",
    "read_within",
    "refuse_inflated",
    "refuse_inflated_entries",
    "refuse_pipes",
    "stored_array",
]

BUDGET = 4 << 30
"""Bytes that one file may become in memory: the largest data set's index needs about one gigabyte."""
_FREE = 64 << 20
"""Bytes that any file may become, however small it is."""
_RATIO = 100
"""Beyond those, how many times its own size: packed poses and masks stay below thirty."""


DOCUMENT = 16 << 20
"""Bytes of a config, a listing or a record."""
_LARGEST = 512 << 20
"""Bytes of a file that is read at once: the largest known one, COCO's keypoints, has 250 MB."""


def refuse_pipes(path: Path) -> None:
    """A named pipe would be waited for, maybe for ever.

    Raises:
        InputError: it is one, or a folder or a device.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a file, but a folder, a pipe or a device")


def read_within(path: str | Path, most: int = _LARGEST) -> bytes:
    """A whole file.

    Raises:
        InputError: a pipe or a device, or of more than `most` bytes.
        OSError: it is not there or cannot be read.
    """
    path = Path(path)
    if not path.is_dir():  # opening it tells
        refuse_pipes(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise InputError(f"{path}: has {size:,} bytes; files of up to {most:,} are read")
        return file.read(size)  # as much memory as is asked for is taken at once


@contextmanager
def open_npz(path: str | Path) -> Iterator[Any]:
    """numpy's reader of an npz without pickled objects, after all that it declares was compared with what it holds.

    Raises:
        InputError: no file, or it declares more. Whatever zipfile and numpy raise for a damaged one.
    """
    path = Path(path)
    refuse_pipes(path)
    with zipfile.ZipFile(path) as archive:
        refuse_inflated_entries(path, archive.infolist())
    with np.load(path, allow_pickle=False) as data:
        yield data


def refuse_inflated(where: str | Path, declared: int, held: int) -> None:
    """Nothing, if what a file declares is believable.

    Args:
        where: file, and what in it. declared: bytes in memory. held: bytes that the file spends on it.

    Raises:
        InputError: more than the budget, or far more than the file can hold.
    """
    if declared > BUDGET:
        raise InputError(f"{where}: declares {declared:,} bytes, more than the {BUDGET:,} that are read")
    if declared > max(_FREE, _RATIO * held):
        raise InputError(
            f"{where}: declares {declared:,} bytes but holds {held:,}; the file is damaged or made to fill memory"
        )


def stored_array(dataset: Any, where: str | Path) -> np.ndarray:
    """All values of an h5py dataset.

    Raises:
        InputError: no dataset; it declares more than is stored; values that are no numbers.
    """
    if not hasattr(dataset, "dtype") or dataset.dtype.hasobject or dataset.dtype.kind not in "biuf":
        raise InputError(f"{where}: expected an array of numbers")
    if dataset.external or dataset.is_virtual or not str(where).startswith(str(dataset.file.filename)):
        raise InputError(f"{where}: its values lie in another file, which is not followed")
    refuse_inflated(where, math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize, dataset.id.get_storage_size())
    return np.asarray(dataset[()])


def refuse_inflated_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """`refuse_inflated` for what is read of a zip archive, all entries together.

    Raises:
        InputError: see there.
    """
    refuse_inflated(path, sum(e.file_size for e in entries), sum(e.compress_size for e in entries))


# ------------------------------------------------------------------------------------------------------ MATLAB's format 5

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _SPARSE = 1, 2, 3, 5


def check_mat(path: Path) -> None:
    """Look at every size in a MATLAB file (format 5) before scipy allocates by it.

    Raises:
        InputError: a size that the file does not hold; structures of a kind or depth that no data set has.
    """
    data = path.read_bytes() if path.stat().st_size <= BUDGET // 4 else b""
    if len(data) < 136:
        raise InputError(
            f"{path}: {'cut off' if data or not path.stat().st_size else 'too large'}, not a readable MATLAB file"
        )
    order = "<" if data[126:128] == b"IM" else ">"
    total, place = 0, 128
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        if place + 8 + size > len(data):
            raise InputError(f"{path}: cut off: an element of {size:,} bytes at byte {place}")
        element = data[place + 8 : place + 8 + size]
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj()
            limit = max(_FREE, _RATIO * size)
            try:
                element = unpacked.decompress(element, limit)
            except zlib.error as error:
                raise InputError(f"{path}: damaged ({error})") from None
            if unpacked.unconsumed_tail:
                refuse_inflated(path, limit + 1, 0)
            if len(element) >= 8:
                kind, _ = struct.unpack_from(f"{order}II", element)
                element = element[8:]
        total += len(element)
        refuse_inflated(path, total, len(data))
        if kind == _MATRIX:
            _check_matrix(element, order, path, 0)
        place += 8 + size


def _check_matrix(data: bytes, order: str, path: Path, depth: int) -> None:
    """Sizes of one array, and of those in its cells."""
    damaged = InputError(f"{path}: damaged, or its arrays declare more than the file holds")
    if not data:
        return  # an empty cell
    if depth > 4 or len(data) < 32:
        raise damaged
    kind = struct.unpack_from(f"{order}I", data, 8)[0] & 0xFF
    name, size = struct.unpack_from(f"{order}II", data, 16)
    if name != 5 or size < 8 or size > 128 or 24 + size > len(data):
        raise damaged
    shape = struct.unpack_from(f"{order}{size // 4}i", data, 24)
    count = math.prod(shape)
    if min(shape) < 0 or count > len(data):  # a value takes a byte, a cell eight
        raise damaged
    if kind in (_STRUCT, _OBJECT, _SPARSE) or kind > 15:
        raise InputError(f"{path}: holds structures; expected arrays and cells of numbers")
    if kind != _CELL:
        return
    place = 24 + -(-size // 8) * 8
    word = struct.unpack_from(f"{order}I", data, place)[0] if place + 8 <= len(data) else 0
    length = word >> 16  # a short name stands inside its tag
    if not length:
        length = -(-struct.unpack_from(f"{order}I", data, place + 4)[0] // 8) * 8 if place + 8 <= len(data) else 0
        place += length
    place += 8
    for _ in range(count):
        if place + 8 > len(data):
            raise damaged
        inner, size = struct.unpack_from(f"{order}II", data, place)
        if inner != _MATRIX or place + 8 + size > len(data):
            raise damaged
        _check_matrix(data[place + 8 : place + 8 + size], order, path, depth + 1)
        place += 8 + size
