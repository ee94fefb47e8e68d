"""Rays against round cones, for many images at once: which solid is seen at each sample, and at what depth.

One solid at a time over all images: its bounding boxes (exact, from the dual conics of its two end balls) give a flat
list of (image, row, column) samples, so that work is proportional to what the solid covers, not to the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfsup3d.data.synthetic.body import Solids

__all__ = ["NOTHING", "LocalSolids", "boxes", "hit_points", "intersect", "local_solids", "trace"]

NOTHING = 255
"""Solid index of a sample where no body is seen."""


@dataclass(frozen=True)
class LocalSolids:
    """Solids as seen by the rays of a pinhole at 0: everything a ray needs, (P, N) or (P, ..., N), float32.

    A ray (x, y, 1) t in the camera frame is origin + t * (to_local @ (x, y, 1)) in the q space of a solid, so that t is
    the depth.
    """

    to_local: np.ndarray  # (P, N, 3, 3)
    origin: np.ndarray  # (P, N, 3)
    length: np.ndarray  # (P, N)
    first: np.ndarray
    second: np.ndarray

    def packed(self) -> np.ndarray:
        """(P, 15, N): matrix by rows, origin, length, first, second."""
        solids, count = self.length.shape
        rows = [self.to_local.reshape(solids, count, 9), self.origin]
        rows += [a[..., None] for a in (self.length, self.first, self.second)]
        return np.ascontiguousarray(np.concatenate(rows, -1).swapaxes(1, 2))


def local_solids(solids: Solids) -> LocalSolids:
    """Prepare solids given in the camera frame (x right, y down, z forward)."""
    to_local = solids.frame / solids.scale[..., None]  # rows e / s
    origin = -np.einsum("npij,npj->npi", to_local, solids.centre)
    parts = (to_local, origin, solids.length, solids.first, solids.second)
    return LocalSolids(*(np.ascontiguousarray(a.swapaxes(0, 1), dtype=np.float32) for a in parts))


def _extent(centre: np.ndarray, spread: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest x/z (axis 0) or y/z (axis 1) of ellipsoids: centre (..., 3), spread = M M^T (..., 3, 3)."""
    c, z = centre[..., axis], centre[..., 2]
    near = np.maximum(z * z - spread[..., 2, 2], 1e-4)
    middle = c * z - spread[..., axis, 2]
    root = np.sqrt(np.maximum(middle * middle - (c * c - spread[..., axis, axis]) * near, 0.0))
    return (middle - root) / near, (middle + root) / near


def boxes(solids: Solids, K: np.ndarray, size: int, samples: int) -> np.ndarray:
    """(P, N, 4) int32 columns and rows [x0, y0, x1, y1) of the samples that a solid may cover; empty if absent.

    Args:
        solids: in the camera frame.
        K: (N, 3, 3) pixels.
        size: pixels a side.
        samples: per pixel and axis; sample i lies at pixel (i + 0.5) / samples.
    """
    stretched = solids.frame * solids.scale[..., None]  # rows s e
    spread = np.einsum("npki,npkj->npij", stretched, stretched)
    last = solids.centre + stretched[..., 2, :] * solids.length[..., None]
    low, high = [], []
    for axis in range(2):
        ends = [
            _extent(centre, spread * (radius**2)[..., None, None], axis)
            for centre, radius in ((solids.centre, solids.first), (last, solids.second))
        ]
        f, c = K[:, None, axis, axis], K[:, None, axis, 2]
        low.append((np.minimum(ends[0][0], ends[1][0]) * f + c) * samples - 0.5)
        high.append((np.maximum(ends[0][1], ends[1][1]) * f + c) * samples - 0.5)
    edge = size * samples
    corners = [np.ceil(np.clip(v, 0, edge)) for v in low] + [np.floor(np.clip(v, -1, edge - 1)) + 1 for v in high]
    box = np.stack(corners, -1).astype(np.int32)
    behind = np.minimum(solids.centre[..., 2], last[..., 2]) - 0.6 < 0.0  # mannequins are metres away
    box[(solids.first <= 0) | behind] = 0
    return np.ascontiguousarray(box.swapaxes(0, 1))


