"""What a run is: every setting of a system, its data and its training, with its meaning and default.

A YAML file names what differs from the defaults; flags override the file (`selfsup3d.config.flags.parse_config`); the merged
config is saved with every run and inside every released model. Only builders, training and launch scripts read this;
everything below them takes plain arguments.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from selfsup3d.config.base import Section
from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.config.datasets import (
    H36mConfig,
    MpiInf3dhpConfig,
    PeopleConfig,
    ShardsConfig,
    SyntheticConfig,
    VideosConfig,
)
from selfsup3d.config.lifters import LifterConfig
from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.config.projected import ProjectedConfig
from selfsup3d.config.trainer import TrainerConfig
from selfsup3d.io.files import write_text

__all__ = ["Config", "DataConfig", "ImageConfig", "MixtureConfig", "SystemConfig"]

SystemConfig = Annotated[PartGuidedConfig | LifterConfig | CrossModalConfig, Field(discriminator="kind")]
"""Any system."""


ImageConfig = SyntheticConfig | VideosConfig | PeopleConfig | H36mConfig | MpiInf3dhpConfig | ShardsConfig
"""Any dataset of images."""


class MixtureConfig(Section):
    """Several datasets together; a YAML list in place of `data` means the same."""

    kind: Literal["mixture"] = "mixture"
    """Which data."""
    parts: tuple[Annotated[ImageConfig, Field(discriminator="kind")], ...] = Field(min_length=1)
    """The datasets, each with its `weight`. The first is evaluated during training, every one at the end."""


DataConfig = Annotated[ImageConfig | ProjectedConfig | MixtureConfig, Field(discriminator="kind")]
"""Any dataset."""


class Config(Section):
    """A run."""

    system: SystemConfig = PartGuidedConfig()
    data: DataConfig = SyntheticConfig()
    trainer: TrainerConfig = TrainerConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of everything random in the run."""
    output_dir: Path | None = None
    """The run's folder; none = runs/<name of the config file>."""
    resume: str = "never"
    """never = start anew; auto = go on from the newest checkpoint in output_dir, if any; or a run or checkpoint."""
    weights: Path | None = None
    """Start from these weights (a run or a released model) with fresh optimizers."""
    fresh: tuple[str, ...] = ()
    """Tensors that `weights` does not give, by name or pattern (encoder.head.leave.*): they begin at random."""
    overwrite: bool = False
    """Remove an earlier run from output_dir first."""

    @model_validator(mode="before")
    @classmethod
    def _list_is_mixture(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("data"), list):
            return values | {"data": {"kind": "mixture", "parts": values["data"]}}
        return values

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.output_dir if self.output_dir is not None else Path("runs") / "run"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return self.model_dump(mode="json")

    def without_paths(self) -> Self:
        """The same without any file or folder of the machine it was made on: nobody is to see or follow those."""
        return type(self).model_validate(_without_paths(self.model_dump()) | {"resume": "never"})

    @property
    def hash(self) -> str:
        """16 hex digits that identify what is trained: everything but where the run lives and how it was started."""
        values = {k: v for k, v in self.to_dict().items() if k not in ("output_dir", "resume", "overwrite")}
        if not self.fresh:
            del values["fresh"]  # as in runs of before there was a choice
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write as YAML, every setting included."""
        write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True))


def _without_paths(value: Any) -> Any:
    """Nested settings with None in place of every path."""
    if isinstance(value, Path):
        return None
    if isinstance(value, dict):
        return {name: _without_paths(inner) for name, inner in value.items()}
    return tuple(_without_paths(inner) for inner in value) if isinstance(value, tuple) else value
