"""Rendering puppets: the encoder's first images, poses drawn over backgrounds in random textures, with nothing learned.

Every choice is a function of uniform numbers that the caller draws, so that a sample looks the same in any run, batch
or process. The nearest parts of each pixel are blended by their coverage: depth order is respected pixel by pixel and
edges are anti-aliased. Not differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup3d.puppet.coverage import touched_tiles
from selfsup3d.puppet.puppet import Puppet
from selfsup3d.puppet.stack import TileStack, flat_parts, inverse_depth
from selfsup3d.puppet.transform import PartGeometry
from selfsup3d.structures.skeleton import joint_index

__all__ = ["Texture", "draw_texture", "texture_uniforms", "render_puppet"]

_SHARED = 32  # uniforms a person; each part has _OWN more
_OWN = 12
_LAYERS = 3  # parts blended at a pixel, nearest first
_SKIN = ((0.98, 0.86, 0.76), (0.27, 0.17, 0.11))  # lightest and darkest


@dataclass(frozen=True)
class Texture:
    """Textures, light and build of B puppets of P parts.

    Attributes:
        colours: (B, P, 3) in [0, 1].
        second: (B, P, 3) the other colour of a pattern.
        tip: (B, P, 3) beyond the end joint: hands, shoes.
        pattern: (B, P, 5) wave vector along and across the part (cycles a length, a width), phase (cycles), share of the
            second colour and strength in [0, 1].
        mottle: (B, P, 3) amplitude, cycles along, phase of an uneven brightness.
        hair: (B, 3).
        light: (B, 3) unit vector towards the light, camera frame.
        ambient: (B,) brightness of what the light does not reach.
        width_factors: (B, P) for `part_geometry`.
        splay: (B, 2) radians by which the left and the right toes point outwards. foot: (B,) length of a foot in torso
            lengths. Both for `parts.feet`.
    """

    colours: Tensor
    second: Tensor
    tip: Tensor
    pattern: Tensor
    mottle: Tensor
    hair: Tensor
    light: Tensor
    ambient: Tensor
    width_factors: Tensor
    splay: Tensor
    foot: Tensor


def texture_uniforms(puppet: Puppet) -> int:
    """How many uniforms in [0, 1) `draw_texture` takes for one person."""
    return _SHARED + _OWN * len(puppet)


def draw_texture(
    uniforms: Tensor, puppet: Puppet, asymmetric: float = 0.15, patterned: float = 0.5, width_range: float = 0.2
) -> Texture:
    """Textures from uniform random numbers.

    People are dressed symmetrically: partners share their colours and patterns, except in a share of the people.
    Arms are sleeved or bare below the elbow, legs below the knee; hands are skin, feet shoes.

    Args:
        uniforms: (B, texture_uniforms(puppet)) in [0, 1).
        puppet: the table of parts.
        asymmetric: share of people whose every part has its own colour and pattern.
        patterned: share of parts with stripes or checks.
        width_range: width factors are in 1 +- width_range (a common factor and one a part, partners alike).

    Raises:
        ValueError: wrong number of uniforms.
    """
    B, P = uniforms.shape[0], len(puppet)
    if uniforms.shape[1:] != (texture_uniforms(puppet),):
        raise ValueError(f"expected uniforms (B, {texture_uniforms(puppet)}), got {tuple(uniforms.shape)}")
    u, own = uniforms[:, :_SHARED], uniforms[:, _SHARED:].unflatten(1, (P, _OWN))
    odd = (u[:, 0] < asymmetric)[:, None, None]
    leader = [min(part.id, part.partner) for part in puppet.parts]
    own = torch.where(odd, own, own[:, leader])  # partners follow the lower id

    skin = torch.lerp(uniforms.new_tensor(_SKIN[0]), uniforms.new_tensor(_SKIN[1]), u[:, 1:2])
    skin = (skin * (0.85 + 0.3 * u[:, 2:5])).clamp(0, 1)
    hair, shirt, trousers, shoes = u[:, 5:8] * u[:, 8:9], u[:, 9:12], u[:, 12:15], u[:, 15:18] * 0.8
    bare_arms, bare_legs = u[:, 18, None] < 0.4, u[:, 19, None] < 0.2
    forearm, shin = torch.where(bare_arms, skin, shirt), torch.where(bare_legs, skin, trousers)
    wardrobe = {
        "head": skin,
        "torso": shirt,
        "upper_arm": shirt,
        "forearm": forearm,
        "thigh": trousers,
        "shin": shin,
        "foot": shoes,
    }
    kinds = [name.removeprefix("left_").removeprefix("right_") for name in puppet.names]
    dressed = torch.stack([wardrobe.get(kind, shirt) for kind in kinds], 1)  # (B, P, 3)
    head = torch.tensor([kind == "head" for kind in kinds], device=u.device)[:, None]
    plain = torch.tensor([kind in ("head", "foot") for kind in kinds], device=u.device)
    colours = torch.where(odd & ~head, own[..., :3], dressed)
    colours = (colours * (0.9 + 0.2 * own[..., 3:4])).clamp(0, 1)
    tips = {"forearm": skin, "shin": shoes}
    tip = torch.stack([tips.get(kind, colours[:, p]) for p, kind in enumerate(kinds)], 1)

    angle = torch.floor(own[..., 4] * 8) * (torch.pi / 8)
    cycles = 1.0 + 5.0 * own[..., 5]
    strength = torch.where(own[..., 6] < patterned, 0.2 + 0.8 * own[..., 7], 0.0) * ~plain
    wave = (cycles * angle.cos(), 0.5 * cycles * angle.sin(), own[..., 8], 0.2 + 0.6 * own[..., 9], strength)
    mottle = torch.stack((0.12 * own[..., 10], 1.0 + 3.0 * own[..., 11], own[..., 8]), -1)
    azimuth, height = 2 * torch.pi * u[:, 20], 2 * u[:, 21] - 1.0
    light = torch.stack((azimuth.cos(), azimuth.sin() - 0.5, height - 0.7), -1)  # mostly from above and the front
    factors = 1.0 + width_range * ((2 * u[:, 22:23] - 1) + (2 * u[:, 23:24] - 1) * (2 * own[..., 3] - 1)) / 2
    return Texture(
        colours=colours,
        second=own[..., [1, 2, 0]],
        tip=tip,
        pattern=torch.stack(wave, -1),
        mottle=mottle,
        hair=hair,
        light=torch.nn.functional.normalize(light, dim=-1),
        ambient=0.35 + 0.45 * u[:, 24],
        width_factors=factors.expand(B, P),
        splay=0.9 * (u[:, 25:27] - 0.35),
        foot=0.36 + 0.14 * u[:, 27],
    )


@torch.no_grad()
def render_puppet(
    maps: Tensor, geometry: PartGeometry, joints_camera: Tensor, background: Tensor, texture: Texture, puppet: Puppet
) -> Tensor:
    """Render B puppets over their backgrounds.

    Limbs are shaded as cylinders, the head as a ball whose face side (skin) and back (hair) follow the pose, which is
    what tells front from back.

    Args:
        maps: (B, P, H, W) of `part_maps`.
        geometry: what they were drawn from, leading dimension B.
        joints_camera: (B, 17 or more, 3) metres, for the way the head faces.
        background: (B, 3, H, W) in [0, 1].
        texture: of `draw_texture`.
        puppet: the table of parts.

    Returns:
        (B, 3, H, W) in [0, 1], dtype of `background`.
    """
    B, P, H, W = maps.shape
    if background.shape != (B, 3, H, W):
        raise ValueError(f"expected a background {(B, 3, H, W)}, got {tuple(background.shape)}")
    parts = flat_parts(geometry)
    reach = torch.where(parts.share < 1, parts.width / 2, 0.0).clamp(min=1.0)
    tiles = touched_tiles(parts.planes, parts.visible > 0, reach, (H, W))
    stack = TileStack(tiles, P, B, (H, W))
    drawn = stack.gather(maps)
    coverage = stack.spread(drawn)  # (T, P, TILE²)
    keys = stack.spread(stack.keys(inverse_depth(parts, tiles)) * (drawn > 0))
    table = _pixel_table(parts, joints_camera.to(maps.dtype), texture, puppet)

    rows = background.to(maps.dtype).permute(0, 2, 3, 1).reshape(-1, 3)  # (B · H · W, 3), a copy
    layers = []
    clear = torch.ones_like(coverage[:, 0])  # share of a pixel that the layers so far leave free
    for _ in range(_LAYERS):
        nearest = keys.amax(1)
        seen = (nearest > 0) & (clear > 0)
        tile, pixel = seen.nonzero().unbind(1)
        part = stack.layer_of(nearest[tile, pixel])
        alpha = coverage[tile, part, pixel]
        layers.append((tile, pixel, part, alpha))
        clear[tile, pixel] *= 1 - alpha
        keys = keys * (keys != nearest[:, None])
    for tile, pixel, part, alpha in reversed(layers):
        image, x, y = stack.locate(tile, pixel)
        target = (image * H + y) * W + x
        colour = _shade(table.index_select(0, image * P + part), x + 0.5, y + 0.5)
        rows[target] = torch.lerp(rows[target], colour, alpha[:, None])
    return rows.view(B, H, W, 3).permute(0, 3, 1, 2).contiguous().to(background.dtype)


def _facing(joints: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (B, 3) the face looks along and from neck to the top of the head.

    The nose says it where it stands out from the neck-head line; many skeletons put it on that line, so the chest,
    known from the shoulders, is added with the weight of a nose 5 cm long.
    """
    neck, nose, head, pelvis, left, right = (
        joints[:, joint_index(n)] for n in ("neck", "nose", "head", "pelvis", "left_shoulder", "right_shoulder")
    )
    unit = torch.nn.functional.normalize
    axis = unit(head - neck, dim=-1)
    out = (nose - neck) - ((nose - neck) * axis).sum(-1, keepdim=True) * axis
    chest = unit(torch.linalg.cross(left - right, neck - pelvis), dim=-1)
    return unit(out + 0.05 * chest, dim=-1), axis


