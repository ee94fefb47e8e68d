"""T_s: a posed skeleton and a camera to part maps (Kundu et al. 2020, spatial transformation of the puppet).

`part_geometry` projects the anchors and measures every part in the image; `limb_transform` is the one transform that
both ways of drawing use: `part_maps(path="analytic")` fills the outline `|u_y| <= h(u_x)` with an edge one pixel wide,
`part_maps(path="sampled")` samples canonical maps as the paper does. Pixels are (x, y) with centres at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from selfsup3d.geometry.camera import project
from selfsup3d.puppet.coverage import polygon_coverage
from selfsup3d.puppet.puppet import Puppet
from selfsup3d.structures.skeleton import joint_index

__all__ = [
    "CANONICAL_EXTENT",
    "NEAR",
    "PartGeometry",
    "limb_transform",
    "part_geometry",
    "canonical_maps",
    "part_maps",
    "regular_polygon",
]

NEAR = 0.05
"""Metres before the camera below which a part is hidden; it fades in over the next `NEAR` metres. **[ours]**"""

CANONICAL_EXTENT = (1.1, 0.75)
"""Half extent of the canonical maps of the sampled path: lengths of a limb, widths of it."""

_COINCIDENT = 1e-6  # joints closer than this many part widths have no direction; the map does not depend on it there


@dataclass(frozen=True)
class PartGeometry:
    """Where every part stands in the image. Leading dimensions are those of the joints.

    Attributes:
        q1, q2: (..., P, 2) px of the start and the end.
        depth1, depth2: (..., P) metres before the camera of the start and the end.
        width: (..., P) px, at least 1.
        visible: (..., P) in [0, 1]; 0 for parts at or behind the camera.
        matrix: (..., P, 2, 3) u = matrix @ (x, y, 1), from `limb_transform`.
        share: (..., P) in [0, 1]: s, the share of the outline in the blend with a disc.
        planes: (..., P, E, 3) rows (a, b, c) with a² + b² = 1: the outline is where a x + b y + c >= 0 for all E, the
            least of the E values is the distance to it in px (negative outside).
    """

    q1: Tensor
    q2: Tensor
    depth1: Tensor
    depth2: Tensor
    width: Tensor
    visible: Tensor
    matrix: Tensor
    share: Tensor
    planes: Tensor

    def detach(self) -> PartGeometry:
        """The same values without gradients."""
        return replace(self, **{name: value.detach() for name, value in vars(self).items()})


def limb_transform(q1: Tensor, q2: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Image to canonical frame of a limb: u = diag(gamma_x, gamma_y) · R(theta) · (u' - mu).

    The matrix printed in Kundu et al. 2020 (suppl.) does not centre the limb and takes theta from an arctangent; this
    one subtracts the mid-point mu and uses the unit direction e, with canonical length |r| = 1 and width 1. The length
    |q| is floored at the width **[ours]**: limbs longer than they are wide have their joints at (∓1/2, 0), shorter
    ones at (∓|q| / (2 width), 0).

    Args:
        q1, q2: (..., 2) px of the start and the end; may coincide.
        width: (...) px, positive.

    Returns:
        matrix (..., 2, 3) with u = matrix @ (x, y, 1), and the share s = min(|q| / width, 1) (...) by which the outline
        is blended with a disc of diameter `width`: a direction is undefined where q1 = q2, and s vanishes there, so
        that s · (anything smooth in u) has bounded gradients.
    """
    difference = q2 - q1
    squared = difference.square().sum(-1)
    least = (_COINCIDENT * width.detach()).square()
    apart = squared > least
    length = torch.where(apart, squared, least).sqrt()
    fixed = torch.zeros_like(difference)
    fixed[..., 0] = 1.0
    direction = torch.where(apart[..., None], difference / length[..., None], fixed)
    along = direction / torch.maximum(length, width)[..., None]
    across = torch.stack((-direction[..., 1], direction[..., 0]), -1) / width[..., None]
    linear = torch.stack((along, across), -2)  # (..., 2, 2)
    offset = -(linear * ((q1 + q2) / 2)[..., None, :]).sum(-1, keepdim=True)
    return torch.cat((linear, offset), -1), (length / width).clamp(max=1.0)


