"""Configs that older versions wrote, brought to the names of today: one table a format, applied in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["OPTIMIZERS", "upgrade"]

KEYS: dict[int, dict[str, str]] = {
    1: {
        "system.stages.puppet": "system.stages.pretrain",
        "system.weights.puppet": "system.weights.known_pose",
        "system.puppets": "system.pretrain.source",
        "system.disturbance": "system.strong_augmentation",
        "system.plates": "system.composite",
        "data.plates": "data.backgrounds",
        "trainer.optimizers.puppet": "trainer.optimizers.pretrain",
    },
}
"""Of each format that is no longer written: the dotted keys that the next one calls otherwise."""

VALUES: dict[int, dict[str, dict[Any, Any]]] = {
    1: {
        "system.supervision": {"puppet": "pretrain"},
        "system.pretrain.source": {True: "puppet", False: "none"},
    },
}
"""Of each such format: the values, under their new key, that the next one writes otherwise."""

OPTIMIZERS = {"puppet": "pretrain"}
"""Names of optimizers in checkpoints of format 1, and today's."""


def upgrade(config: Mapping[str, Any], version: int) -> dict[str, Any]:
    """The config that a file of format `version` holds, in today's names; other keys stay as they are.

    Only part-guided systems have the renamed keys below `system`; other kinds may use such a name for something else.
    """
    values = _copy(config)
    for number in sorted(KEYS):
        if number < version:
            continue
        part_guided = (values.get("system") or {}).get("kind", "part_guided") == "part_guided"
        for old, new in KEYS[number].items():
            if old.startswith("system.") and not part_guided:
                continue
            _move(values, old.split("."), new.split("."))
        for key, changed in VALUES.get(number, {}).items():
            if key.startswith("system.") and not part_guided:
                continue
            holder = _holder(values, key.split(".")[:-1])
            name = key.split(".")[-1]
            if holder is not None and name in holder and holder[name] in changed:
                holder[name] = changed[holder[name]]
    return values


def _move(values: dict[str, Any], old: list[str], new: list[str]) -> None:
    for holder in _datasets(values) if old[0] == "data" else [_holder(values, old[:-1])]:
        if holder is None or old[-1] not in holder:
            continue
        value = holder.pop(old[-1])
        place = holder if old[:-1] == new[:-1] else _holder(values, new[:-1], make=True)
        assert place is not None
        place.setdefault(new[-1], value)


def _datasets(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The dataset, or those of a mixture."""
    data = values.get("data")
    if isinstance(data, dict):
        parts = data.get("parts")
        return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else [data]
    return [part for part in data if isinstance(part, dict)] if isinstance(data, list) else []


def _holder(values: dict[str, Any], path: list[str], make: bool = False) -> dict[str, Any] | None:
    """The mapping at a path, or None."""
    for part in path:
        if make:
            values = values.setdefault(part, {})
        else:
            found = values.get(part)
            if not isinstance(found, dict):
                return None
            values = found
    return values


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
