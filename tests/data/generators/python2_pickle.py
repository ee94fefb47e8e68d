"""Pickles as Python 2.7 with numpy 1.16 wrote them (protocol 2): byte strings, old module names.

Only what sequence files of 3DPW hold: dict, list, str, int, float, bool, None and arrays of numbers.
"""

import struct

import numpy as np


def dumps(value):
    return b"\x80\x02" + _write(value) + b"."


def _write(value):
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return _string(value.encode("latin1"))
    if isinstance(value, list):
        return b"](" + b"".join(_write(item) for item in value) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(_write(item) for item in value) + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(_write(key) + _write(item) for key, item in value.items()) + b"u"
    if isinstance(value, np.ndarray):
        return _array(value)
    raise TypeError(type(value))


def _string(raw):
    return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw


def _array(array):
    code = array.dtype.str[1:]
    order = array.dtype.str[0]
    parts = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    parts += _write(tuple(int(n) for n in array.shape))
    parts += b"cnumpy\ndtype\n" + _string(code.encode()) + b"K\x00K\x01\x87R(K\x03" + _string(order.encode())
    parts += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    return parts + _string(np.ascontiguousarray(array).tobytes()) + b"tb"
