"""Settings of the part-guided system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfsup3d.config.base import Fraction, NotNegative, Positive, Section, Width

__all__ = ["BetaConfig", "LossWeightConfig", "PartGuidedConfig", "PretrainConfig", "StageConfig"]


class StageConfig(Section):
    """Fractions of the run given to each stage of the curriculum, in this order; they sum to 1."""

    pretrain: Fraction = 0.4
    """The encoder learns poses from rendered puppets."""
    decoder: Fraction = 0.35
    """The decoder learns to redraw real frames; the pose path stands still."""
    joint: Fraction = 0.25
    """Everything together."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.pretrain + self.decoder + self.joint
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the fractions must sum to 1, they sum to {total:g}")
        return self


class LossWeightConfig(Section):
    """Weights of the loss terms in the fused mode (method: objectives); Algorithm 1 of the paper has none."""

    image: NotNegative = 1.0
    """L_I^u: the target redrawn with the source's appearance."""
    silhouette: NotNegative = 0.2
    """Agreement of the soft silhouette with the saliency."""
    consistency: NotNegative = 0.5
    """L_I^c: one pose drawn with the appearance of either frame."""
    segmentation: NotNegative = 0.2
    """L_seg: part labels of the unpaired pose."""
    pose: NotNegative = 0.5
    """L_p: the unpaired pose found again in the decoded image; with `pairs`, that of the second rendering besides."""
    appearance: NotNegative = 0.2
    """L_a: the appearance found again in the decoded image."""
    observed: NotNegative = 0.2
    """With `textures`: the parts of real images learn what the saliency adds to them."""
    pairs: NotNegative = 0.0
    """With `textures`: one of two renderings of a synthetic person, decoded in the pose of the other, which it must be."""
    perceptual: NotNegative = 0.0
    """With `textures` and `perceptual_weights`: colours in the features of a network trained on photographs."""
    structure: NotNegative = 0.0
    """With `textures`: 1 - SSIM of the colours (Wang et al. 2004), within the person."""
    known_pose: NotNegative = 1.0
    """Pose and camera where they are known: of rendered puppets, from a teacher, or from labels."""


class BetaConfig(Section):
    """The weight of the saliency term in L_I^u, lowered once learning is stable."""

    start: NotNegative = 1.0
    """Until `lower_at`."""
    end: NotNegative = 0.5
    """From `lower_at` on."""
    lower_at: Fraction = 0.9
    """Fraction of the run."""


class PretrainConfig(Section):
    """Synthetic pre-training: images of people whose pose is known because they are rendered."""

    source: Literal["puppet", "people", "both", "none"] = "puppet"
    """puppet = the method's 2D puppet (the paper's assumption); people = rendered 3D people (`data.kind: people`, or
    beside any other images); both = every second sample a puppet; none = no synthetic images."""
    projected: Annotated[int, Field(ge=0)] = 0
    """Views of each pose a step that `pose_head: keypoints` learns from besides, without an image."""
    left_right: NotNegative = 0.3
    """Weight of the left/right assignment."""
    depths: NotNegative = 1.0
    """Weight of the keypoints' depths."""
    parts: NotNegative = 0.2
    """Weight of the coarse part segmentation."""