def _pixel_table(parts: PartGeometry, joints: Tensor, texture: Texture, puppet: Puppet) -> Tensor:
    """(B · P, 39) all that the colour of a part's pixels depends on, one row a part; columns as `_shade` reads them."""
    B, P = texture.colours.shape[:2]
    facing, axis = _facing(joints)
    head = torch.zeros(B, P, 1).to(texture.colours)
    if "head" in puppet.names:
        head[:, puppet["head"].id] = 1.0
    person = torch.cat((texture.hair, texture.light, texture.ambient[:, None], facing, axis), -1)  # (B, 13)
    columns = (
        texture.colours,
        texture.second,
        texture.tip,
        texture.pattern,
        texture.mottle,
        head,
        person[:, None].expand(-1, P, -1),
    )
    rows = torch.cat([column.to(joints.dtype) for column in columns], -1).flatten(0, 1)
    direction = torch.nn.functional.normalize(parts.matrix[:, 0, :2], dim=-1)
    return torch.cat((parts.matrix.flatten(1), rows, direction), 1)


def _shade(table: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Colours (N, 3) of pixels (x, y) (N,) px of parts with the rows (N, 39) of `_pixel_table`."""
    widths = (3, 3, 3, 3, 3, 5, 3, 1, 3, 3, 1, 3, 3, 2)
    columns = table.t().contiguous().split(widths)  # (width, N) each
    along, across, base, second, tip, pattern, mottle, head, hair, light, ambient, face, axis, e = columns
    u = along[0] * x + along[1] * y + along[2]
    v = across[0] * x + across[1] * y + across[2]
    is_head = head[0] > 0
    phase = pattern[0] * u + pattern[1] * v + pattern[2]
    colour = torch.lerp(base, second, (phase - phase.floor() < pattern[3]) * pattern[4])
    colour = torch.where((u > 0.5) & ~is_head, tip, colour)

    side = (2 * v).clamp(-1, 1)
    up = ((u - 0.08) / 0.48).clamp(-1, 1) * is_head
    towards = (1 - side.square() - up.square()).clamp(min=0.0).sqrt()
    normal = torch.stack((up * e[0] - side * e[1], up * e[1] + side * e[0], -towards))
    hidden = ((normal * axis).sum(0) > 0.5) | ((normal * face).sum(0) < 0.15)
    colour = torch.where(hidden & (u > -0.2) & is_head, hair, colour)

    lit = (normal * light).sum(0).clamp(min=0.0)
    uneven = 1 + mottle[0] * torch.sin(6.2832 * (mottle[1] * (u + 0.7 * v) + mottle[2]))
    return (colour * ((ambient[0] + (1 - ambient[0]) * lit) * uneven)).clamp(0.0, 1.0).t()
