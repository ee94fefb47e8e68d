"""What a CDF's header declares, looked at before cdflib believes it: it follows counts and chains however long they are."""

from __future__ import annotations

import struct
from pathlib import Path

from selfsup3d.errors import InputError
from selfsup3d.io.limits import read_within, refuse_inflated

__all__ = ["check_cdf"]

_MANY = 100  # variables or attributes; Human3.6M's files have one
_V3, _V2 = (b"\xcd\xf3\x00\x01",), (b"\xcd\xf2\x60\x02", b"\xcd\xf2\x60\x00")
_COMPRESSED = b"\xcc\xcc\x00\x01"
_INDEX, _VALUES = 6, (7, 13)  # types of records: an index, values as they are or compressed


def check_cdf(path: Path) -> None:
    """Counts of variables and attributes, chains and records of a CDF (versions 2.6 and 3), by its specification.

    Raises:
        InputError: cut off, or counts, chains or sizes that no file of poses has.
    """
    data = read_within(path)
    if data[:4] not in (*_V3, *_V2):
        raise InputError(f"{path}: not a readable CDF (of version 2.6 or 3)")
    word, size = ("q", 8) if data[:4] in _V3 else ("i", 4)
    try:
        if data[4:8] == _COMPRESSED:
            refuse_inflated(path, struct.unpack_from(f">{word}", data, 8 + 2 * size + 4)[0], len(data))
            return
        place = struct.unpack_from(f">{word}", data, 8 + size + 4)[0]  # of the global descriptor
        first_r, first_z = struct.unpack_from(f">2{word}", data, place + size + 4)
        counts = struct.unpack_from(">5i", data, place + size + 4 + 4 * size)
        if place < 0 or not all(0 <= counts[k] <= _MANY for k in (0, 1, 4)):
            raise InputError(f"{path}: declares {counts[0] + counts[4]:,} variables and {counts[1]:,} attributes")
        for first, count in ((first_r, counts[0]), (first_z, counts[4])):
            _check_variables(path, data, first, count, word, size)
    except struct.error:
        raise InputError(f"{path}: not a readable CDF (cut off, or damaged)") from None


def _check_variables(path: Path, data: bytes, place: int, count: int, word: str, size: int) -> None:
    """The chain of `count` variables that begins at a byte."""
    for _ in range(count):
        if place < 0:
            raise InputError(f"{path}: not a readable CDF (damaged)")
        (following,) = struct.unpack_from(f">{word}", data, place + size + 4)
        _, records = struct.unpack_from(">2i", data, place + 2 * size + 4)
        refuse_inflated(path, max(records, 0) + 1, len(data))  # a record takes a byte at least
        (index,) = struct.unpack_from(f">{word}", data, place + 2 * size + 12)
        _check_index(path, data, index, records, word, size)
        place = following


def _check_index(path: Path, data: bytes, head: int, last: int, word: str, size: int) -> None:
    """The tree of index records below a variable: cdflib follows its links however often they meet.

    Each record stands in it once and lies within the file, and no entry goes beyond record `last` of the variable.
    """
    damaged = InputError(f"{path}: not a readable CDF (its index is damaged)")
    found: set[int] = set()
    waiting = [head] if head else []
    while waiting:
        place = waiting.pop()
        if place in found or not 0 < place < len(data):
            raise damaged
        found.add(place)
        length, kind, following, room, used = struct.unpack_from(f">{word}i{word}2i", data, place)
        entries = place + 2 * size + 12
        needed = entries - place + room * (8 + size)
        if kind != _INDEX or not 0 <= used <= room or needed > length or place + length > len(data):
            raise damaged
        firsts = struct.unpack_from(f">{used}i", data, entries)
        lasts = struct.unpack_from(f">{used}i", data, entries + 4 * room)
        below = struct.unpack_from(f">{used}{word}", data, entries + 8 * room)
        for first, end, record in zip(firsts, lasts, below, strict=True):
            if not 0 <= first <= end <= last or not 0 < record < len(data):
                raise damaged
            length, kind = struct.unpack_from(f">{word}i", data, record)
            if kind == _INDEX:
                waiting.append(record)
            elif kind in _VALUES and record not in found and 0 < length <= len(data) - record:
                found.add(record)
            else:
                raise damaged
        if following:
            waiting.append(following)
