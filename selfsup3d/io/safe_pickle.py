"""Reading pickles as data: numpy arrays and plain containers, and nothing that the file could make us call.

Three dataset formats that people exchange are pickles (`data_3d_h36m.npz`, `data_2d_h36m_*.npz`, the sequence files of
3DPW, written by Python 2). `pickle.load` would run whatever such a file names. Filtering the names of a real unpickler
still leaves holes (memo indices that allocate gigabytes, `BUILD` that sets attributes of allowed functions, nested
keys that overflow the C stack), so this file interprets the opcodes itself: a name from the file is looked up in one
table and becomes one of a dozen tokens; no object of the file's choosing is imported, called or given attributes.
"""

from __future__ import annotations

import codecs
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from selfsup3d.errors import InputError
from selfsup3d.io.limits import BUDGET, refuse_inflated_entries
from selfsup3d.io.pickle_arrays import ArrayInProgress, Budget, DtypeInProgress, Refused, call, checked_key, resolve

__all__ = ["load_npz", "load_pickle", "loads"]

_MAX_BYTES = BUDGET

# What a file may name, and the token it becomes. Both spellings of numpy's modules, both of the builtins'.
_NAMES: dict[tuple[str, str], str] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): "reconstruct" for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): "scalar" for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): "frombuffer" for core in ("core", "_core")},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("collections", "OrderedDict"): "dict",
    **{
        (module, name): name
        for module in ("__builtin__", "builtins")
        for name in ("set", "frozenset", "bytes", "bytearray", "complex", "dict", "list", "tuple")
    },
}


@dataclass(frozen=True)
class _Token:
    """A name of `_NAMES` on the stack; the real object is never there."""

    role: str


_MARK = _Token("mark")


@dataclass
class _Machine:
    """The stack machine of `pickle`, reduced to the opcodes that arrays and plain containers need."""

    data: bytes
    position: int = 0
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        # Arrays may repeat one memoised buffer; their total is bounded by the file's size, not by its cunning.
        self.budget = Budget(8 * len(self.data) + (1 << 20))

    def run(self) -> Any:
        while True:
            code = self.take(1)[0]
            if code == _STOP:
                if len(self.stack) != 1 or self.stack[0] is _MARK:
                    raise Refused("it ends with an unfinished structure")
                return resolve(self.stack[0], {}, 0)
            step = _STEPS.get(code)
            if step is None:
                _refuse_opcode(code)
            step(self)

    # ---- bytes ----
    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise Refused("it is truncated")
        chunk = self.data[self.position : end]
        self.position = end
        return chunk

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise Refused("it is truncated")
        return self.take(end + 1 - self.position)[:-1]

    # ---- stack ----
    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise Refused("it takes more values than it has put down")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Refused(f"it adds items to something that is no {kind.__name__}")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise Refused("it closes a group that was not opened")

    def remember(self, place: int) -> None:
        value = self.pop()
        self.memo[place] = value
        self.push(value)

    def recall(self, place: int) -> None:
        if place not in self.memo:
            raise Refused(f"it refers to value {place}, which it has not stored")
        self.push(self.memo[place])


def _refuse_opcode(code: int) -> NoReturn:
    raise Refused(f"it uses the instruction {bytes([code])!r}, which arrays and plain containers do not need")


def _text_number(kind: Callable[[bytes], Any]) -> Callable[[_Machine], None]:
    def step(m: _Machine) -> None:
        text = m.line()
        if len(text) > 1000:
            raise Refused("it holds a number of more than 1000 digits")
        if kind is int and text in (b"00", b"01"):
            m.push(text == b"01")
        else:
            m.push(kind(text.rstrip(b"L") if kind is int else text))

    return step


def _long(length: str) -> Callable[[_Machine], None]:
    def step(m: _Machine) -> None:
        count = m.number(length)
        if count > 1024:
            raise Refused("it holds an integer of more than 1024 bytes")
        m.push(int.from_bytes(m.take(count), "little", signed=True))

    return step


