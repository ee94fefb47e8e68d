"""Sizes of the part-guided networks, by name."""

from __future__ import annotations

from dataclasses import dataclass

from selfsup3d.errors import InputError
from selfsup3d.models.part_guided.backbone import PatchResNet, TimmBackbone
from selfsup3d.models.part_guided.decoder import Decoder
from selfsup3d.models.part_guided.encoder import Encoder, PoseHead

__all__ = ["PRESETS", "Preset", "build_networks"]


@dataclass(frozen=True)
class Preset:
    """Sizes of encoder and decoder.

    Attributes:
        image_size: side of the images that they are made for, px; other sides work.
        backbone: a `timm` name, or the channels of a `PatchResNet`. depths: its residual blocks.
        width: channels of the feature pyramid. hidden: width of the vector head.
        appearance_width: of the appearance branch.
        decoder_widths: coarse to full resolution; each level doubles the side.
    """

    image_size: int
    backbone: str | tuple[int, ...]
    depths: tuple[int, ...]
    width: int
    hidden: int
    appearance_width: int
    decoder_widths: tuple[int, ...]


PRESETS: dict[str, Preset] = {
    "tiny": Preset(64, (64, 128, 192), (2, 2, 2), 64, 512, 32, (128, 64, 48, 16)),  # two CPU cores
    "compact": Preset(96, "tf_efficientnet_lite0", (), 64, 512, 32, (128, 64, 48, 16)),  # two CPU cores, real images
    "small": Preset(128, "resnet18", (), 96, 768, 48, (192, 128, 64, 48, 16)),
    "paper": Preset(224, "resnet50", (), 128, 1024, 64, (256, 192, 128, 64, 48, 16)),
}


def build_networks(
    preset: str,
    parts: int,
    backbone: str | None = None,
    weights: str | None = None,
    channels: int = 24,
    kinematics: bool = True,
    pose_head: PoseHead = "features",
    frozen_blocks: int = 0,
    heat_exponent: float = 1.0,
    cue_dropout: float = 0.0,
    textures: bool = False,
    texture_features: int = 0,
    decoder_widths: tuple[int, ...] | None = None,
) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of a preset.

    Args:
        preset: a key of `PRESETS`. parts: P of the puppet.
        backbone: a `timm` name in place of the preset's. weights: a checkpoint file for a `timm` backbone.
        channels: C of the appearance. kinematics, pose_head, heat_exponent, cue_dropout: see `Encoder`.
        frozen_blocks: see `TimmBackbone`. textures, texture_features: see `Decoder`.
        decoder_widths: in place of the preset's.

    Raises:
        InputError: weights for the preset's own small backbone, which has none; see `TimmBackbone`.
    """
    sizes = PRESETS[preset]
    chosen = backbone or sizes.backbone
    features: PatchResNet | TimmBackbone
    if isinstance(chosen, str):
        features = TimmBackbone(chosen, weights=weights, frozen_blocks=frozen_blocks)
    elif weights is None:
        features = PatchResNet(chosen, sizes.depths)
    else:
        raise InputError(
            f"the backbone of preset {preset!r} has no published weights; name a timm backbone for {weights}"
        )
    encoder = Encoder(
        features,
        parts,
        sizes.width,
        sizes.hidden,
        channels,
        sizes.appearance_width,
        kinematics,
        pose_head,
        heat_exponent,
        cue_dropout,
    )
    widths = decoder_widths or sizes.decoder_widths
    return encoder, Decoder(parts, channels, widths, textures=textures, texture_features=texture_features)
