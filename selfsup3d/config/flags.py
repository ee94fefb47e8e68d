"""A config from --config and dotted flags: --trainer.steps 200, --data.root=PATH, --trainer.no-ema.

Every setting of the file's config is a flag; which system and which data (`kind`) the file alone says.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from selfsup3d.config.load import explain, load_config, nearest
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.io.resources import shipped_configs

__all__ = ["apply_flags", "parse_config"]

Key = tuple[str | int, ...]

_USUAL = "e.g. --config quickstart, or a file: --config mine.yaml"


def parse_config(argv: Sequence[str], description: str) -> Config:
    """The config that `--config NAME_OR_FILE` and dotted flags describe.

    Raises:
        InputError: no --config, a wrong file (see `load.load_config`), an unknown flag or a wrong value.
        SystemExit: --help, after it is printed with the file's values as defaults.
    """
    path, rest = _split_config(argv)
    if any(flag in rest for flag in ("-h", "--help")):
        _print_help(Config() if path is None else load_config(path), description)
        raise SystemExit(0)
    if path is None:
        raise InputError(f"--config is missing, {_USUAL} (see --help)")
    return apply_flags(load_config(path), rest)


def apply_flags(base: Config, flags: Sequence[str]) -> Config:
    """A config in which flags take the place of values.

    A value is read as YAML's author would write it: numbers, true and false, none for a setting that may be empty,
    several words for a list. `--a.b` and `--a.no-b` switch what is true or false.

    Raises:
        InputError: an unknown flag, a missing, superfluous or wrong value.
    """
    settings = {".".join(map(str, key)): (key, kind) for key, kind in _settings((), base)}
    values = base.model_dump()
    given: dict[Key, str] = {}
    for flag, words in _grouped(flags):
        name = flag.removeprefix("--").replace("-", "_")
        if name not in settings and _without_no(name) in settings:
            key, kind = settings[_without_no(name)]
            if not _is_bool(kind) or words:
                raise InputError(f"{flag}: only switches can be turned off by no-, without a value (see --help)")
            words = ["false"]
        elif name in settings:
            key, kind = settings[name]
        else:
            valid = [f"--{dotted.replace('_', '-')}" for dotted in settings]
            wrong = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag}: unknown flag{nearest(wrong, ['--config', *valid])} (see --help)")
        _put(values, key, _read(flag, kind, words))
        given[key] = flag
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(*_explained(error)) from None


def _split_config(argv: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Take `--config FILE` or `--config=FILE` out of the arguments."""
    path: Path | None = None
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        name, given, value = argument.partition("=")
        if name != "--config":
            rest.append(argument)
            continue
        value = value if given else next(arguments, "")
        if not value or value.startswith("--"):
            raise InputError(f"--config needs a name or a file, {_USUAL}")
        path = Path(value)
    return path, rest


def _grouped(flags: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the words behind it."""
    found: list[tuple[str, list[str]]] = []
    for word in flags:
        if word.startswith("--") and len(word) > 2:
            flag, equals, value = word.partition("=")
            found.append((flag, [value] if equals else []))
        elif found:
            found[-1][1].append(word)
        else:
            raise InputError(f"unexpected argument {word!r}; flags look like --trainer.steps 200 (see --help)")
    yield from found


def _settings(key: Key, value: BaseModel) -> Iterator[tuple[Key, Any]]:
    """Key and type of every setting, of the systems and datasets that `value` has."""
    for name, field in type(value).model_fields.items():
        inside = getattr(value, name)
        if isinstance(inside, BaseModel):
            yield from _settings((*key, name), inside)
        elif isinstance(inside, tuple) and any(isinstance(part, BaseModel) for part in inside):
            for number, part in enumerate(inside):
                yield from _settings((*key, name, number), part)
        else:
            yield (*key, name), field.annotation


def _read(flag: str, kind: Any, words: list[str]) -> Any:
    """What the words behind a flag mean; whether the value is allowed is for validation to say."""
    members = _members(kind)
    many = any(get_origin(member) is tuple for member in members)
    if not words and _is_bool(kind):
        return True
    if not words and not many:
        raise InputError(f"{flag}: a value is missing (see --help)")
    if type(None) in members and [word.lower() for word in words] in (["none"], ["null"]):
        return None
    if many:
        return words
    if len(words) > 1:
        raise InputError(f"{flag}: expected one value, found {len(words)}: {' '.join(words)} (see --help)")
    choices = {str(value): value for member in members if get_origin(member) is Literal for value in get_args(member)}
    if choices and all(get_origin(member) is Literal or member is type(None) for member in members):
        if words[0] not in choices:
            close = nearest(words[0], choices)
            raise InputError(f"{flag}: {words[0]!r} is no choice{close}; valid: {', '.join(choices)}")
        return choices[words[0]]
    return words[0]


def _members(kind: Any) -> list[Any]:
    """The types of a union, without annotations."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [member for part in get_args(kind) for member in _members(part)]
    return [kind]


def _is_bool(kind: Any) -> bool:
    return bool in _members(kind)


def _without_no(name: str) -> str:
    """a.no_b -> a.b"""
    before, dot, last = name.rpartition(".")
    return f"{before}{dot}{last.removeprefix('no_')}"


def _put(values: dict[str, Any], key: Key, value: Any) -> None:
    inside: Any = values
    for part in key[:-1]:
        if isinstance(inside[part], tuple):
            inside[part] = list(inside[part])
        inside = inside[part]
    inside[key[-1]] = value


def _explained(error: ValidationError) -> list[str]:
    """`load.explain`, with the flag in place of file and key."""
    lines = []
    for line in explain(error, "flags"):
        key, separator, rest = line.removeprefix("flags: ").partition(": ")
        lines.append(f"--{key.replace('_', '-')}: {rest}" if separator and " " not in key else line)
    return lines


def _print_help(config: Config, description: str) -> None:
    """Every flag with its default and meaning."""
    import tyro  # takes a while, and only help needs it

    names = ", ".join(shipped_configs())
    about = (
        f"{description}\n\n--config names the YAML file that the defaults below come from, or a shipped one: {names}."
    )
    tyro.cli(Config, args=["--help"], default=config, description=about, config=(tyro.conf.AvoidSubcommands,))
