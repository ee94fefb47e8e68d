"""Settings of the lifters that lift rotated views again. Defaults are those of the papers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selfsup3d.config.base import Fraction, Layers, NotNegative, Positive, Section, Width

__all__ = ["ElePoseConfig", "ElePoseWeightConfig", "GeometricConfig", "GeometricWeightConfig"]


class GeometricWeightConfig(Section):
    """Weights of the terms of geometric self-supervision."""

    cycle_2d: NotNegative = 10.0
    """Keypoints against the re-projection after the cycle."""
    cycle_3d: NotNegative = 0.001
    """The rotated pose against the pose lifted from its projection."""
    adversarial: NotNegative = 1.0
    """Rotated views look real."""
    temporal: NotNegative = 1.0
    """Rotated motion looks real."""
    adapt: NotNegative = 1.0
    """Adapted keypoints look like the target source's."""
    adapt_size: NotNegative = 0.1
    """Adapted keypoints stay near the original ones."""
    facing: NotNegative = 0.0
    """Knees bend forward (ours, not the paper's)."""


class GeometricConfig(Section):
    """Geometric self-supervision (Chen et al. 2019)."""

    kind: Literal["geometric"] = "geometric"
    """Which system."""
    width: Width = 1024
    """Of all networks."""
    blocks: Layers = 4
    """Residual blocks of the lifter."""
    critic_blocks: Layers = 3
    """Residual blocks of the critics."""
    distance: Positive = 10.0
    """Of the unit camera; heads are 1 unit from the root."""
    weights: GeometricWeightConfig = GeometricWeightConfig()
    temporal: bool = False
    """Critic of motion; needs data.frames of 3 or more."""
    adapter: bool = False
    """2D domain adapter; needs data.second_source."""
    keypoints: Literal["target", "source"] = "target"
    """Whose keypoints are lifted when predicting; source = adapted first."""
    norm: Literal["batch", "none"] = "none"
    """BatchNorm in the lifter."""


class ElePoseWeightConfig(Section):
    """Weights of ElePose's terms."""

    likelihood: NotNegative = 1.0
    """Of rotated views under the flow."""
    points_2d: NotNegative = 1.0
    """Keypoints against the re-projection after the cycle."""
    points_3d: NotNegative = 1.0
    """The rotated pose against the pose lifted from its projection."""
    pairs: NotNegative = 1.0
    """Deformations between two samples survive the cycle."""
    bones: NotNegative = 50.0
    """Relative bone lengths against their mean."""
    facing: NotNegative = 0.0
    """Knees bend forward (ours, not the paper's)."""


class ElePoseConfig(Section):
    """Likelihood of rotated views under a flow, with the camera's elevation (ElePose, Wandt et al. 2022)."""

    kind: Literal["elepose"] = "elepose"
    """Which system."""
    width: Width = 1024
    """Of the lifter."""
    blocks: Layers = 1
    """Residual blocks of the trunk and of each branch."""
    distance: Positive = 10.0
    """Of the camera; heads are 1 unit from the root."""
    components: Annotated[int, Field(ge=2, le=34)] = 26
    """Principal components of the 2D poses that the flow sees."""
    flow_layers: Layers = 8
    """Couplings of the flow."""
    flow_width: Width = 1024
    """Of the couplings' networks."""
    flow_share: Fraction = 0.3
    """Share of the run that trains the flow, before the lifter."""
    weights: ElePoseWeightConfig = ElePoseWeightConfig()
