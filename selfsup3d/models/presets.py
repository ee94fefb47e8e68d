"""Sizes of the part-guided networks, by name."""

from __future__ import annotations

from dataclasses import dataclass

from selfsup3d.models.decoder import Decoder
from selfsup3d.models.encoder import Encoder

__all__ = ["PRESETS", "Preset", "build_networks"]


@dataclass(frozen=True)
class Preset:
    """Sizes of encoder and decoder for one image size.

    Attributes:
        image_size: side, px.
        backbone: `timm` name. backbone_channels: widths of its stages, None = its own.
        hidden: width of the vector head. appearance_width: of the appearance branch.
        decoder_widths: coarse to full resolution; the coarsest side is image_size / 2^(levels - 1).
    """

    image_size: int
    backbone: str
    backbone_channels: tuple[int, ...] | None
    hidden: int
    appearance_width: int
    decoder_widths: tuple[int, ...]


PRESETS: dict[str, Preset] = {
    # Two CPU cores: 0.16 GFLOP an image forward in the encoder, about as much in the decoder.
    "tiny": Preset(64, "resnet18", (48, 96, 192, 256), 512, 32, (128, 64, 48, 16)),
    "small": Preset(128, "resnet18", None, 768, 48, (192, 128, 64, 48, 16)),
    "paper": Preset(224, "resnet50", None, 1024, 64, (256, 192, 128, 64, 48, 16)),
}


def build_networks(
    preset: str,
    parts: int,
    backbone: str | None = None,
    weights: str | None = None,
    image_size: int | None = None,
    channels: int = 24,
    kinematics: bool = True,
) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of a preset.

    Args:
        preset: a key of `PRESETS`. parts: P of the puppet.
        backbone: another `timm` name in its place. weights: a checkpoint file for it.
        image_size: another side, px. channels: C of the appearance. kinematics: see `Encoder`.
    """
    sizes = PRESETS[preset]
    options: dict[str, object] = {}
    if backbone is None and sizes.backbone_channels is not None:
        options["channels"] = sizes.backbone_channels
    encoder = Encoder(
        backbone or sizes.backbone,
        image_size or sizes.image_size,
        hidden=sizes.hidden,
        slots=parts + 1,
        channels=channels,
        appearance_width=sizes.appearance_width,
        kinematics=kinematics,
        backbone_options=options,
        weights=weights,
    )
    return encoder, Decoder(parts, channels, sizes.decoder_widths)
