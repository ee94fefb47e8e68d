"""The renderer as a plain loop over images and solids: every solid is asked about every sample of the image.

Slow, and easy to believe. `render.render` is tested against it, and measured against it in the benchmarks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfsup3d.data.synthetic.background import Light, View
from selfsup3d.data.synthetic.body import SOLIDS, People, Solids, body_solids
from selfsup3d.data.synthetic.render import SAMPLES, Cameras, Rendered, darken_floor, lighting, part_of_solid
from selfsup3d.data.synthetic.texture import albedo
from selfsup3d.data.synthetic.trace import NOTHING, hit_points, intersect, local_solids

__all__ = ["render_plain"]


def render_plain(
    people: People,
    person: np.ndarray,
    joints: np.ndarray,
    cameras: Cameras,
    views: Sequence[View],
    view: np.ndarray,
    lights: Sequence[Light],
    shadows: Sequence[float],
) -> Rendered:
    """The same as `render.render`, with the same arguments, one image and one solid at a time."""
    images, depths, labels = [], [], []
    for n in range(len(person)):
        row = slice(n, n + 1)
        solids = body_solids(people, person[row], joints[row])
        solids = solids.moved(cameras.rotation[row], cameras.translation[row])
        scene = views[view[n]]
        size = len(scene.image)
        depth, seen = _nearest(solids, cameras.K[n], size, 1, scene.depth)
        depths.append(depth)
        labels.append(part_of_solid()[seen])
        fine, seen = _nearest(solids, cameras.K[n], size, SAMPLES, scene.fine_depth)
        image = scene.image[None].copy()
        darken_floor(image, joints[row], views, view[row], shadows)
        samples = np.repeat(np.repeat(image[0], SAMPLES, 0), SAMPLES, 1)
        for solid in range(len(SOLIDS)):
            at = np.nonzero(seen == solid)
            if not len(at[0]):
                continue
            x, y = _rays(cameras.K[n], size, SAMPLES)
            x, y, alone = x[at], y[at], np.zeros(len(at[0]), dtype=np.int64)
            which = np.full(len(alone), solid)
            q, normal = hit_points(local_solids(solids), which, alone, x, y, fine[at])
            colour = albedo(people, np.full(len(alone), person[n]), which, q, solids, alone)
            ray = np.stack([x, y, np.ones_like(x)])
            colour *= lighting(normal, ray, cameras.rotation[row], view[row], lights, alone)
            samples[at] = colour.T
        image = samples.reshape(size, SAMPLES, size, SAMPLES, 3).mean((1, 3))
        images.append(np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8))
    return Rendered(np.stack(images), np.stack(depths), np.stack(labels))


def _rays(K: np.ndarray, size: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """x, y (G, G) of the rays (x, y, 1) through an image's samples."""
    position = (np.arange(size * samples) + 0.5) / samples
    x, y = np.meshgrid((position - K[0, 2]) / K[0, 0], (position - K[1, 2]) / K[1, 1])
    return x.astype(np.float32), y.astype(np.float32)


def _nearest(
    solids: Solids, K: np.ndarray, size: int, samples: int, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depth (G, G) and solid (G, G) seen at every sample of one image."""
    local = local_solids(solids)
    x, y = _rays(K, size, samples)
    depth, seen = limit.copy(), np.full(limit.shape, NOTHING, dtype=np.uint8)
    for solid in range(len(SOLIDS)):
        if local.first[solid, 0] <= 0:
            continue
        m, o = local.to_local[solid, 0], local.origin[solid, 0]
        direction = np.stack([m[i, 0] * x + m[i, 1] * y + m[i, 2] for i in range(3)])
        t = intersect(direction, o[:, None, None], *(a[solid, 0] for a in (local.length, local.first, local.second)))
        closer = t < depth
        depth[closer], seen[closer] = t[closer], solid
    return depth, seen
