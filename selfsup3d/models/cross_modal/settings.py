"""What a cross-modal VAE is made of and trained for, checked for contradictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from selfsup3d.models.cross_modal.adversary import AdversarySettings
from selfsup3d.models.cross_modal.fusion import Fusion, Pair
from selfsup3d.models.cross_modal.modalities import MODALITIES
from selfsup3d.models.cross_modal.networks import ImageNorm, PoseLayers
from selfsup3d.models.cross_modal.objective import Beta
from selfsup3d.models.modules.gaussian import Reduction

__all__ = ["Settings", "Sizes", "check", "sources_and_targets", "unique"]


@dataclass(frozen=True)
class Settings:
    """What is trained, besides sizes.

    Attributes:
        fusion: "pairs", "poe" or "moe".
        pairs: for "pairs", each FROM->TO.
        encoders, decoders: for "poe" and "moe"; of "pairs" they follow from the pairs.
        own: "poe": decode from a subset its own modalities only.
        predict_from: encoders that `predict` reads; none = the first.
        supervision: "labels" = 3D labels; "reprojection" = none, keypoints teach the pose.
        zero_root: subtract the root from 2D poses.
        reduction: of the divergence, see `objective.divergence_factor`.
        beta: its weight.
        weights: of each decoded modality.
        facing: weight of knees that bend forward, the weak prior of training without labels (ours).
        adversary: a critic.
    """

    fusion: Fusion = "pairs"
    pairs: tuple[str, ...] = ("joints_2d->joints_3d",)
    encoders: tuple[str, ...] = ()
    decoders: tuple[str, ...] = ()
    own: bool = False
    predict_from: tuple[str, ...] = ()
    supervision: Literal["labels", "reprojection"] = "labels"
    zero_root: bool = False
    reduction: Reduction = "per_element"
    beta: Beta = field(default_factory=Beta)
    weights: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 1.0))
    facing: float = 0.0
    adversary: AdversarySettings = field(default_factory=AdversarySettings)


@dataclass(frozen=True)
class Sizes:
    """Of the networks.

    Attributes:
        latent: D. pose: hidden layers of the pose networks. image: side of the images, px.
        backbone, backbone_weights, image_norm: see `networks.ImageEncoder`. image_width: see `networks.ImageDecoder`.
        cut_out: see `modalities.ImageModality`.
    """

    latent: int = 100
    pose: PoseLayers = field(default_factory=PoseLayers)
    image: int = 64
    backbone: str = "resnet18"
    backbone_weights: str | Path | None = None
    image_norm: ImageNorm = "batch"
    image_width: int = 256
    cut_out: bool = False


def unique(*names: str) -> tuple[str, ...]:
    """Each name once, in the order they are first given."""
    return tuple(dict.fromkeys(names))


def sources_and_targets(settings: Settings, pairs: Sequence[Pair]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Encoders and decoders, in the order they are named."""
    if settings.fusion != "pairs":
        return unique(*settings.encoders), unique(*settings.decoders)
    return unique(*(pair.source for pair in pairs)), unique(*(pair.target for pair in pairs))


def check(settings: Settings, sources: Sequence[str], targets: Sequence[str], predict_from: Sequence[str]) -> None:
    """Raise ValueError where the settings contradict each other."""
    if not sources or not targets:
        what = "pairs" if settings.fusion == "pairs" else "encoders and decoders"
        raise ValueError(f"fusion {settings.fusion!r} needs {what}")
    unknown = [name for name in (*sources, *targets) if name not in MODALITIES]
    if unknown:
        raise ValueError(f"no modality {unknown[0]!r}; there are {', '.join(MODALITIES)}")
    wrong = [name for name in predict_from if name not in sources or name == "joints_3d"]
    if wrong:
        raise ValueError(f"predict_from names {wrong[0]!r}, which is no encoder to predict from: {', '.join(sources)}")
    seen = settings.supervision == "reprojection"
    if seen and ("joints_2d" not in sources or "joints_3d" in sources or "joints_3d" not in targets):
        raise ValueError("reprojection needs an encoder of joints_2d, a decoder of joints_3d and no encoder of it")
    if seen and settings.zero_root:
        raise ValueError("reprojection takes keypoints relative to the root anyway; leave zero_root off")
    judged = {"none": None, "joints_3d": "joints_3d", "joints_2d": "joints_3d", "image": "image"}[
        settings.adversary.judges
    ]
    if judged is not None and judged not in targets:
        raise ValueError(f"adversary.judges {settings.adversary.judges} needs a decoder of {judged}")
    if (settings.adversary.judges == "joints_2d") != seen and settings.adversary.judges in ("joints_2d", "joints_3d"):
        raise ValueError("adversary.judges joints_2d judges re-projected poses, joints_3d poses that have labels")
