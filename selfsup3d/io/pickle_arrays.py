"""The values inside a pickle that are more than containers: dtypes, arrays and the few functions that make them.

Used by `safe_pickle` alone. A function named by a file is never called; what it would have returned is made here, from
arguments that are checked first.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

__all__ = ["ArrayInProgress", "Budget", "DtypeInProgress", "Refused", "call", "checked_key", "resolve"]

_DTYPE = re.compile(r"[biufcSU?]\d{0,9}|O\d?")
_MAX_DEPTH = 64


class Refused(Exception):
    """The pickle asks for something that is not read; the message completes "not read as data: ..."."""


def checked_key(value: Any, depth: int = 0) -> Any:
    """A dict key or set member: a scalar, or a shallow tuple of such (hashing deep tuples overflows the C stack)."""
    if type(value) is tuple and depth < 3:
        for item in value:
            checked_key(item, depth + 1)
    elif value is not None and not isinstance(value, str | bytes | int | float | complex | np.generic):
        raise Refused(f"it uses a {type(value).__name__} as a key")
    return value


class Budget:
    """Bytes that arrays may take altogether."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, count: int) -> None:
        """Take `count` bytes; Refused when none are left."""
        self.left -= count
        if self.left < 0:
            raise Refused("its arrays are many times larger than the file")


class DtypeInProgress:
    """`numpy.dtype(code, ...)` until its byte order is known."""

    def __init__(self, code: Any) -> None:
        if isinstance(code, bytes):
            code = code.decode("latin1")
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise Refused(f"it holds an array of type {code!r}; numbers, booleans, strings and objects are read")
        self.dtype = np.dtype(object) if code[0] == "O" else np.dtype(code)

    def set_state(self, state: Any, budget: Budget) -> None:
        """The state `(version, byte order, sub-array, names, fields, ...)` of numpy's pickles."""
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("it holds an array of a structured type")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise Refused(f"it holds an array of byte order {order!r}")
        if self.dtype != object:
            self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class ArrayInProgress:
    """`_reconstruct(ndarray, (0,), "b")` until its state is known."""

    value: np.ndarray | None = None
    items: tuple[tuple[int, ...], list[Any], str] | None = None  # shape, elements, order of an object array

    def set_state(self, state: Any, budget: Budget) -> None:
        """The state `(version, shape, dtype, is Fortran order, bytes or list)` of numpy's pickles."""
        if self.value is not None or self.items is not None:
            raise Refused("it sets the state of an array twice")
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise Refused("it holds an array of unknown layout")
        shape, dtype, fortran, raw = state[-4:]
        order = "F" if fortran else "C"
        if isinstance(dtype, DtypeInProgress) and dtype.dtype == object:
            shape, _ = _checked_shape(shape)
            if not isinstance(raw, list):
                raise Refused("it holds an object array without its objects")
            budget.spend(8 * len(raw))
            self.items = (shape, raw, order)
        else:
            self.value = _array(raw, dtype, shape, order, None, budget)

    def finish(self, memo: dict[int, Any], depth: int) -> np.ndarray:
        """The array, its objects resolved."""
        if self.value is not None:
            return self.value
        if self.items is None:
            raise Refused("it holds an array without content")
        shape, items, order = self.items
        if int(np.prod(shape, dtype=object)) != len(items):
            raise Refused(f"it holds {len(items)} objects for an array of shape {shape}")
        flat = np.empty(len(items), dtype=object)
        for place, item in enumerate(items):
            flat[place] = resolve(item, memo, depth)
        return flat.reshape(shape, order="F" if order == "F" else "C")


def _checked_shape(shape: Any) -> tuple[tuple[int, ...], int]:
    """A tuple of at most 32 non-negative ints, and its product."""
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 62 for n in shape):
        raise Refused(f"it holds an array of shape {shape!r}")
    return shape, int(np.prod(shape, dtype=object))


def _raw(value: Any) -> bytes:
    """The bytes of an array; Python 2 wrote them as text in latin1."""
    if isinstance(value, str):
        return value.encode("latin1")
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise Refused(f"it holds an array whose content is a {type(value).__name__}")


