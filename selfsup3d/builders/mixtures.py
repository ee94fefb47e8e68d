"""Systems that were trained on several datasets are measured on each of them, by its own rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from selfsup3d.builders.systems import evaluated
from selfsup3d.config.run import Config, MixtureConfig
from selfsup3d.errors import InputError

__all__ = ["add_datasets", "of_dataset", "parts_of"]

_OF_THE_WHOLE = ("protocol", "checkpoint", "config_hash", "versions", "cross_modal", "per_dataset")
"""What stands in a result once, not for each dataset."""


def parts_of(config: Config) -> list[Config]:
    """The config as if it had been trained on each dataset of its mixture alone, in order; else itself."""
    data = config.data
    parts = data.parts if isinstance(data, MixtureConfig) else (data,)
    return [config.model_copy(update={"data": part}) for part in parts]


def of_dataset(config: Config, name: str | None) -> Config:
    """The config as if it had been trained on the dataset of this kind alone; the first of a mixture if there is none."""
    found = parts_of(config)
    return next((part for part in found if evaluated(part).kind == name), found[0])


def add_datasets(
    result: dict[str, Any], config: Config, measure: Callable[[Config], Mapping[str, Any]]
) -> dict[str, Any]:
    """Set "per_dataset" of a result to the numbers on every dataset of a mixture; nothing where there is one.

    Args:
        result: on the first dataset; changed.
        config: of the system.
        measure: gives the result on the one dataset of a config.

    Returns:
        `result`. A dataset that cannot be measured (its test data are not here) keeps the reason instead of numbers.
    """
    first, *others = parts_of(config)
    if not others:
        return result
    results: dict[str, dict[str, Any]] = {_name(first): _numbers(result)}
    for part in others:
        try:
            results[_name(part)] = _numbers(measure(part))
        except InputError as error:
            results[_name(part)] = {"frames": 0, "metrics": {}, "reasons": {"all": str(error).splitlines()[0]}}
    return result | {"per_dataset": results}


def _name(config: Config) -> str:
    return evaluated(config).kind


def _numbers(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in (*_OF_THE_WHOLE, "dataset")}
