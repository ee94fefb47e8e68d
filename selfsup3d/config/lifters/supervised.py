"""Settings of the supervised lifters. Defaults are those of the papers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfsup3d.config.base import Fraction, Layers, Positive, Section, Width

__all__ = ["ImageRootConfig", "KeypointLifterConfig", "MartinezConfig", "RootDepthConfig", "TemporalConfig"]

Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


class MartinezConfig(Section):
    """The supervised baseline (Martinez et al. 2017)."""

    kind: Literal["martinez"] = "martinez"
    """Which system."""
    width: Width = 1024
    """Of the hidden layers."""
    blocks: Layers = 2
    """Residual blocks of two layers."""
    dropout: Dropout = 0.5
    """After each hidden layer."""
    max_norm: Positive | None = 1.0
    """Largest Frobenius norm of each weight matrix; none = unlimited."""


class TemporalConfig(Section):
    """Dilated temporal convolutions (VideoPose3D, Pavllo et al. 2019). Needs data.frames."""

    kind: Literal["temporal"] = "temporal"
    """Which system."""
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((3, 3, 3), min_length=1, max_length=8)
    """Kernel sizes, odd; their product is the number of frames seen."""
    channels: Width = 1024
    """Of the hidden layers."""
    dropout: Dropout = 0.25
    """After each hidden layer."""
    semi_supervised: bool = False
    """Samples without 3D labels (data.labelled) train by re-projection and bone lengths."""
    flip_test: bool = True
    """Average the prediction with that of the mirrored input."""

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if any(width % 2 == 0 for width in self.widths):
            raise ValueError(f"widths must be odd, so that there is a middle frame; they are {self.widths}")
        return self


class RootDepthConfig(Section):
    """Pose and depth of the root from keypoints (PoseLifter, Chang et al. 2019)."""

    kind: Literal["root_depth"] = "root_depth"
    """Which system."""
    width: Width = 1024
    """Of the hidden layers."""
    blocks: Layers = 2
    """Residual blocks of two layers."""
    dropout: Dropout = 0.1
    """After each hidden layer."""


class KeypointLifterConfig(Section):
    """Pose and root of a detector's keypoints, seen by a camera that looks at the person (ours): what is released."""

    kind: Literal["keypoint_lifter"] = "keypoint_lifter"
    """Which system."""
    width: Width = 768
    """Of the residual network's hidden layers."""
    blocks: Layers = 2
    """Residual blocks of two layers."""
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((), max_length=8)
    """Kernel sizes of temporal convolutions over the frames' poses, odd; their product is the number of frames seen. None =
    single frames."""
    channels: Width = 128
    """Of the temporal convolutions' hidden layers."""
    dropout: Dropout = 0.1
    """After each hidden layer."""
    unknown_focal: Fraction = 0.3
    """Share of training samples whose camera is not given."""
    flip_test: bool = True
    """Average the prediction with that of the mirrored input."""


class ImageRootConfig(Section):
    """Pose and depth of the root from images (RootNet, Moon et al. 2019)."""

    kind: Literal["image_root"] = "image_root"
    """Which system."""
    backbone: str = "resnet18"
    """Any timm network by name, with random weights."""
