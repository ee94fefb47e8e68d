"""What every group of settings is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Count", "Fraction", "Layers", "NotNegative", "Positive", "Section", "Width"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1, lt=2**53)]
Layers = Annotated[int, Field(ge=1, le=1000)]
"""Of a network: blocks, stages, views. More would fill memory before an error could be told."""
Width = Annotated[int, Field(ge=1, le=16384)]
"""Of a network's layer."""


class Section(BaseModel):
    """A group of settings. Unknown keys are errors; values cannot be changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