def _array(raw: Any, dtype: Any, shape: Any, order: str, axes: Any, budget: Budget) -> np.ndarray:
    """An array of numbers, booleans or strings from its bytes: writable, native byte order, own memory."""
    if not isinstance(dtype, DtypeInProgress) or dtype.dtype == object:
        raise Refused("it holds an array of unknown type")
    shape, count = _checked_shape(shape)
    budget.spend(len(raw) if hasattr(raw, "__len__") else 0)
    content = _raw(raw)
    if dtype.dtype.itemsize == 0 or count * dtype.dtype.itemsize != len(content):
        raise Refused(f"it holds {len(content)} bytes for an array of shape {shape} and type {dtype.dtype}")
    flat = np.frombuffer(content, dtype=dtype.dtype).astype(dtype.dtype.newbyteorder("="))
    array = flat.reshape(shape, order="F" if order == "F" else "C")
    if axes is not None:
        if sorted(axes) != list(range(len(shape))):
            raise Refused(f"it holds an array of axis order {axes!r}")
        array = array.transpose(axes)
    return array


def call(role: str, arguments: tuple[Any, ...], budget: Budget) -> Any:
    """What the named function would have returned for these arguments; Refused where they are unusual."""
    if role == "dtype" and 1 <= len(arguments) <= 3:
        return DtypeInProgress(arguments[0])
    if role == "reconstruct" and len(arguments) == 3 and arguments[0] == "ndarray" and arguments[1] == (0,):
        return ArrayInProgress()
    if role == "scalar" and len(arguments) == 2:
        return _array(arguments[1], arguments[0], (1,), "C", None, budget)[0]
    if role == "frombuffer" and len(arguments) in (4, 5) and arguments[3] in ("C", "F", "K"):
        axes = arguments[4] if len(arguments) == 5 else None
        raw, dtype, shape, order = arguments[:4]
        if order == "K" and not isinstance(axes, tuple):
            raise Refused("it holds an array of unknown axis order")
        return _array(raw, dtype, shape, order, axes if order == "K" else None, budget)
    return _call_builtin(role, arguments, budget)


def _call_builtin(role: str, arguments: tuple[Any, ...], budget: Budget) -> Any:
    """Containers and strings that older protocols write as calls."""
    kinds = tuple(type(a) for a in arguments)
    if role == "encode" and kinds == (str, str) and arguments[1] in ("latin1", "latin-1"):
        budget.spend(len(arguments[0]))
        return arguments[0].encode("latin1")
    if role in ("bytes", "bytearray"):
        if not arguments:
            return b"" if role == "bytes" else bytearray()
        if kinds == (bytes,) or (kinds == (str, str) and arguments[1] in ("latin1", "latin-1")):
            budget.spend(len(arguments[0]))
            return (bytes if role == "bytes" else bytearray)(_raw(arguments[0]))
    if role == "complex" and len(kinds) == 2 and set(kinds) <= {int, float}:
        return complex(*arguments)
    makers: dict[str, Any] = {"set": set, "frozenset": frozenset, "list": list, "tuple": tuple}
    if role in makers and (not arguments or kinds == (list,) or kinds == (tuple,)):
        items = arguments[0] if arguments else ()
        budget.spend(16 * len(items))
        return makers[role]([checked_key(item) for item in items] if role in ("set", "frozenset") else items)
    if role == "dict" and (not arguments or kinds == (list,)):
        pairs = arguments[0] if arguments else []
        if all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
            budget.spend(16 * len(pairs))
            return {checked_key(key): value for key, value in pairs}
    raise Refused(f"it makes a {role} from {', '.join(k.__name__ for k in kinds) or 'nothing'}")


def resolve(value: Any, memo: dict[int, Any], depth: int) -> Any:
    """The finished value: arrays in progress replaced, containers rebuilt; shared parts stay shared.

    `memo` maps the id of a container to its result, None while it is being made, so that a structure containing
    itself is refused and one referred to a thousand times is made once.
    """
    if value is None or isinstance(value, _LEAVES):
        return value
    if depth > _MAX_DEPTH:
        raise Refused(f"it nests deeper than {_MAX_DEPTH}")
    if id(value) in memo:
        if memo[id(value)] is None:
            raise Refused("it contains itself")
        return memo[id(value)]
    memo[id(value)] = None
    memo[id(value)] = _rebuilt(value, memo, depth + 1)
    return memo[id(value)]


_LEAVES = (str, bytes, bytearray, int, float, complex, set, frozenset, np.ndarray, np.generic)


def _rebuilt(value: Any, memo: dict[int, Any], depth: int) -> Any:
    if isinstance(value, ArrayInProgress):
        return value.finish(memo, depth)
    if isinstance(value, list | tuple):
        return type(value)([resolve(item, memo, depth) for item in value])
    if isinstance(value, dict):
        return {key: resolve(item, memo, depth) for key, item in value.items()}
    raise Refused("it holds a bare function or type")
