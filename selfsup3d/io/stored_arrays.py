"""Arrays that stay in their files: opened when they are read, a few at a time, and compared with their checksum first."""

from __future__ import annotations

import errno
import hashlib
import math
import resource
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.errors import FatalInputError, InputError

__all__ = ["StoredArray", "file_digest", "refuse_limit"]

_OPEN = 24
"""Files that a process keeps mapped, whatever the number of arrays; macOS allows 256 open files."""


class StoredArray:
    """An npy file, read by indexing; `numpy.asarray` reads all of it. Nothing is kept open for each array.

    Args:
        path: of the file.
        sha256: that it must have, compared before the first value is read; None = unknown.

    Attributes:
        shape, dtype, ndim, size: as of numpy.

    Raises:
        FatalInputError: too many open files.
        InputError: no npy file, or shorter or longer than its header says.
    """

    def __init__(self, path: str | Path, sha256: str | None = None) -> None:
        self.path = Path(path)
        self.sha256 = sha256
        try:
            status = self.path.stat()
            with self.path.open("rb") as file:
                self.shape, self.dtype, offset = _header(file)
        except OSError as error:
            refuse_limit(error)
            raise InputError(f"{self.path}: cannot be read ({error.strerror or error})") from None
        except Exception as error:  # numpy's parser of headers meets damage with errors of any kind
            raise InputError(f"{self.path}: damaged header ({type(error).__name__})") from None
        self.size = math.prod(self.shape)
        expected = offset + self.dtype.itemsize * self.size
        if status.st_size != expected:
            raise InputError(f"{self.path}: has {status.st_size} bytes, its header says {expected}")
        self.ndim = len(self.shape)
        self._stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        self._checked = sha256 is None

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> np.ndarray:
        """A copy of some of it."""
        return np.array(self._mapped()[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._mapped(), dtype=dtype)

    def verify(self) -> None:
        """Compare the file with its checksum now.

        Raises:
            FatalInputError: it was altered after it was written.
        """
        if self.altered():
            raise FatalInputError(
                f"{self.path}: was altered after it was prepared; delete {self.path.parent} and prepare the data again"
            )
        self._checked = True

    def altered(self) -> bool:
        """Whether the file differs from its checksum; without one nothing can be said, which is False."""
        return self.sha256 is not None and file_digest(self.path) != self.sha256

    def _mapped(self) -> np.ndarray:
        try:
            if not self._checked:
                self.verify()
            return _map(self.path, self._stamp)
        except OSError as error:
            refuse_limit(error)
            raise
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.path}: changed while it was in use ({error})") from None


@lru_cache(maxsize=_OPEN)
def _map(path: Path, stamp: tuple[int, int, int]) -> np.ndarray:
    """The mapped file; `stamp` keeps a file that was replaced apart from its successor."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def refuse_limit(error: OSError) -> None:
    """Nothing, unless the error is one of too many open files.

    Raises:
        FatalInputError: it is; the message says how to raise the limit.
    """
    if error.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise FatalInputError(
            f"{error.filename}: too many open files, this process may have {limit}; raise the limit (ulimit -n 4096)"
        ) from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype and where the values begin."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = read[np.lib.format.read_magic(file)](file)
    if (fortran and len(shape) > 1) or dtype.hasobject:
        raise ValueError("not an array of plain values in C order")
    return shape, dtype, file.tell()
