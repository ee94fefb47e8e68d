"""Part textures: what images show of each part, in the part's own frame, and the parts drawn from it in another pose.

The inverse of T_s at a source's pose samples every part of an image into a canonical texture, and how sure it is that
the texel shows that part. T_s at a target's pose brings the textures there, the nearest part before the others. What
no source shows comes from the mirror partner, then from the nearest known texels, then from a given colour. After
liquid warping (Liu et al. 2019) and pose-guided synthesis (Balakrishnan et al. 2018), with the paper's part transform
in place of a body model **[ours]**.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup3d.puppet.puppet import Puppet
from selfsup3d.puppet.stack import nearness_along
from selfsup3d.puppet.transform import CANONICAL_EXTENT, PartGeometry
from selfsup3d.structures.batch import TensorFields
from selfsup3d.structures.skeleton import joint_index

__all__ = [
    "Drawn",
    "PIECES",
    "PartTextures",
    "WholeTextures",
    "complete",
    "draw_textures",
    "fill_holes",
    "joined",
    "sample_textures",
    "texture_size",
    "view_of",
    "visible_parts",
]

PIECES = 3
"""Pieces of equal length along each part, whose mean colours are a person's palette: a sock is no skin **[ours]**."""

_HIDDEN = 2e-4  # weight below which a texel counts as never seen
_MIRROR = 5e-3  # weight of the mirror partner's texel beside one that was seen **[ours]**
_OTHERS = 0.015  # weight of sources beside the best one of a part: they fill what it hides **[ours]**
_BEST = 16.0  # power by which the best source of a part stands above the others **[ours]**
_EDGE = 0.005  # weight of a texel at an outline, where the surroundings are mixed in, beside one inside **[ours]**
_VIEW = 4.0  # a source seen from the other side scores exp(-4) of one seen from the same side **[ours]**