def part_geometry(
    joints_camera: Tensor,
    K: Tensor,
    puppet: Puppet,
    width: Literal["perspective", "fixed"] = "perspective",
    width_factors: Tensor | None = None,
    image_height: int | None = None,
) -> PartGeometry:
    """Measure the puppet in the image of a pinhole camera.

    Computed in float32 at least, also under autocast. Differentiable in joints, K and factors, with finite gradients
    everywhere: coinciding joints, points behind the camera and points far outside the image included.

    Args:
        joints_camera: (..., 17, 3) camera frame (x right, y down, z forward), metres; (..., N, 3) for a puppet with
            more points.
        K: (..., 3, 3) pinhole of the image, px; broadcasts against the joints.
        puppet: the table of parts.
        width: "perspective" **[ours]**: table width · f · torso length / depth of the part. "fixed" (the paper's
            gamma_y = 1): the same width at any depth, `puppet.fixed_torso · image_height` px to the torso length.
        width_factors: (..., P) multiplies the widths; None = 1.
        image_height: px, for width="fixed".

    Raises:
        ValueError: wrong shapes, or width="fixed" without `image_height`.
    """
    if joints_camera.shape[-2:] != (len(puppet.points), 3) or K.shape[-2:] != (3, 3):
        raise ValueError(
            f"expected joints (..., {len(puppet.points)}, 3) and K (..., 3, 3), got {joints_camera.shape} and {K.shape}"
        )
    dtype = torch.promote_types(torch.float32, joints_camera.dtype)
    joints, K = joints_camera.to(dtype), K.to(dtype)
    with torch.autocast(joints.device.type, enabled=False):
        P = len(puppet)
        points = _constant(puppet.anchor_matrix, joints) @ joints  # (..., 2P + 4L, 3)
        px = project(points, K)
        q1, q2 = px[..., :P, :], px[..., P : 2 * P, :]
        depth1, depth2 = points[..., :P, 2], points[..., P : 2 * P, 2]
        visible = (torch.minimum(depth1, depth2) / NEAR - 1.0).clamp(0.0, 1.0)
        if width == "perspective":
            top, bottom = (joint_index(name) for name in puppet.torso)
            torso = torch.linalg.vector_norm(joints[..., top, :] - joints[..., bottom, :], dim=-1)
            focal = (K[..., 0, 0] * K[..., 1, 1]).abs().sqrt()
            unit = (focal * torso)[..., None] / ((depth1 + depth2) / 2).clamp(min=NEAR)  # (..., P)
        elif width == "fixed" and image_height is not None:
            unit = torch.full_like(depth1, puppet.fixed_torso * image_height)
        else:
            raise ValueError(f"width must be 'perspective', or 'fixed' with image_height; got {width!r}")
        widths = _lateral_extent(_constant(puppet.widths, joints) * unit, px[..., 2 * P :, :], puppet)
        if width_factors is not None:
            widths = widths * width_factors.to(dtype)
        widths = widths.clamp(min=1.0)
        matrix, share = limb_transform(q1, q2, widths)
        planes = _outline_planes(matrix, _constant(puppet.edges, joints))
    return PartGeometry(q1, q2, depth1, depth2, widths, visible, matrix, share, planes)


