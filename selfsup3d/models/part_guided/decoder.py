"""The decoder D: appearance and part maps to an image and its part segmentation.

Up-convolutions conditioned at every scale on the part maps and on the appearance mixed through them; two small ends,
D_I for the image and D_seg for the parts (Kundu et al. 2020, suppl.). The finest level is thin: most of a step's time
would go there. With textures the decoder is given the source's parts, drawn in the target's pose, and learns what to
correct in them: it starts as what is drawn.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup3d.models.part_guided.layers import COLOUR, ConvNormAct, weights_as_activations
from selfsup3d.models.part_guided.observed_parts import PartSegmenter
from selfsup3d.puppet.textures import Drawn

__all__ = ["Decoded", "Decoder"]

FINE_WIDTH = 48
"""Levels this thin, the ones at high resolution, have one convolution; most of a step's time would go there."""


DRAWN = COLOUR + 2
"""Channels of drawn textures: colour, coverage, how much of it some image showed; learned features come besides."""

_DARKEST = 0.02  # drawn colours and coverage are kept this far from 0 and 1, where a correction would have no effect


class Decoded(NamedTuple):
    """A decoded person.

    Attributes:
        image: (N, 3, H, W) in [0, 1], over the constant background.
        segmentation: (N, P+1, H, W) logits.
        person: (N, 3, H, W) the person's colours, continued where the person is not; None without textures.
        cover: (N, 1, H, W) the share of each pixel that the person covers, about in [0, 1]; None without textures.
    """

    image: Tensor
    segmentation: Tensor
    person: Tensor | None = None
    cover: Tensor | None = None

    @property
    def alpha(self) -> Tensor:
        """(N, 1, H, W) probability of the person: one minus the background's."""
        return 1.0 - self.segmentation.float().softmax(1)[:, -1:]

    def over(self, background: Tensor) -> Tensor:
        """The person composited over a background (N, 3, H, W), by `cover` or else by `alpha`."""
        if self.person is not None and self.cover is not None:
            return (self.cover * self.person + (1.0 - self.cover) * background).clamp(0.0, 1.0)
        alpha = self.alpha
        return alpha * self.image + (1.0 - alpha) * background

    def chunk(self, count: int) -> list[Decoded]:
        """`count` equal pieces along N."""
        pieces = [[None] * count if value is None else value.chunk(count) for value in self]
        return [Decoded(*values) for values in zip(*pieces, strict=True)]


