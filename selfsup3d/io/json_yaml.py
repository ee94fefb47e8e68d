"""JSON and YAML from strangers: plain values, or a ValueError and nothing else, however they are nested."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from typing import Any

import yaml
from pydantic import ValidationError

__all__ = ["first_fault", "parse_json", "parse_yaml"]

_LONGEST = 100  # characters of a number
_DEEPEST = 100  # lists and mappings of YAML in one another
_LARGEST = 1 << 20  # characters of YAML; a config is a page or two, and PyYAML is slow


def parse_json(text: str | bytes) -> Any:
    """`json.loads`, of integers that arrays and floats can hold.

    Raises:
        ValueError: not JSON, nested deeper than Python's stack, or an integer of more than 64 bits.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _integer(digits: str) -> int:
    value = int(digits)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{digits[:20]}... is an integer of more than 64 bits")
    return value


def parse_yaml(text: str) -> Any:
    """YAML of plain values: no objects, no aliases, no key twice; `1e-4` is a number.

    Raises:
        ValueError: not such YAML, with line and column in one line; longer than a megabyte; nested too deeply.
    """
    if len(text) > _LARGEST:
        raise ValueError(f"{len(text)} characters are too many, expected up to {_LARGEST}")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(_one_line(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (ValueError, OverflowError) as error:  # impossible dates, numbers of thousands of digits
        raise ValueError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from None


def first_fault(error: Exception) -> str:
    """The first thing that a validation complains of, in one line: pydantic's place and message, or an error's own."""
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        return f"{place}: {fault['msg']}" if place else fault["msg"]
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Loader(yaml.SafeLoader):
    """The safe loader of PyYAML with two repairs: `1e-4` is a number, and a repeated key is an error."""

    _depth = 0

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A dict; PyYAML would let the last of two equal keys win."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key!r} appears twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """Long scalars are text: numbers of thousands of digits take PyYAML quadratic time."""
        if kind is yaml.ScalarNode and implicit[0] and len(value) > _LONGEST:
            return "tag:yaml.org,2002:str"
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases: nested ones make a file of a few lines unfold to billions of nodes."""
        if self.check_event(yaml.AliasEvent):  # type: ignore[no-untyped-call]
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not supported", mark)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        try:
            return super().compose_node(parent, index)  # type: ignore[no-untyped-call, no-any-return]
        finally:
            self._depth -= 1


_Loader.add_implicit_resolver(  # type: ignore[no-untyped-call]
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return place + str(getattr(error, "problem", None) or str(error).splitlines()[0])