def intersect(d: np.ndarray, o: np.ndarray, length: np.ndarray, ra: np.ndarray, rb: np.ndarray) -> np.ndarray:
    """Ray parameter at which rays enter round cones along +z; inf where they miss.

    The quadric of the tangent cone between the two end circles, else the nearer ball (after Quilez, "Intersectors").

    Args:
        d, o: (3, F) directions (any length) and origins in q space.
        length, ra, rb: (F,) round cones from 0 to (0, 0, length).
    """
    dd = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    do = d[0] * o[0] + d[1] * o[1] + d[2] * o[2]
    oo = o[0] * o[0] + o[1] * o[1] + o[2] * o[2]
    slope = ra - rb
    m0 = length * length
    m1, m2 = length * o[2], length * d[2]
    d2 = m0 - slope * slope
    k2 = d2 * dd - m2 * m2
    k1 = d2 * do - m1 * m2 + m2 * slope * ra
    k0 = d2 * oo - m1 * m1 + 2 * m1 * slope * ra - m0 * ra * ra
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (-np.sqrt(k1 * k1 - k0 * k2) - k1) / k2
        y = m1 - ra * slope + t * m2
        on_side = (y > 0) & (y < d2)  # NaN where the ray misses: False
        first = (-np.sqrt(do * do - dd * (oo - ra * ra)) - do) / dd
        do_b = do - m2
        second = (-np.sqrt(do_b * do_b - dd * (oo - 2 * m1 + m0 - rb * rb)) - do_b) / dd
        ball = np.fmin(first, second)
    return np.where(on_side, t, np.where(np.isnan(ball), np.inf, ball))


def _samples(box: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Flat list of the samples of boxes (N, 4): image, column, row and index into (N, width, width)."""
    w, h = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    rows = np.where(w > 0, np.maximum(h, 0), 0)
    of_row = np.repeat(np.arange(len(box)), rows)  # (R,) image of each row of samples
    row = np.arange(len(of_row)) - np.repeat(np.cumsum(rows) - rows, rows) + box[of_row, 1]
    widths = w[of_row]
    ends = np.cumsum(widths)
    column = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - widths - box[of_row, 0], widths)
    first = (of_row * width + row) * width
    return np.repeat(of_row, widths), column, np.repeat(row, widths), np.repeat(first, widths) + column


def trace(
    solids: Solids, K: np.ndarray, size: int, samples: int, limit: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, LocalSolids]:
    """What is seen at each sample of N images.

    Args:
        solids: in the camera frame.
        K: (N, 3, 3) pixels.
        size, samples: an image has (size * samples)^2 samples.
        limit: (N, G, G) float32 depth of the scene, which hides bodies behind it; None = nothing does.

    Returns:
        depth (N, G, G) float32 metres along the optical axis (the limit where no body is seen), solid (N, G, G) uint8
        (`NOTHING` where none is) and the prepared solids.
    """
    count, edge = len(K), size * samples
    depth = np.full((count, edge, edge), np.inf, dtype=np.float32) if limit is None else limit.astype(np.float32)
    seen = np.full((count, edge, edge), NOTHING, dtype=np.uint8)
    flat_depth, flat_seen = depth.reshape(-1), seen.reshape(-1)
    box = boxes(solids, K, size, samples)
    local = local_solids(solids)
    position = (np.arange(edge) + 0.5) / samples
    x = ((position - K[:, 0, 2, None]) / K[:, 0, 0, None]).astype(np.float32)  # (N, G)
    y = ((position - K[:, 1, 2, None]) / K[:, 1, 1, None]).astype(np.float32)
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    constants = local.packed()
    for solid in range(len(box)):
        image, column, row, at = _samples(box[solid], edge)
        if not len(at):
            continue
        rx, ry = flat_x[image * edge + column], flat_y[image * edge + row]
        of = constants[solid].take(image, axis=1)  # (15, F): 9 of the matrix, 3 of the origin, length and radii
        d = [of[3 * i] * rx + of[3 * i + 1] * ry + of[3 * i + 2] for i in range(3)]
        t = intersect(d, of[9:12], of[12], of[13], of[14])  # type: ignore[arg-type]
        closer = np.flatnonzero(t < flat_depth[at])
        at = at[closer]
        flat_depth[at] = t[closer]
        flat_seen[at] = solid
    return depth, seen, local


def hit_points(
    local: LocalSolids, solid: np.ndarray, image: np.ndarray, x: np.ndarray, y: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where rays meet their solids: q (3, F) and the unit normal in the camera frame (3, F).

    Args:
        local: of `trace`.
        solid, image: (F,) indices.
        x, y: (F,) ray directions (x, y, 1).
        t: (F,) depths.
    """
    m = local.to_local[solid, image]  # (F, 3, 3)
    o = local.origin[solid, image]
    q = o + t[:, None] * (m[:, :, 0] * x[:, None] + m[:, :, 1] * y[:, None] + m[:, :, 2])
    length, ra, rb = (a[solid, image] for a in (local.length, local.first, local.second))
    slope = ra - rb
    d2 = length * length - slope * slope
    along = length * q[:, 2] - ra * slope  # 0 at the first end circle, d2 at the second
    # The centre of the ball that touches from inside at q: it runs along the axis from 0 to length.
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(length > 0, np.clip(along / d2, 0.0, 1.0), 0.0)
    normal = q.copy()
    normal[:, 2] -= share * length
    normal = np.einsum("fij,fi->jf", m, normal)  # M^-T n: rows e / s
    return q.T, normal / np.maximum(np.sqrt((normal * normal).sum(0)), 1e-9)
