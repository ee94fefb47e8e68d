"""Settings of projected poses: 2D keypoints made from motion capture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfsup3d.config.base import Count, Fraction, NotNegative, Section

__all__ = ["CameraConfig", "DetectorConfig", "KeypointConfig", "ProjectedConfig", "VariationConfig"]

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


class DetectorConfig(Section):
    """Keypoints as a person detector marks them; probabilities and shares."""

    error: NotNegative = 0.12
    """Mean distance from the truth, torso lengths. BlazePose's on a calibrated real sequence is 0.12."""
    clean: Fraction = 0.3
    """Samples without errors; the level of the others lies between 0 and twice `error`."""
    skeleton: Fraction = 0.6
    """Samples with a detector's skeleton: no spine, no top of the head; neck and pelvis mid-points, nose on the face."""
    trunk: Fraction = 0.2
    """In other samples, of spine, nose and head each to be absent."""
    missing: Fraction = 0.02
    """Joints that are not found."""
    limbs: Fraction = 0.05
    """Each arm and leg hidden from knee or elbow on."""
    swaps: Fraction = 0.02
    """Legs, or arms, taken for each other."""


class VariationConfig(Section):
    """Other bodies and rarer poses than the captured ones, in training samples."""

    bones: NotNegative = 0.08
    """Standard deviation of the logarithm of bone lengths."""
    hips: NotNegative = 0.5
    """The hips are up to this share farther apart."""
    limbs: Fraction = 0.15
    """Probability of each arm and leg to be another pose's."""
    limb_angle: NotNegative = 8.0
    """Degrees by which whole arms and legs are rotated, standard deviation."""
    trunk_angle: NotNegative = 8.0
    """Degrees by which everything above the hips is rotated, standard deviation."""


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
    detector: DetectorConfig | None = None
    """Keypoints as a person detector marks them, in place of `keypoints`."""
    variation: VariationConfig | None = None
    """Other bodies and rarer poses; none = the captured ones alone."""
    speeds: Range = (1.0, 1.0)
    """Training sequences run so many times as fast as they were captured."""
    mirror: bool = True
    """Mirror every second training sample."""
    balance: Literal["subject", "sequence", "frame", "pose"] = "subject"
    """What training samples are drawn evenly over first; pose = clusters of similar poses."""
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the poses that is trained on, evenly spaced."""
    labelled: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the sequences with 3D labels."""
    second_source: bool = False
    """Also give other poses' keypoints in another convention (domain adaptation)."""
    stride: Count = 5
    """Every stride-th frame is an evaluation frame."""

    @model_validator(mode="after")
    def _speeds_rise(self) -> Self:
        if not 0 < self.speeds[0] <= self.speeds[1]:
            raise ValueError(f"speeds must be two positive numbers, the smaller first; they are {self.speeds}")
        return self

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.frames % 2 == 0:
            raise ValueError(f"frames must be odd, so that there is a middle one; it is {self.frames}")
        return self
