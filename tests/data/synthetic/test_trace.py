from __future__ import annotations

import numpy as np

from selfsup3d.data.synthetic.body import body_solids
from selfsup3d.data.synthetic.trace import NOTHING, boxes, hit_points, intersect, trace


def rays_at_cones(count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Origins outside, directions of any length towards the neighbourhood of random round cones and balls."""
    random = np.random.default_rng(seed)
    length = np.where(random.random(count) < 0.3, 0.0, random.uniform(0.1, 1.5, count))
    ra, rb = random.uniform(0.05, 0.4, (2, count))
    rb = np.where(length == 0, ra, np.clip(rb, ra - 0.95 * length, ra + 0.95 * length))
    rb = np.maximum(rb, 0.01)
    origin = random.normal(size=(3, count))
    origin *= 4.0 / np.linalg.norm(origin, axis=0)
    target = random.normal(scale=0.25, size=(3, count)) + np.stack([0 * length, 0 * length, length / 2])
    direction = (target - origin) * random.uniform(0.1, 1.0, count)
    return direction, origin, length, ra, rb


def distance_to(points: np.ndarray, length: np.ndarray, ra: np.ndarray, rb: np.ndarray) -> np.ndarray:
    """Signed distance (F,) to round cones: the least over the balls along the axis, by dense search."""
    share = np.linspace(0.0, 1.0, 1001)[:, None]
    across = np.hypot(points[0], points[1])
    gap = np.hypot(across, points[2] - share * length) - (ra + share * (rb - ra))
    return gap.min(0)


def test_hits_lie_on_the_surface_and_nothing_is_hit_before() -> None:
    d, o, length, ra, rb = rays_at_cones(800)
    t = intersect(d, o, length, ra, rb)
    hit = np.isfinite(t)
    assert 0.2 < hit.mean() < 0.95
    on = (o + t * d)[:, hit]
    assert np.abs(distance_to(on, length[hit], ra[hit], rb[hit])).max() < 1e-5
    for share in np.linspace(0.5, 0.999, 12):
        before = (o + share * t * d)[:, hit]
        assert distance_to(before, length[hit], ra[hit], rb[hit]).min() > -2e-6


def test_misses_miss() -> None:
    d, o, length, ra, rb = rays_at_cones(800, seed=1)
    miss = ~np.isfinite(intersect(d, o, length, ra, rb))
    reach = 8.0 / np.linalg.norm(d, axis=0)
    for share in np.linspace(0.3, 0.8, 60):
        assert distance_to((o + share * reach * d)[:, miss], length[miss], ra[miss], rb[miss]).min() > -2e-6


def test_boxes_hold_every_hit(inputs: dict) -> None:
    size = 32
    solids = body_solids(inputs["people"], inputs["person"], inputs["joints"])
    cameras = inputs["cameras"]
    seen_from = solids.moved(cameras.rotation, cameras.translation)
    _, seen, _ = trace(seen_from, cameras.K, size, 2)
    box = boxes(seen_from, cameras.K, size, 2)
    image, row, column = np.nonzero(seen != NOTHING)
    x0, y0, x1, y1 = box[seen[image, row, column], image].T
    assert ((x0 <= column) & (column < x1) & (y0 <= row) & (row < y1)).all()
    assert (box[..., :2] >= 0).all()
    assert (box[..., 2:] <= 2 * size).all()


def test_normals_point_outwards(inputs: dict) -> None:
    size = 64
    solids = body_solids(inputs["people"], inputs["person"], inputs["joints"])
    cameras = inputs["cameras"]
    K = cameras.K * np.array([[2.0], [2.0], [1.0]])
    depth, seen, local = trace(solids.moved(cameras.rotation, cameras.translation), K, size, 1)
    image, row, column = np.nonzero(seen != NOTHING)
    x = ((column + 0.5 - K[image, 0, 2]) / K[image, 0, 0]).astype(np.float32)
    y = ((row + 0.5 - K[image, 1, 2]) / K[image, 1, 1]).astype(np.float32)
    solid = seen[image, row, column]
    q, normal = hit_points(local, solid, image, x, y, depth[image, row, column])
    assert np.allclose(np.linalg.norm(normal, axis=0), 1.0, atol=1e-4)
    towards = (normal * np.stack([x, y, np.ones_like(x)])).sum(0)
    assert (towards < 0.02).all()  # what is seen faces the eye
    ends = (a[solid, image] for a in (local.length, local.first, local.second))
    away = np.abs(distance_to(q, *ends)) * solids.scale[image, solid].min(-1)
    assert away.max() < 5e-4  # metres: float32 from metres away


def test_a_nearer_limit_hides_the_body(inputs: dict) -> None:
    cameras = inputs["cameras"]
    solids = body_solids(inputs["people"], inputs["person"], inputs["joints"])
    solids = solids.moved(cameras.rotation, cameras.translation)
    wall = np.full((len(cameras), 32, 32), 1.0, dtype=np.float32)
    depth, seen, _ = trace(solids, cameras.K, 32, 1, wall)
    assert (seen == NOTHING).all()
    assert (depth == 1.0).all()
