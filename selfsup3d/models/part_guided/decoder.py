"""The decoder D: appearance and part maps to an image and its part segmentation.

Up-convolutions conditioned at every scale on the part maps and on the appearance mixed through them; two small ends,
D_I for the image and D_seg for the parts (Kundu et al. 2020, suppl.). The finest level is thin: most of a step's time
would go there. With textures the decoder is given the source's parts, drawn in the target's pose, and learns what to
repaint in them, and with which of the person's own colours: it starts as what is drawn.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup3d.models.part_guided.layers import COLOUR, ConvNormAct, weights_as_activations
from selfsup3d.models.part_guided.observed_parts import PartSegmenter
from selfsup3d.puppet.textures import PIECES, Drawn

__all__ = ["Decoded", "Decoder"]

FINE_WIDTH = 48
"""Levels this thin, the ones at high resolution, have one convolution; most of a step's time would go there."""


DRAWN = COLOUR + 2
"""Channels of drawn textures: colour, coverage, how much of it some image showed; learned features come besides."""

_DARKEST = 0.02  # drawn coverage and shares are kept this far from 0 and 1, where a correction would have no effect

_REPAINTED = 0.02
"""Share of each pixel that an untrained decoder repaints; 0 would never learn."""


class Decoded(NamedTuple):
    """A decoded person.

    Attributes:
        image: (N, 3, H, W) in [0, 1], over the constant background.
        segmentation: (N, P+1, H, W) logits.
        person: (N, 3, H, W) the person's colours, continued where the person is not; None without textures.
        cover: (N, 1, H, W) the share of each pixel that the person covers, about in [0, 1]; None without textures.
        repainted: (N, 1, H, W) the share of each pixel that is not what was drawn there; None without textures.
    """

    image: Tensor
    segmentation: Tensor
    person: Tensor | None = None
    cover: Tensor | None = None
    repainted: Tensor | None = None

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

    With textures the person's colours come from the textures alone: each pixel is a mixture of what is drawn there, of
    the person's palette (`Drawn.palette`), of black and of white. A colour that a person does not wear cannot be painted,
    whatever people the decoder has learned from **[ours]**.

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
        if textures:
            channels = PIECES * COLOUR
        self.whole = nn.Linear(parts * channels if textures else channels, widths[0])
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
        outputs = 2 + parts * PIECES + 2 if textures else COLOUR  # cover, share repainted, and mixture of the palette
        self.to_image = nn.Conv2d(widths[-1] + COLOUR + drawn, outputs, 3, padding=1)  # D_I
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
        """Decode; H and W must divide by 2^(levels - 1). `drawn`: the source's textures in this pose, in place of the appearance."""
        depth = len(self.levels) - 1
        height, width = maps.shape[-2:]
        if height % 2**depth or width % 2**depth:
            raise ValueError(
                f"a decoder of {depth + 1} levels needs sides that divide by {2**depth}, got {height}x{width}"
            )
        if (drawn is None) == self.textures:
            raise ValueError("a decoder of textures needs them drawn, another takes none")
        if drawn is None:
            whole, per_part, colours = appearance[:, -1], appearance[:, :-1], appearance[:, :-1, :COLOUR]
        else:
            palette = drawn.palette[..., :COLOUR]
            whole, per_part, colours = palette.flatten(1), palette.flatten(2), palette.mean(2)
        x = self.whole(whole)[:, :, None, None].expand(-1, -1, height >> depth, width >> depth)
        # Channels last: convolutions of few channels at full resolution take half the time, and spreading the appearance is one product.
        x = x.contiguous(memory_format=torch.channels_last)
        per_part, colours = per_part.to(x.dtype), colours.to(x.dtype)
        maps = maps.to(x.dtype, memory_format=torch.channels_last)
        if drawn is not None:
            base = torch.cat([drawn.colour, drawn.coverage, drawn.seen], 1).to(x.dtype)
        for level, layers in enumerate(self.levels):
            if level:
                x = F.interpolate(self.narrow[level - 1](x), scale_factor=2, mode="nearest")
            shrink = 2 ** (depth - level)
            scaled = F.avg_pool2d(maps, shrink) if shrink > 1 else maps
            mixed = mixed_appearance(per_part if shrink > 1 else colours, scaled)
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
        cover, share, mixture = (
            self.to_image(torch.cat([x, mixed, base], 1)).float().split([1, 1, drawn.parts.shape[1] * PIECES + 2], 1)
        )
        cover = torch.sigmoid(cover + torch.logit(drawn.coverage.float().clamp(_DARKEST, 1.0 - _DARKEST)))
        cover = (cover - _DARKEST) / (1.0 - 2.0 * _DARKEST)  # so that nothing drawn is nothing decoded
        share = torch.sigmoid(share + math.log(_REPAINTED / (1.0 - _REPAINTED)))
        person = (1.0 - share) * drawn.colour[:, :COLOUR].float() + share * self._painted(mixture, drawn)
        image = cover * person + (1.0 - cover) * self.background.view(1, COLOUR, 1, 1)
        labels = torch.cat([drawn.parts, 1.0 - drawn.coverage], 1).float().clamp_min(_DARKEST).log()
        segmentation = labels + self.to_parts(torch.cat([x, scaled], 1)).float()
        return Decoded(image, segmentation, person, cover, share)

    @staticmethod
    def _painted(mixture: Tensor, drawn: Drawn) -> Tensor:
        """(N, 3, H, W) colours mixed by logits (N, 3 P + 2, H, W) of the palette, black and white; the parts that are drawn
        at a pixel stand above the others."""
        there = drawn.parts.float().clamp_min(_DARKEST).log().repeat_interleave(PIECES, 1)
        there = F.pad(there, (0, 0, 0, 0, 0, 2), value=math.log(_DARKEST))
        black_white = torch.tensor([0.0, 1.0], device=mixture.device).view(1, 2, 1).expand(len(mixture), 2, COLOUR)
        palette = torch.cat([drawn.palette[..., :COLOUR].float().flatten(1, 2), black_white], 1)  # (N, K, 3)
        return torch.einsum("nkhw,nkc->nchw", (mixture + there).softmax(1), palette)


def mixed_appearance(appearance: Tensor, maps: Tensor) -> Tensor:
    """Each pixel's mixture of part appearances: (N, P, C), (N, P, H, W) -> (N, C, H, W).

    sum_l φ_l a_l / max(1, sum_l φ_l): where parts overlap their vectors are averaged, outside them it is zero.
    """
    total = maps.sum(1, keepdim=True).clamp_min(1.0)
    pixels = (maps / total).permute(0, 2, 3, 1).flatten(1, 2)  # (N, H W, P), a view of channels-last maps
    return (pixels @ appearance).unflatten(1, maps.shape[-2:]).permute(0, 3, 1, 2)
