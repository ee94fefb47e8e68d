"""What codecs print of damaged files comes before our own message, which names the file: it is kept off the screen."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["silent"]

_lock = threading.Lock()
_inside = 0
_stderr = -1  # the real one, while somebody is inside


@contextmanager
def silent() -> Iterator[None]:
    """Inside, what this process writes on file descriptor 2 is lost: libpng and libjpeg know no other way to be quiet.

    For the time of a decoding only, since threads share the descriptor; the first one in redirects it, the last one out
    puts it back. Takes a few microseconds.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _stderr
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        try:
            _stderr = os.dup(2)
            nowhere = os.open(os.devnull, os.O_WRONLY)
        except OSError:  # a process without stderr, or without free descriptors
            _stderr = -1
            return
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _leave() -> None:
    global _inside, _stderr
    with _lock:
        _inside -= 1
        if _inside == 0 and _stderr >= 0:
            os.dup2(_stderr, 2)
            os.close(_stderr)
            _stderr = -1
