"""Settings of the lifters. Defaults are those of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfsup3d.config.base import Count, Fraction, NotNegative, Positive, Section

__all__ = [
    "LIFTER_CONFIGS",
    "AdversarialDepthConfig",
    "C3DPOConfig",
    "DeepNRSfMConfig",
    "ElePoseConfig",
    "GeometricConfig",
    "ImageRootConfig",
    "KeypointLifterConfig",
    "LifterConfig",
    "MartinezConfig",
    "RepNetConfig",
    "RootDepthConfig",
    "StudentConfig",
    "TeacherConfig",
    "TemporalConfig",
]

Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Range = tuple[float, float]


class MartinezConfig(Section):
    """The supervised baseline (Martinez et al. 2017)."""

    kind: Literal["martinez"] = "martinez"
    """Which system."""
    width: Count = 1024
    """Of the hidden layers."""
    blocks: Count = 2
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
    channels: Count = 1024
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


class AdversarialDepthConfig(Section):
    """A GAN over rotated views (Kudo et al. 2018)."""

    kind: Literal["adversarial_depth"] = "adversarial_depth"
    """Which system."""
    width: Count = 1024
    """Of the hidden layers."""
    facing: Literal["face", "knees", "none"] = "face"
    """What tells people from their mirror images: the nose ahead of the neck (paper), or the knees ahead of the legs."""
    facing_weight: NotNegative = 1.0
    """Of the cost of facing the wrong way."""
    accuracy_range: Range = (0.1, 0.9)
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
    width: Count = 1000
    """Of all networks."""
    weights: RepNetWeightConfig = RepNetWeightConfig()
    frame: Literal["body", "camera"] = "camera"
    """Of the unpaired poses that the critic sees: in the body frame, or as random cameras see them."""
    chain: bool = True
    """The critic has its kinematic-chain path."""
    critic_updates: Annotated[int, Field(ge=1, le=20)] = 1
    """Updates of the critic for each of the lifter."""


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
    width: Count = 1024
    """Of all networks."""
    blocks: Count = 4
    """Residual blocks of the lifter."""
    critic_blocks: Count = 3
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
    width: Count = 1024
    """Of the network."""
    bottleneck: Count = 256
    """Of the residual blocks."""
    blocks: Count = 6
    """Residual blocks."""
    atoms: Count = 12
    """Of the shape dictionary, besides the mean pose."""
    distance: Positive = 5.0
    """Of the virtual camera of focal length 1."""
    length: Positive = 0.7
    """From root to head, in the camera's unit."""
    views: Count = 4
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
    channels: Count = 128
    """Of the graph convolutions."""
    blocks: Count = 4
    """Residual blocks of two graph convolutions."""
    edges: Literal["per_channel", "shared"] = "per_channel"
    """Learnt edge weights: one matrix per output channel, or one for all."""
    attention: bool = True
    """Non-local layers between all joints."""
    distance: Positive = 5.0
    """Of the virtual camera; the teacher's."""
    length: Positive = 0.7
    """From root to head; the teacher's."""
    views: Count = 4
    """Random rotations of each sample."""
    weights: StudentWeightConfig = StudentWeightConfig()


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
    width: Count = 1024
    """Of both networks."""
    bottleneck: Count = 256
    """Of the residual blocks."""
    blocks: Count = 6
    """Residual blocks."""
    bases: Count = 10
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
    sizes: tuple[Count, ...] = Field((125, 115, 104, 94, 83, 73, 62, 52, 41, 31, 20, 10), min_length=2)
    """Atoms of each dictionary."""
    threshold: Literal["block", "relu"] = "block"
    """Sparsity of whole 3x2 blocks, or of single entries."""
    facing: NotNegative = 0.0
    """Knees bend forward (ours, not the paper's)."""


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
    width: Count = 1024
    """Of the lifter."""
    blocks: Count = 1
    """Residual blocks of the trunk and of each branch."""
    distance: Positive = 10.0
    """Of the camera; heads are 1 unit from the root."""
    components: Annotated[int, Field(ge=2, le=34)] = 26
    """Principal components of the 2D poses that the flow sees."""
    flow_layers: Count = 8
    """Couplings of the flow."""
    flow_width: Count = 1024
    """Of the couplings' networks."""
    flow_share: Fraction = 0.3
    """Share of the run that trains the flow, before the lifter."""
    weights: ElePoseWeightConfig = ElePoseWeightConfig()


class RootDepthConfig(Section):
    """Pose and depth of the root from keypoints (PoseLifter, Chang et al. 2019)."""

    kind: Literal["root_depth"] = "root_depth"
    """Which system."""
    width: Count = 1024
    """Of the hidden layers."""
    blocks: Count = 2
    """Residual blocks of two layers."""
    dropout: Dropout = 0.1
    """After each hidden layer."""


class KeypointLifterConfig(Section):
    """Pose and root of a detector's keypoints, seen by a camera that looks at the person (ours): what is released."""

    kind: Literal["keypoint_lifter"] = "keypoint_lifter"
    """Which system."""
    width: Count = 768
    """Of the hidden layers; channels of the temporal network."""
    blocks: Count = 2
    """Residual blocks of two layers (single frames)."""
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((), max_length=8)
    """Kernel sizes of temporal convolutions, odd; their product is the number of frames seen. None = single frames."""
    dropout: Dropout = 0.1
    """After each hidden layer."""
    unknown_focal: Fraction = 0.3
    """Share of training samples whose camera is not told."""
    flip_test: bool = True
    """Average the prediction with that of the mirrored input."""


class ImageRootConfig(Section):
    """Pose and depth of the root from images (RootNet, Moon et al. 2019)."""

    kind: Literal["image_root"] = "image_root"
    """Which system."""
    backbone: str = "resnet18"
    """Any timm network by name, with random weights."""


LIFTER_CONFIGS = (
    MartinezConfig,
    TemporalConfig,
    AdversarialDepthConfig,
    RepNetConfig,
    GeometricConfig,
    TeacherConfig,
    StudentConfig,
    C3DPOConfig,
    DeepNRSfMConfig,
    ElePoseConfig,
    RootDepthConfig,
    KeypointLifterConfig,
    ImageRootConfig,
)
"""Every kind of lifter."""

LifterConfig = (
    MartinezConfig
    | TemporalConfig
    | AdversarialDepthConfig
    | RepNetConfig
    | GeometricConfig
    | TeacherConfig
    | StudentConfig
    | C3DPOConfig
    | DeepNRSfMConfig
    | ElePoseConfig
    | RootDepthConfig
    | KeypointLifterConfig
    | ImageRootConfig
)
