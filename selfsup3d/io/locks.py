"""A lock on a folder, held by a file in it while the holder lives."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfsup3d.errors import InputError

__all__ = ["LOCK", "locked"]

LOCK = "run.lock"
"""Its name; it tells who holds it. One that a killed process left behind is nobody's and is taken over."""


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold the folder's lock; the file is removed at the end.

    The system gives the lock up when its process ends, however that happens: the file alone means nothing. Where a file
    system knows no locks, a line on stderr says that two runs would not notice each other.

    Raises:
        InputError: a living process holds it.
        OSError: the folder cannot be written.
    """
    path = Path(folder) / LOCK
    handle = _take(path)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _take(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Of POSIX's kind: it is not inherited by data workers, which may live for seconds after a kill.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                print(
                    f"{path.parent}: no locks here ({error.strerror}); two runs would not notice each other",
                    file=sys.stderr,
                )
                return handle
            os.close(handle)
            raise InputError(
                f"{path.parent}: another run is at work in it ({holder}); wait for it, stop it, or give --output-dir DIR"
            ) from None
        try:
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # its holder removed it between our opening and locking
