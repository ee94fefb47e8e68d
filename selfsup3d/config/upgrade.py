"""Configs and tensors that older versions wrote, brought to the names of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["OPTIMIZERS", "TENSORS", "upgrade", "upgrade_name", "upgrade_tensors"]

ANY = "any"
"""Whatever the kind of the system."""

KEYS: dict[int, dict[str, dict[str, str]]] = {
    1: {
        ANY: {
            "data.plates": "data.backgrounds",
            "trainer.optimizers.puppet": "trainer.optimizers.pretrain",
        },
        "part_guided": {
            "system.stages.puppet": "system.stages.pretrain",
            "system.weights.puppet": "system.weights.known_pose",
            "system.puppets": "system.pretrain.source",
            "system.disturbance": "system.strong_augmentation",
            "system.plates": "system.composite",
        },
        "repnet": {"system.critic_turns": "system.critic_updates"},
        "ites_teacher": {"system.sides": "system.view_rotations"},
    },
}
"""Of each format that is no longer written, by the system's kind: the dotted keys that the next one calls otherwise."""

VALUES: dict[int, dict[str, dict[str, dict[Any, Any]]]] = {
    1: {
        "part_guided": {
            "system.supervision": {"puppet": "pretrain"},
            "system.pretrain.source": {True: "puppet", False: "none"},
        },
    },
}
"""Likewise: the values, under their new key, that the next format writes otherwise."""

OPTIMIZERS = {"puppet": "pretrain"}
"""Names of optimizers in checkpoints of format 1, and today's."""

TENSORS = {
    "encoder.glimpse.look.": "encoder.head_crop.layers.",
    "encoder.sides.": "encoder.left_right.",
    "camera.turns": "camera.rotations",
}
"""Beginnings of tensors' names in models and checkpoints of format 1, and today's; no system of today has the old ones."""

Value = TypeVar("Value")


def upgrade(config: Mapping[str, Any], version: int) -> dict[str, Any]:
    """The config that a file of format `version` holds, in today's names; other keys stay as they are.

    Keys below `system` are renamed for the kind of system that had them; others may use such a name for something else.
    """
    values = _copy(config)
    kinds = (ANY, (values.get("system") or {}).get("kind", "part_guided"))
    for number in sorted(KEYS):
        if number < version:
            continue
        for kind in kinds:
            for old, new in KEYS[number].get(kind, {}).items():
                _move(values, old.split("."), new.split("."))
            for key, changed in VALUES.get(number, {}).get(kind, {}).items():
                *path, name = key.split(".")
                holder = _holder(values, path)
                if holder is not None and name in holder and holder[name] in changed:
                    holder[name] = changed[holder[name]]
    return values


def upgrade_tensors(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The same tensors under the names of today."""
    return {upgrade_name(name): value for name, value in tensors.items()}


def upgrade_name(name: str) -> str:
    """Today's name of a tensor."""
    for old, new in TENSORS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


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
