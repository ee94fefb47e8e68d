"""Settings of the lifters whose poses, or views of them, a critic judges. Defaults are those of the papers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selfsup3d.config.base import NotNegative, Positive, Section, Width

__all__ = ["AdversarialDepthConfig", "RepNetConfig", "RepNetWeightConfig"]


class AdversarialDepthConfig(Section):
    """A GAN over rotated views (Kudo et al. 2018)."""

    kind: Literal["adversarial_depth"] = "adversarial_depth"
    """Which system."""
    width: Width = 1024
    """Of the hidden layers."""
    facing: Literal["face", "knees", "none"] = "face"
    """What tells people from their mirror images: the nose ahead of the neck (paper), or the knees ahead of the legs."""
    facing_weight: NotNegative = 1.0
    """Of the cost of facing the wrong way."""
    accuracy_range: tuple[float, float] = (0.1, 0.9)
    """The critic rests while its accuracy is above, the lifter while it is below."""


class RepNetWeightConfig(Section):
    """Weights of RepNet's terms."""

    adversarial: NotNegative = 1.0
    """Wasserstein term of the lifter."""
    reprojection: NotNegative = 1.0
    """Weighted L1 re-projection."""
    camera: NotNegative = 1.0
    """Orthogonality of the camera."""
    penalty: NotNegative = 10.0
    """Gradient penalty of the critic."""
    distal: Positive = 1.5
    """Knees, ankles, elbows and wrists within the re-projection, relative to other joints."""


class RepNetConfig(Section):
    """Adversarial re-projection (Wandt & Rosenhahn 2019); weakly supervised by unpaired 3D poses."""

    kind: Literal["repnet"] = "repnet"
    """Which system."""
    width: Width = 1000
    """Of all networks."""
    weights: RepNetWeightConfig = RepNetWeightConfig()
    frame: Literal["body", "camera"] = "camera"
    """Of the unpaired poses that the critic sees: in the body frame, or as random cameras see them."""
    chain: bool = True
    """The critic has its kinematic-chain path."""
    critic_updates: Annotated[int, Field(ge=1, le=20)] = 1
    """Updates of the critic for each of the lifter."""
