"""A config from a YAML file: safe loading, and errors that name the file, the key and the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.io.json_yaml import parse_yaml
from selfsup3d.io.limits import DOCUMENT, read_within
from selfsup3d.io.resources import find_config, shipped_configs

__all__ = ["explain", "load_config", "nearest", "read_yaml", "validate"]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        InputError: no such file, not text, not YAML, or not a mapping.
    """
    try:
        value = parse_yaml(read_within(path, DOCUMENT).decode())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{_siblings(path)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except InputError:
        raise
    except ValueError as error:  # also bytes that are not UTF-8
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected keys and values (such as `trainer:`), found a {type(value).__name__}")
    return value


def load_config(path: Path) -> Config:
    """The config in a YAML file, or a shipped one by name (`quickstart`); `output_dir` becomes runs/<file name> where the file names none.

    Raises:
        InputError: see `read_yaml`; a wrong key or value, named with its place and the nearest valid key.
    """
    path = find_config(path)
    config = validate(read_yaml(path), str(path))
    if config.output_dir is None:
        config = config.model_copy(update={"output_dir": Path("runs") / path.stem})
    return config


def validate(values: dict[str, Any], where: str) -> Config:
    """`Config.model_validate` whose errors are for a person; `where` names the source of the values.

    Raises:
        InputError: a wrong key or value.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(*explain(error, where)) from None


def explain(error: ValidationError, where: str, prefix: str = "") -> list[str]:
    """One line for each mistake: source, dotted key, what is wrong, nearest valid key.

    `prefix` is the dotted place of the model that failed, within the config.
    """
    lines = []
    for item in error.errors(include_url=False):
        loc = tuple(part for part in prefix.split(".") if part) + tuple(item["loc"])
        models, dotted = _walk(loc)
        key = ".".join(dotted)
        if item["type"] == "extra_forbidden":
            valid = sorted({name for model in models for name in model.model_fields})
            message = f"unknown key{nearest(dotted[-1], valid)}; valid keys: {', '.join(valid)}"
        elif item["type"] in ("union_tag_invalid", "union_tag_not_found"):
            key = f"{key}.kind"
            valid = [kind for model in models for kind in _kinds(model)]
            given = (item.get("ctx") or {}).get("tag")
            start = "is missing" if given is None else f"{given!r} is not a kind{nearest(str(given), valid)}"
            message = f"{start}; valid kinds: {', '.join(valid)}"
        else:
            text = item["msg"].removeprefix("Value error, ")
            given = item["input"]
            shown = "" if isinstance(given, (dict, BaseModel)) else f" (got {str(given)[:80]!r})"
            message = text[0].lower() + text[1:] + shown
        lines.append(f"{where}: {key}: {message}" if key else f"{where}: {message}")
    return lines


def nearest(name: str, valid: Iterable[str]) -> str:
    """'; did you mean X?' for the valid name closest to a wrong one, or nothing where none is close."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _walk(loc: Sequence[int | str]) -> tuple[list[type[BaseModel]], list[str]]:
    """Models that hold the last key of a pydantic location, and the location without the tags of unions."""
    models: list[type[BaseModel]] = [Config]
    inside: list[type[BaseModel]] = [Config]
    dotted: list[str] = []
    for part in loc:
        tagged = [model for model in inside if part in _kinds(model)]
        if tagged and not any(part in model.model_fields for model in inside):
            inside = tagged  # pydantic names the member of the union; a person wrote no such key
            continue
        dotted.append(str(part))
        if isinstance(part, int):
            continue
        models = inside
        inside = [
            found
            for model in models
            if part in model.model_fields
            for found in _models_in(model.model_fields[part].annotation)
        ]
    return inside or models, dotted


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every model named in a type, however deep in unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()


def _siblings(path: Path) -> str:
    """The config of the closest name in the same folder, or of those that are shipped, if any."""
    if path.suffix not in (".yaml", ".yml"):
        return nearest(path.as_posix(), shipped_configs())
    if not path.parent.is_dir():
        return f" (the folder {path.parent} does not exist)"
    return nearest(path.name, [p.name for p in path.parent.glob("[!.]*.y*ml")])
