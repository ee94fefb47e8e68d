"""Settings of ITES' teacher and student (Xu et al. 2021). Defaults are those of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from selfsup3d.config.base import Layers, NotNegative, Positive, Section, Width

__all__ = ["StudentConfig", "StudentWeightConfig", "TeacherConfig", "TeacherWeightConfig"]


class TeacherWeightConfig(Section):
    """Weights of the teacher's terms."""

    reprojection: NotNegative = 5.0
    """Of the lifted pose onto the keypoints."""
    invariance: NotNegative = 1.0
    """One canonical pose from all sides."""
    cycle: NotNegative = 0.0
    """Keypoints against the re-projection after rotating, lifting again and rotating back."""
    facing: NotNegative = 0.0
    """Knees bend forward (ours, not the paper's)."""
    compactness: NotNegative = 0.0
    """Canonical poses stay near the dictionary's mean pose (ours, not the paper's)."""


class TeacherConfig(Section):
    """The invariant teacher of ITES (Xu et al. 2021)."""

    kind: Literal["ites_teacher"] = "ites_teacher"
    """Which system."""
    width: Width = 1024
    """Of the network."""
    bottleneck: Width = 256
    """Of the residual blocks."""
    blocks: Layers = 6
    """Residual blocks."""
    atoms: Layers = 12
    """Of the shape dictionary, besides the mean pose."""
    distance: Positive = 5.0
    """Of the virtual camera of focal length 1."""
    length: Positive = 0.7
    """From root to head, in the camera's unit."""
    views: Layers = 4
    """Random rotations of each sample."""
    view_rotations: Literal["sphere", "views"] = "sphere"
    """sphere = about any axis, the paper's; views = about the vertical axis, then a little up or down (ours)."""
    rotation: Literal["so3", "6d"] = "so3"
    """How the network gives a rotation: axis times angle, the paper's; or two columns (ours)."""
    weights: TeacherWeightConfig = TeacherWeightConfig()


class StudentWeightConfig(Section):
    """Weights of the student's terms."""

    distillation: NotNegative = 5.0
    """The teacher's depths; 0 = without a teacher."""
    equivariance: NotNegative = 1.0
    """A rotated pose is lifted to the rotated pose."""
    facing: NotNegative = 0.0
    """Knees bend forward (ours, not the paper's)."""


class StudentConfig(Section):
    """The equivariant student of ITES (Xu et al. 2021)."""

    kind: Literal["ites_student"] = "ites_student"
    """Which system."""
    teacher: Path | None = None
    """A trained teacher: a run, a released model or a checkpoint. Needed to train only."""
    channels: Width = 128
    """Of the graph convolutions."""
    blocks: Layers = 4
    """Residual blocks of two graph convolutions."""
    edges: Literal["per_channel", "shared"] = "per_channel"
    """Learnt edge weights: one matrix per output channel, or one for all."""
    attention: bool = True
    """Non-local layers between all joints."""
    distance: Positive = 5.0
    """Of the virtual camera; the teacher's."""
    length: Positive = 0.7
    """From root to head; the teacher's."""
    views: Layers = 4
    """Random rotations of each sample."""
    weights: StudentWeightConfig = StudentWeightConfig()