def _blob(length: str, decode: Callable[[bytes], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.push(decode(m.take(m.number(length))))


def _latin1(raw: bytes) -> str:
    return raw.decode("latin1")  # a `str` of Python 2: text, or the bytes of an array


def _utf8(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _quoted(m: _Machine) -> None:
    raw = m.line().strip()
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"'):
        raise Refused("it holds a string without quotes")
    m.push(_latin1(codecs.escape_decode(raw[1:-1])[0]))  # type: ignore[attr-defined]


def _append(m: _Machine) -> None:
    value = m.pop()
    m.top(list).append(value)


def _appends(m: _Machine) -> None:
    items = m.since_mark()
    m.top(list).extend(items)


def _set_items(m: _Machine, items: list[Any]) -> None:
    if len(items) % 2:
        raise Refused("it has a key without a value")
    target = m.top(dict)
    for place in range(0, len(items), 2):
        target[checked_key(items[place])] = items[place + 1]


def _set_item(m: _Machine) -> None:
    value, key = m.pop(), m.pop()
    _set_items(m, [key, value])


def _dict(m: _Machine) -> None:
    items = m.since_mark()
    m.push({})
    _set_items(m, items)


def _add_items(m: _Machine) -> None:
    items = [checked_key(item) for item in m.since_mark()]
    m.top(set).update(items)


def _tuple(count: int) -> Callable[[_Machine], None]:
    def step(m: _Machine) -> None:
        m.push(tuple([m.pop() for _ in range(count)][::-1]))

    return step


def _name(m: _Machine, module: Any, name: Any) -> None:
    if not (isinstance(module, str) and isinstance(name, str)) or (module, name) not in _NAMES:
        raise Refused(f"it asks for {module}.{name}, and only numpy arrays and plain containers are read")
    m.push(_Token(_NAMES[module, name]))


def _stack_name(m: _Machine) -> None:
    name, module = m.pop(), m.pop()
    _name(m, module, name)


def _reduce(m: _Machine) -> None:
    arguments, function = m.pop(), m.pop()
    if not isinstance(function, _Token) or not isinstance(arguments, tuple):
        raise Refused("it calls something that is no function of numpy's or Python's containers")
    roles = tuple(a.role if isinstance(a, _Token) else a for a in arguments)
    m.push(call(function.role, roles, m.budget))


def _build(m: _Machine) -> None:
    state = m.pop()
    target = m.stack[-1] if m.stack else None
    if not isinstance(target, ArrayInProgress | DtypeInProgress):
        raise Refused("it sets the state of something that is no array")
    target.set_state(state, m.budget)


_STOP = ord(".")
_STEPS: dict[int, Callable[[_Machine], object]] = {
    0x80: lambda m: m.take(1),  # protocol
    0x95: lambda m: m.take(8),  # frame
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): _text_number(int),
    ord("L"): _text_number(int),
    ord("F"): _text_number(float),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    0x8A: _long("<B"),
    0x8B: _long("<i"),
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("S"): _quoted,
    ord("T"): _blob("<i", _latin1),
    ord("U"): _blob("<B", _latin1),
    ord("B"): _blob("<I", bytes),
    ord("C"): _blob("<B", bytes),
    0x8E: _blob("<Q", bytes),
    0x96: _blob("<Q", bytearray),
    ord("V"): lambda m: m.push(m.line().decode("raw-unicode-escape")),
    ord("X"): _blob("<I", _utf8),
    0x8C: _blob("<B", _utf8),
    0x8D: _blob("<Q", _utf8),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.since_mark()),
    ord("a"): _append,
    ord("e"): _appends,
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("}"): lambda m: m.push({}),
    ord("d"): _dict,
    ord("s"): _set_item,
    ord("u"): lambda m: _set_items(m, m.since_mark()),
    0x8F: lambda m: m.push(set()),
    0x90: _add_items,
    0x91: lambda m: m.push(frozenset(checked_key(item) for item in m.since_mark())),
    ord("("): lambda m: m.push(_MARK),
    ord("0"): lambda m: m.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("p"): lambda m: m.remember(int(m.line())),
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.recall(int(m.line())),
    ord("h"): lambda m: m.recall(m.number("<B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
    ord("c"): lambda m: _name(m, _latin1(m.line()), _latin1(m.line())),
    0x93: _stack_name,
    ord("R"): _reduce,
    ord("b"): _build,
}


def loads(data: bytes, name: str = "pickle") -> Any:
    """Read a pickle (protocol 0 to 5, Python 2 or 3) of numpy arrays and plain containers.

    Strings of Python 2 are decoded as latin1. Arrays come back writable, in native byte order.

    Args:
        data: the whole pickle.
        name: what error messages call it.

    Returns:
        None, bool, int, float, complex, str, bytes, list, tuple, dict, set, numpy arrays and scalars, nested.

    Raises:
        InputError: the pickle names anything else, is truncated or malformed, nests deeper than 64, or contains itself.
    """
    try:
        return _Machine(bytes(data)).run()
    except Refused as error:
        raise InputError(f"{name}: not read as data: {error}. Get the file from its official source again.") from None
    except (ValueError, TypeError, OverflowError, UnicodeError, MemoryError, struct.error) as error:
        raise InputError(f"{name}: not a readable pickle ({error}); it is damaged or another kind of file") from None


def load_pickle(path: str | Path, max_bytes: int = _MAX_BYTES) -> Any:
    """Read a pickle file by `loads`; InputError also when it is absent or larger than `max_bytes`."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > max_bytes:
        raise InputError(f"{path}: {path.stat().st_size} bytes, more than the {max_bytes} that are read as a pickle")
    return loads(path.read_bytes(), str(path))


def load_npz(path: str | Path, keys: Collection[str] | None = None, max_bytes: int = _MAX_BYTES) -> dict[str, Any]:
    """Read the arrays of an npz; object arrays go through `loads`, and a 0-d object array becomes its one object.

    Args:
        keys: entries to read, where they exist; None = all.
        max_bytes: limit of what these unpack to.

    Raises:
        InputError: absent, no zip, larger than `max_bytes` when unpacked, or an entry that cannot be read as data.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            chosen = {key: entry for key, entry in entries.items() if keys is None or key in keys}
            total = sum(entry.file_size for entry in chosen.values())
            if total > max_bytes:
                raise InputError(f"{path}: unpacks to {total} bytes, more than the {max_bytes} that are read")
            refuse_inflated_entries(path, list(chosen.values()))
            return {key: _read_entry(archive.read(entry), f"{path}: {key}") for key, entry in chosen.items()}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path}: not a readable npz ({error}); download or export it again") from None


def _read_entry(raw: bytes, name: str) -> Any:
    """One .npy of an npz."""
    stream = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"npy version {version}")
        shape, _, dtype = read_header[version](stream)
        if not dtype.hasobject:
            if math.prod(shape) * dtype.itemsize > len(raw):
                raise ValueError(f"shape {shape} of {len(raw)} bytes")
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # numpy's parser of headers meets damage with errors of any kind
        raise InputError(f"{name}: not a readable array ({error})") from None
    value = loads(raw[stream.tell() :], name)
    if not isinstance(value, np.ndarray) or value.shape != shape:
        raise InputError(f"{name}: announces an object array of shape {shape} but holds something else")
    return value.item() if shape == () else value