@dataclass(frozen=True)
class PartTextures(TensorFields):
    """What S images of each of N people show of their parts.

    Attributes:
        colour: (N, S, P, C, h, w) over |u_x| <= 1.1, |u_y| <= 0.75 of each part's canonical frame.
        shown: (N, S, P, 1, h, w) in [0, 1]: the texel shows the part.
        empty: (N, S, P, 1, h, w) in [0, 1]: the texel shows the background. The rest is hidden by another part.
        inner: (N, S, P, 1, h, w) in [0, 1]: how far the texel lies inside the person: at an outline the colours of the
            surroundings are mixed in.
        view: (N, S, 3) unit vector along the camera's axis, in the person's body frame.
    """

    colour: Tensor
    shown: Tensor
    empty: Tensor
    inner: Tensor
    view: Tensor

    def merged(self) -> PartTextures:
        """Of one person, of whom all N · S images are."""
        return self.map(lambda values: values.flatten(0, 1)[None])

    def blended(self, other: PartTextures, factors: Tensor) -> PartTextures:
        """From one person's first image (0) to another's (1), by T factors: textures of T people."""

        def mix(a: Tensor, b: Tensor) -> Tensor:
            return torch.lerp(a[:1, :1], b[:1, :1], factors.view(-1, *[1] * (a.dim() - 1)))

        return PartTextures(*(mix(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    @staticmethod
    def joined(several: Sequence[PartTextures | None]) -> PartTextures | None:
        """Batches as one; None where there are no textures."""
        found = [one for one in several if one is not None]
        return (
            PartTextures(*(torch.cat([getattr(t, f.name) for t in found]) for f in fields(PartTextures)))
            if found
            else None
        )


@dataclass(frozen=True)
class WholeTextures(TensorFields):
    """Textures without holes of N people: colour (N, P, C, h, w); outline (N, P, 1, h, w) the part's share of each texel,
    where `known` (N, P, 1, h, w) in [0, 1] is 1, else nothing is known of it; seen (N, P, 1, h, w) in [0, 1], how far
    some image showed this side of the part."""

    colour: Tensor
    outline: Tensor
    known: Tensor
    seen: Tensor

    def mean_colour(self) -> Tensor:
        """(N, P, C) of each part, over what was seen of it."""
        return self.colours_along(1)[:, :, 0]

    def colours_along(self, pieces: int) -> Tensor:
        """(N, P, pieces, C) mean colours of what was seen of each part, by pieces of equal length along it."""
        weight = self.seen + _HIDDEN
        flat = torch.cat([self.colour * weight, weight], 2).flatten(0, 1)  # (N P, C + 1, h, w)
        means = F.adaptive_avg_pool2d(flat, (1, pieces))[:, :, 0].view(*weight.shape[:2], -1, pieces)
        return (means[:, :, :-1] / means[:, :, -1:]).transpose(2, 3)


@dataclass(frozen=True)
class Drawn(TensorFields):
    """Parts drawn at a pose.

    Attributes:
        colour: (N, C, H, W) of the person, continued smoothly where there is none.
        coverage: (N, 1, H, W) share of each pixel that the parts cover.
        seen: (N, 1, H, W) in [0, 1]: how much of what is drawn some image showed.
        parts: (N, P, H, W) each part's visible share; their sum is `coverage`.
        palette: (N, P, 3, C) the colours of the person: means of the `PIECES` pieces along each part.
    """

    colour: Tensor
    coverage: Tensor
    seen: Tensor
    parts: Tensor
    palette: Tensor

    def shrunk(self, scale: int) -> Drawn:
        """The same at 1 / `scale` of the size."""
        images = ("colour", "coverage", "seen", "parts")
        return replace(self, **{name: F.avg_pool2d(getattr(self, name), scale) for name in images})


def joined(drawn: Sequence[Drawn | None]) -> Drawn | None:
    """Several batches as one; None where nothing was drawn."""
    found = [one for one in drawn if one is not None]
    return Drawn(*(torch.cat([getattr(d, f.name) for d in found]) for f in fields(Drawn))) if found else None


def texture_size(side: int) -> tuple[int, int]:
    """(h, w) texels for images of a side, px: a torso that fills a third of the image is sampled nearly one to one."""
    return max(side // 4, 12), max(3 * side // 4, 36)


def sample_textures(
    image: Tensor, geometry: PartGeometry, parts: Tensor, view: Tensor, size: tuple[int, int]
) -> PartTextures:
    """What each image shows of each part. Differentiable in image and geometry, with bounded gradients.

    A foreshortened limb has no direction where its joints meet: its texels are blended with its mid-point's colour by
    the share s of `limb_transform`, which vanishes there.

    Args:
        image: (N, C, H, W) or any multiple of it; features or RGB.
        geometry: of the parts (N, P) in an image of (H, W).
        parts: (N, P + 1, H, W) which part each pixel shows, probabilities, background last; no gradient.
        view: (N, 3) unit vector along the camera's axis, in the person's body frame.
        size: (h, w) texels.

    Returns:
        Textures with S = 1.
    """
    N, C = image.shape[:2]
    H, W = parts.shape[-2:]
    P = geometry.width.shape[-1]
    h, w = size
    rows = geometry.matrix[..., :2]  # (N, P, 2, 2), orthogonal: the inverse has them as columns over their squares
    inverse = rows / rows.square().sum(-1, keepdim=True)
    offset = _texel_centres(size, image) - geometry.matrix[..., 2][:, :, None, None, :]  # (N, P, h, w, 2)
    xy = torch.einsum("nphwi,npij->nphwj", offset, inverse)
    scale = 2.0 / xy.new_tensor([W, H])
    grid = xy * scale - 1.0
    flat = grid.reshape(N, P * h, w, 2)
    colour = F.grid_sample(image.float(), flat, padding_mode="border", align_corners=False)
    colour = colour.view(N, C, P, h, w).transpose(1, 2)
    middle = ((geometry.q1 + geometry.q2) / 2 * scale - 1.0)[:, None]  # (N, 1, P, 2)
    plain = F.grid_sample(image.float(), middle, padding_mode="border", align_corners=False)[:, :, 0].transpose(1, 2)
    share = geometry.share[..., None, None, None]
    colour = torch.lerp(plain[..., None, None], colour, share)
    with torch.no_grad():
        own = F.grid_sample(parts[:, :P].reshape(N * P, 1, H, W), grid.view(N * P, h, w, 2), align_corners=False)
        empty = parts[:, P:]
        inner = 1.0 - F.max_pool2d(empty, 3, 1, 1)
        empty, inner = (F.grid_sample(x, flat, align_corners=False).view(N, P, 1, h, w) for x in (empty, inner))
        weight = share * geometry.visible[..., None, None, None]
    shown = own.view(N, P, 1, h, w) * weight
    return PartTextures(*(value[:, None] for value in (colour, shown, empty * weight, inner, view)))


def complete(textures: PartTextures, puppet: Puppet, fallback: Tensor, view: Tensor | None = None) -> WholeTextures:
    """One texture a part, without holes: what the S images show, else the mirror partner's, else the nearest texels of
    the part, else `fallback`.

    Args:
        textures: of N people, or of one.
        puppet: names each part's mirror partner.
        fallback: (N, P, C) colour of parts that nothing shows.
        view: (N, 3) of the target: images that were taken from its side count more. None = all count alike.

    Returns:
        Textures of N people; N of `fallback`.
    """
    shares, facing = _shares(textures, view, len(fallback))
    shown = _over_images(shares, textures.shown)
    empty = _over_images(shares, textures.empty)
    clean = textures.shown * (_EDGE + (1.0 - _EDGE) * textures.inner)
    value, mass = _over_images(shares, clean * textures.colour), _over_images(shares, clean)
    partner = torch.tensor([part.partner for part in puppet.parts], device=shown.device)
    seen = _over_images(shares * facing, textures.shown).clamp(max=1.0)
    value, mass, shown, empty = (x + _MIRROR * x[:, partner].flip(-2) for x in (value, mass, shown, empty))
    colour = fill_holes(value.flatten(0, 1), mass.flatten(0, 1), fallback.flatten(0, 1)).view_as(value)
    both = shown + empty
    return WholeTextures(colour, shown / both.clamp_min(_HIDDEN), (both / (2 * _MIRROR)).clamp(max=1.0), seen)


def _shares(textures: PartTextures, view: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """(count, S, P, 1, 1, 1) weight of each image for each part, and (count, S, 1, 1, 1, 1) in [0, 1] how far it shows
    the wanted side.

    The image that shows most of a part from the wanted side gives nearly all of it, 1 being the best one's weight: a
    mean of images that do not fit exactly is blurred. The others fill what it hides.
    """
    whole = textures.shown.mean((3, 4, 5))  # (N, S, P)
    if view is None:
        facing = whole.new_ones(count, whole.shape[1])
    else:
        facing = torch.exp(_VIEW / 2 * ((textures.view * view[:, None]).sum(-1) - 1.0))
    score = (whole + _HIDDEN) * facing[..., None]
    ratio = score / score.amax(1, keepdim=True)
    weight = ratio**_BEST + _OTHERS * ratio
    return weight.detach()[..., None, None, None], facing[..., None, None, None, None]


def _over_images(weight: Tensor, values: Tensor) -> Tensor:
    """Weights (N, S, P or 1, 1, 1, 1) and values (N or 1, S, P, ...) -> (N, P, ...), summed over S."""
    total = weight[:, 0] * values[:, 0]
    for s in range(1, values.shape[1]):
        total = total + weight[:, s] * values[:, s]
    return total


def view_of(joints: Tensor) -> Tensor:
    """(N, 3) the camera's axis in the body frame of camera-frame joints (N, 17, 3): which side of a person is seen.

    The body frame is that of the kinematics: +X the way the hips face, +Y left, +Z from pelvis to neck. No gradient.
    """
    with torch.no_grad():
        pelvis, neck, left, right = (joints[:, joint_index(n)] for n in ("pelvis", "neck", "left_hip", "right_hip"))
        up = F.normalize(neck - pelvis, dim=-1)
        forward = F.normalize(torch.linalg.cross(left - right, up), dim=-1)
        return torch.stack([forward, torch.linalg.cross(up, forward), up], 1)[..., 2]


def fill_holes(value: Tensor, mass: Tensor, fallback: Tensor) -> Tensor:
    """Values (N, C, h, w), each times its mass (N, 1, h, w), to values everywhere: holes take ever wider means, and
    `fallback` (N, C) where there is nothing at all."""
    levels = [(value, mass)]
    while min(levels[-1][0].shape[-2:]) > 1:
        levels.append(tuple(F.avg_pool2d(x, 2, ceil_mode=True) for x in levels[-1]))  # type: ignore[arg-type]
    v, m = (x.mean((2, 3), keepdim=True) for x in levels[-1])
    filled = (v + _HIDDEN**2 * fallback[..., None, None]) / (m + _HIDDEN**2)
    for v, m in reversed(levels):
        wider = F.interpolate(filled, v.shape[-2:], mode="bilinear", align_corners=False)
        filled = (v + _HIDDEN * wider) / (m + _HIDDEN)
    return filled


def draw_textures(textures: WholeTextures, geometry: PartGeometry, maps: Tensor) -> Drawn:
    """Textured parts of N people drawn at N poses, front to back by their depth at each pixel.

    A part covers what its texture's outline covers, where that is known, else what its map covers.

    Args:
        geometry: (N, P) of the poses. maps: (N, P, H, W) of `part_maps`.
    """
    colour = textures.colour
    N, P, C = colour.shape[:3]
    H, W = maps.shape[-2:]
    extent = colour.new_tensor(CANONICAL_EXTENT)
    u = _canonical(geometry, (H, W))
    grid = (u / extent[:, None, None]).flatten(0, 1).permute(0, 2, 3, 1)
    sampled = F.grid_sample(colour.flatten(0, 1), grid, padding_mode="border", align_corners=False)
    share = geometry.share[..., None, None]  # (N, P, 1, 1)
    mean = textures.mean_colour()[..., None, None]
    drawn = torch.lerp(mean, sampled.view(N, P, C, H, W), share[:, :, None])
    stack = torch.cat([textures.outline * textures.known, textures.known, textures.seen], 2).flatten(0, 1)
    outline, known, seen = F.grid_sample(stack, grid, align_corners=False).view(N, P, 3, H, W).unbind(2)
    known = known * share
    cover = ((1.0 - known) * maps + share * outline) * geometry.visible[..., None, None]
    parts = _front_to_back(cover.clamp(0.0, 1.0), nearness_along(geometry, u[:, :, 0]).detach())
    coverage = parts.sum(1, keepdim=True)
    person = (parts[:, :, None] * drawn).sum(1)
    fallback = person.sum((2, 3)) / coverage.sum((2, 3)).clamp_min(_HIDDEN)
    continued, seen = fill_holes(person, coverage, fallback), (parts * seen).sum(1, keepdim=True)
    return Drawn(continued, coverage, seen, parts, textures.colours_along(PIECES))


def visible_parts(geometry: PartGeometry, maps: Tensor) -> Tensor:
    """(N, P, H, W) the share of each pixel in which each part is seen, from the puppet's maps, nearest part first."""
    along = _canonical(geometry, (maps.shape[-2], maps.shape[-1]))[:, :, 0]
    return _front_to_back(maps, nearness_along(geometry, along).detach())


def _canonical(geometry: PartGeometry, size: tuple[int, int]) -> Tensor:
    """(N, P, 2, H, W) canonical coordinates of all pixels in all parts."""
    x = torch.arange(size[1], device=geometry.matrix.device, dtype=geometry.matrix.dtype) + 0.5
    y = torch.arange(size[0], device=geometry.matrix.device, dtype=geometry.matrix.dtype) + 0.5
    rows = geometry.matrix[..., None, None]  # (N, P, 2, 3, 1, 1)
    return rows[:, :, :, 0] * x + rows[:, :, :, 1] * y[:, None] + rows[:, :, :, 2]


def _front_to_back(cover: Tensor, nearness: Tensor) -> Tensor:
    """Each part's visible share (N, P, H, W), from its own coverage and its nearness; ties go to the lower id."""
    order = torch.argsort(nearness, dim=1, descending=True, stable=True)
    sorted_cover = cover.gather(1, order)
    clear = reduce(lambda free, layer: [*free, free[-1] * (1.0 - layer)], sorted_cover.unbind(1)[:-1],
                   [torch.ones_like(cover[:, 0])])  # fmt: skip
    return torch.zeros_like(cover).scatter(1, order, sorted_cover * torch.stack(clear, 1))


def _texel_centres(size: tuple[int, int], like: Tensor) -> Tensor:
    """(h, w, 2) canonical coordinates of the texels' centres."""
    h, w = size
    x = ((torch.arange(w, device=like.device) + 0.5) / w * 2 - 1) * CANONICAL_EXTENT[0]
    y = ((torch.arange(h, device=like.device) + 0.5) / h * 2 - 1) * CANONICAL_EXTENT[1]
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).float()
