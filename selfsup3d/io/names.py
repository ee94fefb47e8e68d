"""Names that come from files: as parts of paths, and on the terminal."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path, PurePosixPath

from selfsup3d.errors import InputError

__all__ = ["clean_component", "clean_relative", "fitting", "printable"]

_PATTERN = re.compile(r"\{(?::0?\d{1,2}d)?\}")  # of a frame's number
_LONGEST = 200  # bytes of a name: file systems end at 255, and suffixes are added


def clean_component(name: object, where: str | Path) -> str:
    """`name` as one component of a path: it leads neither up, nor down, nor anywhere else.

    Args:
        name: as read. where: the file and key it stands in, for the message.

    Raises:
        InputError: no text, empty, "." or "..", with a slash, backslash, colon or control character, or over-long.
    """
    if not isinstance(name, str) or not name or name in (".", "..") or name != name.strip():
        raise InputError(f"{where}: {printable(repr(name))} is no name for a file or folder")
    if any(letter in '/\\:"' or unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise InputError(
            f"{where}: {printable(repr(name))} holds a letter that no file's name may have (/ \\ : \" ...)"
        )
    if len(name.encode()) > _LONGEST:
        raise InputError(f"{where}: the name {printable(name[:40])}... has more than {_LONGEST} bytes")
    return name


def clean_relative(path: object, where: str | Path) -> str:
    """`path` as a path below a folder, each part of it as of `clean_component`, or a pattern of such; "" stays.

    Raises:
        InputError: absolute, with a part that leads up or is unclean, or with braces that are no frame's number.
    """
    if not isinstance(path, str) or path.startswith(("/", "\\")):
        raise InputError(f"{where}: {printable(repr(path))} is no path below the data's folder")
    filled = _PATTERN.sub("0", path)
    if "{" in filled or "}" in filled or len(_PATTERN.findall(path)) > 1:
        raise InputError(
            f"{where}: {printable(repr(path))}: expected one place for the frame's number, such as {{:06d}}"
        )
    for part in PurePosixPath(filled).parts:
        clean_component(part, where)
    return path


def fitting(name: str) -> str:
    """A name cut to what file systems take, told apart by a number made of the whole; short names stay."""
    if len(name.encode()) <= _LONGEST:
        return name
    return name.encode()[: _LONGEST - 10].decode(errors="ignore") + "-" + hashlib.sha256(name.encode()).hexdigest()[:8]


def printable(text: str) -> str:
    """Text without what steers a terminal: control characters and directions of writing become visible escapes."""
    return "".join(
        letter if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else
        letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )  # fmt: skip
