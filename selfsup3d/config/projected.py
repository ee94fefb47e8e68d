"""Settings of projected poses: 2D keypoints made from motion capture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfsup3d.config.base import Count, Fraction, NotNegative, Section

__all__ = ["CameraConfig", "KeypointConfig", "ProjectedConfig"]

Range = tuple[float, float]


class KeypointConfig(Section):
    """What a keypoint detector does to the true projections."""

    sigma: NotNegative = 0.0
    """Standard deviation of the noise, px at an image width of 1000."""
    outliers: Fraction = 0.0
    """Share of joints with noise ten times as wide."""
    missing: Fraction = 0.0
    """Share of joints that are not found."""
    limbs: Fraction = 0.0
    """Probability of each arm and leg to be hidden from knee or elbow on."""


class CameraConfig(Section):
    """Cameras that poses are projected by, drawn uniformly; all azimuths."""

    distance: Range = (3.0, 6.0)
    """Metres along the viewing axis."""
    elevation: Range = (-5.0, 20.0)
    """Degrees; positive looks down."""
    roll: Range = (-2.0, 2.0)
    """Degrees."""
    focal: Range = (1140.0, 1150.0)
    """Px at an image width of 1000."""
    offset: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.12
    """Largest distance of the person from the image's middle, as a share of its width."""


class ProjectedConfig(Section):
    """Poses seen by random cameras: the data of lifters."""

    kind: Literal["projected"] = "projected"
    """Which data."""
    mocap: Path | None = None
    """Motion-capture npz; none = procedural motion, nothing to download."""
    sequences: Count = 1500
    """Sequences of procedural motion to train on."""
    size: Annotated[int, Field(ge=16)] = 1000
    """Width and height of the image, px."""
    frames: Count = 1
    """Frames of a sample, odd; the middle one's pose is wanted."""
    cameras: CameraConfig = CameraConfig()
    keypoints: KeypointConfig = KeypointConfig()
    mirror: bool = True
    """Mirror every second training sample."""
    balance: Literal["subject", "sequence", "frame"] = "subject"
    """What training samples are drawn evenly over first."""
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the poses that is trained on, evenly spaced."""
    labelled: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the sequences with 3D labels."""
    second_source: bool = False
    """Also give other poses' keypoints in another convention (domain adaptation)."""
    stride: Count = 5
    """Every stride-th frame is an evaluation frame."""

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.frames % 2 == 0:
            raise ValueError(f"frames must be odd, so that there is a middle one; it is {self.frames}")
        return self
