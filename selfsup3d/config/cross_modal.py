"""Settings of the cross-modal VAE. Defaults are those of the thesis, but for the size of the images (`data.size`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfsup3d.config.base import Fraction, Layers, NotNegative, Section, Width

__all__ = ["AdversaryConfig", "CrossModalConfig", "KLConfig", "ModalityWeightConfig"]

ModalityName = Literal["image", "joints_2d", "joints_3d"]


class KLConfig(Section):
    """The weight of the divergence from the prior. What it means depends on `reduction`."""

    schedule: Literal["constant", "annealed", "cyclical"] = "constant"
    """constant; annealed = 0 until `hold`, then rising to the maximum at `reach`; cyclical (Fu et al. 2019)."""
    maximum: NotNegative = 1e-3
    """Beta, which every schedule reaches."""
    hold: Fraction = 0.1
    """Fraction of the run without divergence (annealed)."""
    reach: Fraction = 0.8
    """Fraction of the run at which the maximum is reached (annealed)."""
    cycles: Layers = 4
    """Of the cyclical schedule."""
    ramp: Fraction = 0.5
    """Rising part of each cycle; it is held for the rest."""

    @model_validator(mode="after")
    def _reaches(self) -> Self:
        if not self.hold < self.reach < 1.0:
            raise ValueError(f"hold ({self.hold}) must be below reach ({self.reach}), and reach below 1")
        if not 0.0 < self.ramp < 1.0:
            raise ValueError(f"ramp must lie between 0 and 1, or the maximum is never held; it is {self.ramp}")
        return self


class ModalityWeightConfig(Section):
    """Weights of the reconstruction of each modality."""

    image: NotNegative = 1.0
    """Mean absolute error of pixels in [-1, 1]."""
    joints_2d: NotNegative = 1.0
    """Mean squared error of standardised keypoints."""
    joints_3d: NotNegative = 1.0
    """Mean squared error of standardised poses (supervision: labels), or of their projection."""


class AdversaryConfig(Section):
    """A critic of what is decoded."""

    judges: Literal["none", "joints_3d", "joints_2d", "image"] = "none"
    """none; joints_3d = poses; joints_2d = rotated and projected poses, which needs no 3D labels; image = images."""
    weight: NotNegative = 1e-3
    """Of the adversarial term."""
    features: NotNegative = 0.0
    """Of the reconstruction of images in the critic's feature space (VAE-GAN); weights.image is that of the pixels."""
    kind: Literal["bce", "softplus"] = "bce"
    """Of the adversarial losses."""
    smoothing: Annotated[float, Field(gt=0.5, le=1.0)] = 1.0
    """Label of real samples; above 1 the cross entropy has no minimum."""
    width: Width = 1024
    """Hidden layers of a critic of poses."""
    blocks: Layers = 2
    """Residual blocks of a critic of poses."""
    image_width: Width = 32
    """Channels of the first layer of a critic of images."""
    accuracy_range: tuple[Fraction, Fraction] = (0.0, 1.0)
    """The critic rests while its accuracy is above, the VAE while it is below."""
    prior: bool = True
    """Judge what is decoded from the prior, too."""

    @model_validator(mode="after")
    def _features_are_of_images(self) -> Self:
        if self.features > 0 and self.judges != "image":
            raise ValueError("adversary.features compares images: it needs adversary.judges image")
        return self


class CrossModalConfig(Section):
    """A VAE across images, 2D poses and 3D poses (Budaraju, after Spurr et al. 2018)."""

    kind: Literal["cross_modal"] = "cross_modal"
    """Which system."""
    fusion: Literal["pairs", "poe", "moe"] = "pairs"
    """pairs (Spurr), poe = product of experts with a prior expert (MVAE), moe = mixture of experts (MMVAE)."""
    pairs: tuple[str, ...] = ("joints_2d->joints_3d",)
    """What is decoded from what, for fusion: pairs. All pairs share one set of encoders and decoders."""
    encoders: tuple[ModalityName, ...] = ()
    """For poe and moe; those of pairs follow from the pairs."""
    decoders: tuple[ModalityName, ...] = ()
    """For poe and moe; those of pairs follow from the pairs."""
    own: bool = False
    """poe: decode from a subset its own modalities only (MVAE as published), which leaves 2D to 3D untrained."""
    predict_from: tuple[ModalityName, ...] = ()
    """Encoders that predictions are made from, together; none = the first one."""
    supervision: Literal["labels", "reprojection"] = "labels"
    """labels = 3D labels; reprojection = keypoints alone, with adversary.judges: joints_2d."""
    latent: Width = 100
    """Dimensions of the latent space."""
    width: Width = 512
    """Hidden layers of the pose networks."""
    blocks: Layers = 2
    """Of two hidden layers each, after a first one: 2 are the five layers of the thesis."""
    upsampling: bool = False
    """Pose decoders begin with a linear layer of their own from the latent to the width (what we take the
    thesis' up-sampling layer for); off = the first of their hidden layers does it."""
    residual: bool = False
    """Blocks of the pose networks have a skip."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Normalisation of the pose networks' hidden layers."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """After each hidden layer of the pose networks."""
    backbone: str = "resnet18"
    """Of images: any timm network by name, or patch, our own small one for CPUs."""
    backbone_weights: Path | None = None
    """File with weights of the backbone (safetensors or a checkpoint); none = random. Nothing is ever downloaded."""
    image_norm: Literal["batch", "group"] = "batch"
    """Normalisation in the image's networks."""
    image_width: Annotated[int, Field(ge=16)] = 256
    """Channels of the image decoder's first map, halved at each up-convolution."""
    cut_out: bool = False
    """Composite the person over grey by the label-free saliency, where the data have one."""
    zero_root: bool = False
    """Subtract the root from 2D poses; the perspective that it shows is lost."""
    reduction: Literal["per_element", "sum", "mean"] = "per_element"
    """Of the divergence: by the number of decoded elements (48 of a pose, 3 S S of an image), none, or by dimensions.
    With sum, reconstructions too are sums: the plain evidence lower bound."""
    beta: KLConfig = KLConfig()
    weights: ModalityWeightConfig = ModalityWeightConfig()
    facing: NotNegative = 0.0
    """Weight of knees that bend forward, a weak prior for training without labels (ours)."""
    adversary: AdversaryConfig = AdversaryConfig()

    @model_validator(mode="after")
    def _modalities_are_given_once(self) -> Self:
        if self.fusion == "pairs" and (self.encoders or self.decoders):
            raise ValueError("encoders and decoders follow from the pairs; leave them out, or set fusion to poe or moe")
        if self.fusion != "pairs" and not (self.encoders and self.decoders):
            raise ValueError(f"fusion: {self.fusion} needs encoders and decoders")
        return self

    @property
    def modalities(self) -> set[str]:
        """Every modality that is encoded or decoded."""
        if self.fusion != "pairs":
            return {*self.encoders, *self.decoders}
        return {part.strip() for pair in self.pairs for part in pair.split("->")}
