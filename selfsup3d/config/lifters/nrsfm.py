"""Settings of non-rigid structure from motion. Defaults are those of the papers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfsup3d.config.base import Layers, NotNegative, Section, Width

__all__ = ["C3DPOConfig", "C3DPOWeightConfig", "DeepNRSfMConfig"]


class C3DPOWeightConfig(Section):
    """Weights of the terms of C3DPO."""

    reprojection: NotNegative = 1.0
    """Onto the keypoints."""
    canonicalisation: NotNegative = 1.0
    """The canonicaliser undoes random rotations."""
    facing: NotNegative = 0.0
    """Knees bend forward (ours, not the paper's)."""
    compactness: NotNegative = 0.0
    """Canonical poses stay near the basis' mean pose (ours, not the paper's)."""
    invariance: NotNegative = 0.0
    """One canonical pose from all sides (of ITES, not the paper's)."""
    cycle: NotNegative = 0.0
    """Keypoints against the re-projection after rotating, lifting again and rotating back (of ITES, not the paper's)."""


class C3DPOConfig(Section):
    """Non-rigid structure from motion with a canonical view (C3DPO, Novotny et al. 2019)."""

    kind: Literal["c3dpo"] = "c3dpo"
    """Which system."""
    width: Width = 1024
    """Of both networks."""
    bottleneck: Width = 256
    """Of the residual blocks."""
    blocks: Layers = 6
    """Residual blocks."""
    bases: Layers = 10
    """Of the shape basis."""
    augment: bool = True
    """Rotate the image of training samples about the viewing axis."""
    rotation: Literal["so3", "6d"] = "so3"
    """How the network gives a rotation: axis times angle, the paper's; or two columns (ours)."""
    weights: C3DPOWeightConfig = C3DPOWeightConfig()


class DeepNRSfMConfig(Section):
    """Hierarchical block-sparse coding (Deep NRSfM, Kong & Lucey 2019)."""

    kind: Literal["deep_nrsfm"] = "deep_nrsfm"
    """Which system."""
    sizes: tuple[Width, ...] = Field((125, 115, 104, 94, 83, 73, 62, 52, 41, 31, 20, 10), min_length=2)
    """Atoms of each dictionary."""
    threshold: Literal["block", "relu"] = "block"
    """Sparsity of whole 3x2 blocks, or of single entries."""
    facing: NotNegative = 0.0
    """Knees bend forward (ours, not the paper's)."""