def _constant(table: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(table).to(like)


def _lateral_extent(widths: Tensor, corners: Tensor, puppet: Puppet) -> Tensor:
    """The torso rule: parts with four anchors are as wide as the mean of their two projected pairs of joints (shoulders,
    hips), but at least `least_lateral` of the table's width, since a body has depth in side view. **[ours]**

    widths (..., P) px by the table, corners (..., 4L, 2) px -> (..., P).
    """
    if not puppet.four_anchors:
        return widths
    pairs = corners.unflatten(-2, (len(puppet.four_anchors), 2, 2))  # (..., L, start|end, pair, 2)
    projected = torch.linalg.vector_norm(pairs[..., 0, :] - pairs[..., 1, :], dim=-1).mean(-1)  # (..., L)
    columns = list(widths.unbind(-1))
    for row, p in enumerate(puppet.four_anchors):
        part = puppet.parts[p]
        columns[p] = torch.maximum(part.lateral * projected[..., row], part.least_lateral * columns[p])
    return torch.stack(columns, -1)


def _outline_planes(matrix: Tensor, edges: Tensor) -> Tensor:
    """Canonical half-planes (P, E, 3) to the image by `matrix` (..., P, 2, 3), normalised to px: (..., P, E, 3)."""
    planes = edges[..., 0, None] * matrix[..., None, 0, :] + edges[..., 1, None] * matrix[..., None, 1, :]
    planes = torch.cat((planes[..., :2], planes[..., 2:] + edges[..., 2:]), -1)
    return planes / torch.linalg.vector_norm(planes[..., :2], dim=-1, keepdim=True)


def regular_polygon(centre: Tensor, radius: Tensor, sides: int) -> Tensor:
    """Half-planes (..., sides, 3) of a polygon with the area of the disc of that radius; centre (..., 2), radius (...).

    Its orientation is fixed in the image: it stands for the disc into which foreshortened parts are blended.
    """
    angle = torch.arange(sides, dtype=centre.dtype, device=centre.device) * (2 * torch.pi / sides)
    normals = torch.stack((angle.cos(), angle.sin()), -1)  # (sides, 2)
    inner = (torch.pi / (sides * np.tan(np.pi / sides))) ** 0.5 * radius
    offset = inner[..., None] - (normals * centre[..., None, :]).sum(-1)
    return torch.cat((normals.expand(*offset.shape, 2), offset[..., None]), -1)


def part_maps(
    geometry: PartGeometry,
    size: tuple[int, int],
    puppet: Puppet,
    path: Literal["analytic", "sampled"] = "analytic",
    edge: float = 1.0,
) -> Tensor:
    """Draw the puppet: one map a part, phi = s · phi_outline + (1 - s) · phi_disc, times visibility.

    Args:
        geometry: of `part_geometry`, leading dimensions (...).
        size: (H, W) px of the maps; the geometry's K must be of that resolution.
        puppet: the table of parts.
        path: "analytic" **[ours]** fills outlines, coverage falling from 1 to 0 over `edge` px; "sampled" (the paper's)
            samples canonical maps bilinearly, edges as soft as the canonical maps' pixels.
        edge: px, for the analytic path.

    Returns:
        (..., P, H, W) in [0, 1], float32 (float64 for a float64 geometry).
    """
    with torch.autocast(geometry.q1.device.type, enabled=False):
        if path == "analytic":
            return _analytic_maps(geometry, size, edge)
        if path == "sampled":
            return _sampled_maps(geometry, size, puppet)
    raise ValueError(f"path must be 'analytic' or 'sampled', got {path!r}")


def _analytic_maps(geometry: PartGeometry, size: tuple[int, int], edge: float) -> Tensor:
    lead, E = geometry.width.shape, geometry.planes.shape[-2]
    planes, share, visible = geometry.planes.reshape(-1, E, 3), geometry.share.flatten(), geometry.visible.flatten()
    faint = (share.detach() < 1.0) | (visible.detach() < 1.0)  # only these need weights, and a disc
    owner, weight = torch.arange(len(planes), device=planes.device), share[:0]
    chosen = faint.nonzero().flatten()
    if len(chosen):
        centre = (geometry.q1 + geometry.q2).flatten(0, -2)[chosen] / 2
        discs = regular_polygon(centre, geometry.width.flatten()[chosen] / 2, E)
        solid = (~faint).nonzero().flatten()
        planes = torch.cat((planes[solid], planes[chosen], discs))
        share, visible = share[chosen], visible[chosen]
        weight = torch.cat((share * visible, (1.0 - share) * visible))
        owner = torch.cat((solid, chosen, chosen))
    return polygon_coverage(planes, weight, owner, lead.numel(), size, edge).view(*lead, *size)


def _sampled_maps(geometry: PartGeometry, size: tuple[int, int], puppet: Puppet) -> Tensor:
    H, W = size
    lead = geometry.width.shape
    like = geometry.q1
    resolution = max(H // 6, 12), max(H // 2, 32)
    maps = _constant(canonical_maps(puppet, resolution), like)  # (P + 1, h, w), the disc last
    extent = like.new_tensor(CANONICAL_EXTENT)
    x = torch.arange(W, dtype=like.dtype, device=like.device) + 0.5
    y = torch.arange(H, dtype=like.dtype, device=like.device) + 0.5

    def sample(matrix: Tensor, canonical: Tensor) -> Tensor:  # (N, 2, 3), (N, h, w) -> (N, H, W)
        rows = (matrix / extent[:, None])[:, :, :, None, None]
        grid = rows[:, :, 0] * x + rows[:, :, 1] * y[:, None] + rows[:, :, 2]  # (N, 2, H, W)
        grid = grid.permute(0, 2, 3, 1)
        return grid_sample(canonical[:, None], grid, padding_mode="zeros", align_corners=False)[:, 0]

    outlines = maps[:-1].expand(*lead, *maps.shape[1:]).reshape(-1, *maps.shape[1:])
    share = geometry.share.flatten()
    drawn = sample(geometry.matrix.reshape(-1, 2, 3), outlines) * share[:, None, None]
    short = (share.detach() < 1.0).nonzero().flatten()
    if len(short):
        scale = 1.0 / geometry.width.flatten()[short][:, None]
        centre = (geometry.q1 + geometry.q2).flatten(0, -2)[short] / 2
        unturned = torch.cat((torch.diag_embed(scale.expand(-1, 2)), -(scale * centre)[..., None]), -1)
        discs = sample(unturned, maps[-1].expand(len(short), -1, -1)) * (1.0 - share[short])[:, None, None]
        drawn = drawn.index_add(0, short, discs)
    return (drawn * geometry.visible.flatten()[:, None, None]).view(*lead, H, W)


@lru_cache(maxsize=8)
def canonical_maps(puppet: Puppet, resolution: tuple[int, int]) -> np.ndarray:
    """(P + 1, h, w) float32 canonical maps over |u_x| <= 1.1, |u_y| <= 0.75: the parts, then the disc of diameter 1.

    Limbs are about a fifth of the image long and a twentieth wide, so maps of a sixth of its height by a half of it are
    sampled nearly one to one. Each canonical pixel holds the share of it that lies inside the outline (4 x 4 sub-samples).
    """
    h, w = resolution
    fine = 4
    x, y = (
        (np.arange(count * fine) - (count * fine - 1) / 2) * (2 * extent / (count * fine))  # exactly symmetric
        for count, extent in zip((w, h), CANONICAL_EXTENT, strict=True)
    )
    inside = [np.abs(y)[:, None] <= part.half_width(x) for part in puppet.parts]
    inside.append(np.hypot(x, y[:, None]) <= 0.5)
    return np.stack(inside).reshape(-1, h, fine, w, fine).mean((2, 4)).astype(np.float32)