class PartGuidedConfig(Section):
    """Part-guided image synthesis (Kundu et al., CVPR 2020)."""

    kind: Literal["part_guided"] = "part_guided"
    """Which system."""
    preset: Literal["tiny", "compact", "small", "paper"] = "tiny"
    """Size of encoder and decoder: 64 px, EfficientNet-Lite0 at 96 px, 128 px, or ResNet-50 at 224 px."""
    backbone: str | None = None
    """Any timm backbone by name in place of the preset's."""
    backbone_weights: Path | None = None
    """File with weights of the backbone (safetensors); none = random. Nothing is ever downloaded."""
    frozen_blocks: Annotated[int, Field(ge=0)] = 0
    """First blocks of an EfficientNet backbone, and its stem, that keep the weights they have."""
    pose_head: Literal["features", "keypoints"] = "features"
    """What limb vectors and camera are read from: image features besides, or keypoints, depths and confidences alone."""
    heat_exponent: Positive = 1.0
    """Keypoints are the means of their heat maps to this power; above 1, second peaks and haze count for less."""
    cue_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the training samples in which each cue of left and right (places, joints, whole, head) is hidden."""
    second_crop: bool = False
    """Predictions and pseudo-labels read the crop around the keypoints of a first look, not the localizer's alone; costs
    another pass of the encoder. `predict` and `evaluate` follow it unless told otherwise (--second-crop)."""
    supervision: Literal["none", "teacher", "2d", "3d", "pretrain"] = "none"
    """none = unsupervised; teacher = self-training: pseudo-labels that `teacher` predicts on the real frames besides;
    2d = weakly supervised; 3d = the upper bound; pretrain = synthetic pre-training and nothing else."""
    teacher: Path | None = None
    """A trained system of this kind, unsupervised itself: a run, a released model or a checkpoint. To train only."""
    pretrain: PretrainConfig = PretrainConfig()
    strong_augmentation: bool = True
    """Pseudo-labels of `teacher` are learned from strongly augmented copies of the frames: colours, blur, noise, holes."""
    kinematics: bool = True
    """Predict limb vectors and a camera; off = camera-frame joints directly (the ablation without T_fk and T_c)."""
    frames: Literal["parallel_transport", "gram_schmidt"] = "parallel_transport"
    """Frame field of the forward kinematics."""
    bone_lengths: Literal["fixed", "given"] = "fixed"
    """fixed = the prior's mean; given = each person's own, a label."""
    saliency: bool = True
    """Use the saliency m_sal (off = the ablation without it)."""
    foreground: Literal["puppet", "decoded"] = "puppet"
    """w_fg of L_I^u: the pixels of the predicted pose's part labels, or those that the decoder itself calls person."""
    adaptation: bool = True
    """The energies L_p and L_a (off = the ablation without adaptation)."""
    composite: bool = True
    """Composite decoded people over backgrounds before they are encoded."""
    appearance_channels: Width = 24
    """Channels of the appearance per part."""
    textures: bool = False
    """The decoder corrects the source's parts, drawn in the target's pose; off = it starts from a colour a part."""
    texture_features: Annotated[int, Field(ge=0)] = 0
    """Learned channels that textures carry beside their colours."""
    recoloured: Fraction = 0.0
    """With `textures`: share of samples whose source and target the decoder learns in other colours, both alike."""
    decoder_widths: Annotated[tuple[Width, ...], Field(min_length=2)] | None = None
    """Channels of the decoder's levels, coarse to full resolution; null = the preset's."""
    perceptual_backbone: str = "tf_efficientnet_lite0"
    """timm name of the network that `weights.perceptual` compares images in."""
    perceptual_weights: Path | None = None
    """Its file (safetensors). ImageNet's were trained with class labels: a named variant. To train only."""
    optimizers: Literal["fused", "per_loss"] = "fused"
    """fused = one optimizer, weighted losses, one forward; per_loss = Algorithm 1 literally, an AdaGrad per loss."""
    stages: StageConfig = StageConfig()
    weights: LossWeightConfig = LossWeightConfig()
    beta: BetaConfig = BetaConfig()

    @model_validator(mode="after")
    def _something_teaches(self) -> PartGuidedConfig:
        if self.pretrain.source == "none" and (
            self.supervision == "pretrain" or (self.supervision == "none" and self.stages.pretrain)
        ):
            raise ValueError(
                "pretrain.source is none, but the pretrain stage has nothing else to learn from: set stages.pretrain to 0"
            )
        if self.pretrain.projected and (self.pose_head != "keypoints" or not self.kinematics):
            raise ValueError("pretrain.projected is for pose_head: keypoints, with kinematics")
        if self.weights.pairs and self.pretrain.source in ("people", "both"):
            raise ValueError("weights.pairs and pretrain.source: people both give the unpaired poses: choose one")
        if self.weights.pairs and not self.textures:
            raise ValueError("weights.pairs is for a decoder of textures: set textures to true")
        if self.recoloured and not self.textures:
            raise ValueError("recoloured is for a decoder of textures: set textures to true")
        if self.texture_features and not self.textures:
            raise ValueError("texture_features is for a decoder of textures: set textures to true")
        if self.weights.perceptual and not (self.textures and self.saliency):
            raise ValueError("weights.perceptual is for a decoder of textures, with saliency: set both to true")
        if self.weights.structure and not (self.textures and self.saliency):
            raise ValueError("weights.structure is for a decoder of textures, with saliency: set both to true")
        if self.teacher is not None and self.supervision != "teacher":
            raise ValueError(f"a teacher is given, but supervision is {self.supervision!r}: set supervision to teacher")
        return self

    @property
    def trains_decoder(self) -> bool:
        """Whether any stage trains the decoder; without it the model has no images."""
        return self.supervision != "pretrain" and self.stages.pretrain < 1.0