class Decoder(nn.Module):
    """Appearance (N, P+1, C) and part maps (N, P, H, W) to a `Decoded`.

    Args:
        parts: P. channels: C of the appearance.
        widths: channels of the levels from the coarsest to the full resolution; each level doubles the side.
        background: BG_c, the constant colour behind decoded people.
        textures: `forward` is given drawn textures.
        texture_features: F, learned channels that textures carry beside their colours (`textured`).
    """

    background: Tensor

    def __init__(
        self,
        parts: int,
        channels: int,
        widths: tuple[int, ...] = (128, 64, 48, 16),
        background: tuple[float, float, float] = (0.5, 0.5, 0.5),
        textures: bool = False,
        texture_features: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("background", torch.tensor(background))
        self.whole = nn.Linear(channels, widths[0])
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in itertools.pairwise(widths))
        self.channels, self.widths = channels, widths
        self.levels = nn.ModuleList()
        self.textures = textures
        drawn = DRAWN + texture_features if textures else 0
        self.features: nn.Sequential | None = None
        if texture_features:
            self.features = nn.Sequential(ConvNormAct(3, 16), nn.Conv2d(16, texture_features, 3, padding=1))
        for level, width in enumerate(widths):
            finest = level == len(widths) - 1
            condition = parts + (COLOUR if finest else channels) + drawn
            second = [] if width <= FINE_WIDTH else [ConvNormAct(width, width)]
            self.levels.append(nn.Sequential(ConvNormAct(width + condition, width), *second))
        self.to_image = nn.Conv2d(widths[-1] + COLOUR + drawn, COLOUR + (1 if textures else 0), 3, padding=1)  # D_I
        self.to_parts = nn.Conv2d(widths[-1] + parts, parts + 1, 1)  # D_seg
        self.segmenter = PartSegmenter(parts) if textures else None  # of images that are seen, not decoded
        for layer in (self.to_image, self.to_parts) if textures else (self.to_image,):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        weights_as_activations(self)

    def textured(self, images: Tensor, large: Tensor | None = None) -> Tensor:
        """(N, 3 + F, H, W) what textures are sampled from: images (N, 3, H, W), or the same larger, and learned features."""
        seen = images if large is None else large
        if self.features is None:
            return seen
        features = self.features(images - 0.5).float()
        if large is not None:
            features = F.interpolate(features, large.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([seen, features], 1)

    def forward(self, appearance: Tensor, maps: Tensor, drawn: Drawn | None = None) -> Decoded:
        """Decode; H and W must divide by 2^(levels - 1). `drawn`: the source's textures in this pose, RGB."""
        depth = len(self.levels) - 1
        height, width = maps.shape[-2:]
        if height % 2**depth or width % 2**depth:
            raise ValueError(
                f"a decoder of {depth + 1} levels needs sides that divide by {2**depth}, got {height}x{width}"
            )
        x = self.whole(appearance[:, -1])[:, :, None, None].expand(-1, -1, height >> depth, width >> depth)
        # Channels last: convolutions of few channels at full resolution take half the time, and spreading the appearance is one product.
        x = x.contiguous(memory_format=torch.channels_last)
        per_part, maps = appearance[:, :-1].to(x.dtype), maps.to(x.dtype, memory_format=torch.channels_last)
        if (drawn is None) == self.textures:
            raise ValueError("a decoder of textures needs them drawn, another takes none")
        if drawn is not None:
            base = torch.cat([drawn.colour, drawn.coverage, drawn.seen], 1).to(x.dtype)
        for level, layers in enumerate(self.levels):
            if level:
                x = F.interpolate(self.narrow[level - 1](x), scale_factor=2, mode="nearest")
            shrink = 2 ** (depth - level)
            scaled = F.avg_pool2d(maps, shrink) if shrink > 1 else maps
            mixed = mixed_appearance(per_part if shrink > 1 else per_part[..., :COLOUR], scaled)
            condition = [scaled, mixed]
            if drawn is not None:
                condition.append(F.avg_pool2d(base, shrink) if shrink > 1 else base)
            x = layers(torch.cat([x, *condition], 1))
        if drawn is not None:
            return self._corrected(x, condition, drawn)
        # The image is a correction of the puppet in the source's colours, and starts as that.
        correction = self.to_image(torch.cat([x, mixed], 1)).float()
        empty = (1.0 - maps.float().sum(1, keepdim=True)).clamp_min(0.0)
        base = mixed.float() + empty * self.background.view(1, COLOUR, 1, 1)
        image = torch.sigmoid(correction + torch.logit(base.clamp(0.02, 0.98)))
        return Decoded(image, self.to_parts(torch.cat([x, scaled], 1)).float())

    def _corrected(self, x: Tensor, condition: list[Tensor], drawn: Drawn) -> Decoded:
        """What is drawn, corrected by the last level's features (N, C, H, W); `condition` of that level."""
        scaled, mixed, base = condition
        correction = self.to_image(torch.cat([x, mixed, base], 1)).float()
        known = torch.cat([drawn.colour[:, :COLOUR], drawn.coverage], 1).float().clamp(_DARKEST, 1.0 - _DARKEST)
        corrected = torch.sigmoid(correction + torch.logit(known))
        person, cover = corrected[:, :COLOUR], corrected[:, COLOUR:]
        cover = (cover - _DARKEST) / (1.0 - 2.0 * _DARKEST)  # so that nothing drawn is nothing decoded
        image = cover * person + (1.0 - cover) * self.background.view(1, COLOUR, 1, 1)
        labels = torch.cat([drawn.parts, 1.0 - drawn.coverage], 1).float().clamp_min(_DARKEST).log()
        return Decoded(image, labels + self.to_parts(torch.cat([x, scaled], 1)).float(), person, cover)


def mixed_appearance(appearance: Tensor, maps: Tensor) -> Tensor:
    """Each pixel's mixture of part appearances: (N, P, C), (N, P, H, W) -> (N, C, H, W).

    sum_l φ_l a_l / max(1, sum_l φ_l): where parts overlap their vectors are averaged, outside them it is zero.
    """
    total = maps.sum(1, keepdim=True).clamp_min(1.0)
    pixels = (maps / total).permute(0, 2, 3, 1).flatten(1, 2)  # (N, H W, P), a view of channels-last maps
    return (pixels @ appearance).unflatten(1, maps.shape[-2:]).permute(0, 3, 1, 2)
