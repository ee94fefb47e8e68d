"""The renderer of synth-v1: people, poses, cameras and backgrounds in, images, depths and part labels out.

    render(people, index, joints, cameras, views, ...) -> Rendered

Images are anti-aliased by 2x2 samples a pixel over the body only (the background is drawn once per camera); labels
and depth are decided at pixel centres. `reference.py` holds the plain loop that this is tested against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfsup3d.data.synthetic.background import Light, View
from selfsup3d.data.synthetic.body import SOLIDS, People, Solids, body_solids
from selfsup3d.data.synthetic.texture import albedo
from selfsup3d.data.synthetic.trace import NOTHING, LocalSolids, hit_points, trace
from selfsup3d.puppet.puppet import default_puppet

__all__ = [
    "CHUNK_SAMPLES",
    "SAMPLES",
    "Cameras",
    "Rendered",
    "body_samples",
    "darken_floor",
    "lighting",
    "part_of_solid",
    "render",
]

SAMPLES = 2
"""Samples a pixel along each axis."""

CHUNK_SAMPLES = 1 << 19
"""Samples drawn at a time: what keeps the memory flat and the arrays in the cache."""


@dataclass(frozen=True)
class Cameras:
    """N cameras: K (N, 3, 3) pixels; rotation (N, 3, 3) and translation (N, 3) world -> camera."""

    K: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    def __len__(self) -> int:
        return len(self.K)

    def __getitem__(self, rows: slice | np.ndarray) -> Cameras:
        return Cameras(self.K[rows], self.rotation[rows], self.translation[rows])

    def view(self, points: np.ndarray) -> np.ndarray:
        """World points (N, ..., 3) in the camera frames."""
        shape = points.shape
        flat = points.reshape(shape[0], -1, 3) @ self.rotation.swapaxes(-1, -2) + self.translation[:, None]
        return flat.reshape(shape)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, J, 2) of points (N, J, 3) in the camera frames."""
        focal = np.stack([self.K[:, 0, 0], self.K[:, 1, 1]], -1)[:, None]
        return points[..., :2] / points[..., 2:] * focal + self.K[:, None, :2, 2]


@dataclass(frozen=True)
class Rendered:
    """N images.

    Attributes:
        image: (N, S, S, 3) uint8 RGB.
        depth: (N, S, S) float32 metres at pixel centres, background included; None where not asked for.
        labels: (N, S, S) uint8 ids of the default puppet's parts, background last; None where not asked for.
    """

    image: np.ndarray
    depth: np.ndarray | None
    labels: np.ndarray | None


def part_of_solid() -> np.ndarray:
    """(256,) uint8 part id of each solid index; `NOTHING` becomes the background."""
    puppet = default_puppet()
    table = np.full(256, puppet.background, dtype=np.uint8)
    for row, kind in enumerate(SOLIDS):
        table[row] = puppet[kind.part].id
    return table


def render(
    people: People,
    person: np.ndarray,
    joints: np.ndarray,
    cameras: Cameras,
    views: Sequence[View],
    view: np.ndarray,
    lights: Sequence[Light],
    shadows: Sequence[float],
    labels: bool = True,
) -> Rendered:
    """Draw N images.

    Args:
        people: M people.
        person: (N,) who is seen in each image.
        joints: (N, 17, 3) world, metres, of that person's bone lengths.
        cameras: N cameras.
        views: backgrounds as their cameras see them (`background.render_background`), V of them, all of one size.
        view: (N,) which of them lies behind each image.
        lights: V lights.
        shadows: V darknesses of the person's shadow on the floor.
        labels: also give depth and labels.

    Returns:
        images of the views' size.
    """
    size = views[0].image.shape[0]
    chunk = max(1, CHUNK_SAMPLES // (size * SAMPLES) ** 2)
    images, depths, parts = [], [], []
    table = part_of_solid()
    for start in range(0, len(person), chunk):
        rows = slice(start, start + chunk)
        solids = body_solids(people, person[rows], joints[rows])
        seen = solids.moved(cameras.rotation[rows], cameras.translation[rows])
        images.append(
            _image(people, person[rows], joints[rows], seen, cameras[rows], views, view[rows], lights, shadows)
        )
        if labels:
            limit = np.stack([views[v].depth for v in view[rows]])
            depth, solid, _ = trace(seen, cameras.K[rows], size, 1, limit)
            depths.append(depth)
            parts.append(table[solid])
    image = np.concatenate(images) if images else np.zeros((0, size, size, 3), dtype=np.uint8)
    if not labels:
        return Rendered(image, None, None)
    empty = np.zeros((0, size, size))
    return Rendered(
        image,
        np.concatenate([empty.astype(np.float32), *depths]),
        np.concatenate([empty.astype(np.uint8), *parts]),
    )


def _image(
    people: People,
    person: np.ndarray,
    joints: np.ndarray,
    solids: Solids,
    cameras: Cameras,
    views: Sequence[View],
    view: np.ndarray,
    lights: Sequence[Light],
    shadows: Sequence[float],
) -> np.ndarray:
    """(N, S, S, 3) uint8: the bodies' samples laid over the backgrounds by their share of each pixel."""
    count, size = len(person), views[0].image.shape[0]
    limit = np.stack([views[v].fine_depth for v in view])
    traced = trace(solids, cameras.K, size, SAMPLES, limit)
    colour, pixel = body_samples(people, person, solids, cameras, size, traced, view, lights)
    image = np.stack([views[v].image for v in view])  # (N, S, S, 3)
    darken_floor(image, joints, views, view, shadows)
    weight = 1.0 / SAMPLES**2
    total = count * size * size
    cover = np.bincount(pixel, minlength=total).astype(np.float32) * weight
    flat = image.reshape(-1, 3)
    flat *= (1.0 - cover)[:, None]
    for channel in range(3):
        flat[:, channel] += np.bincount(pixel, weights=colour[channel], minlength=total).astype(np.float32) * weight
    return np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8)


def body_samples(
    people: People,
    person: np.ndarray,
    solids: Solids,
    cameras: Cameras,
    size: int,
    traced: tuple[np.ndarray, np.ndarray, LocalSolids],
    view: np.ndarray,
    lights: Sequence[Light],
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (3, F) of the samples that show a body, and the flat pixel (F,) in (N, size, size) of each.

    Args:
        solids: of N bodies, in the camera frames. traced: what `trace` gave for them.
        view: (N,) which of the lights shines on each.
    """
    depth, seen, local = traced
    at = np.flatnonzero(seen.reshape(-1) != NOTHING)
    edge = size * SAMPLES
    which, inside = np.divmod(at, edge * edge)
    row, column = np.divmod(inside, edge)
    solid = seen.reshape(-1)[at]
    K = cameras.K.astype(np.float32)
    x = ((column + 0.5).astype(np.float32) / SAMPLES - K[which, 0, 2]) / K[which, 0, 0]
    y = ((row + 0.5).astype(np.float32) / SAMPLES - K[which, 1, 2]) / K[which, 1, 1]
    q, normal = hit_points(local, solid, which, x, y, depth.reshape(-1)[at])
    colour = albedo(people, person[which], solid, q, solids, which)
    ray = np.stack([x, y, np.ones_like(x)])
    colour *= lighting(normal, ray, cameras.rotation, view, lights, which)
    return colour, which * (size * size) + row // SAMPLES * size + column // SAMPLES


def lighting(
    normal: np.ndarray,
    ray: np.ndarray,
    rotation: np.ndarray,
    view: np.ndarray,
    lights: Sequence[Light],
    image: np.ndarray,
) -> np.ndarray:
    """(3, F) light that a sample sends on: sky (more from above), lamp, and a little less at grazing angles."""
    towards = np.stack([lights[v].direction for v in view])
    lamp = np.einsum("nij,nj->ni", rotation, towards).astype(np.float32)  # camera frame
    up = rotation[:, :, 2].astype(np.float32)
    strength = np.array([[lights[v].lamp, lights[v].sky] for v in view], dtype=np.float32)
    tint = np.stack([lights[v].colour for v in view]).astype(np.float32)
    facing = np.einsum("if,fi->f", normal, lamp[image])
    height = np.einsum("if,fi->f", normal, up[image])
    front = -(normal * ray).sum(0) / np.sqrt((ray * ray).sum(0))
    lamp_part = strength[image, 0] * np.maximum(0.75 * facing + 0.25, 0.0)  # wrapped: skin and cloth are soft
    light = strength[image, 1] * (0.85 + 0.2 * height) + lamp_part
    light *= 0.8 + 0.2 * np.clip(front, 0.0, 1.0)
    return light * tint[image].T


def darken_floor(
    image: np.ndarray, joints: np.ndarray, views: Sequence[View], view: np.ndarray, shadows: Sequence[float]
) -> None:
    """Soft shadows under feet and hips, in place."""
    for row, v in enumerate(view):
        if shadows[v] < 0.02:
            continue
        x, y = views[v].floor
        shade = np.zeros_like(x)
        for joint, spread in ((3, 0.16), (6, 0.16), (0, 0.3)):
            lifted = max(float(joints[row, joint, 2]), 0.0) if joint else 0.0
            dx, dy = x - np.float32(joints[row, joint, 0]), y - np.float32(joints[row, joint, 1])
            shade += np.exp((dx * dx + dy * dy) * np.float32(-0.5 / (spread + 0.3 * lifted) ** 2))
        image[row] *= 1.0 - np.float32(shadows[v] / 1.5) * np.minimum(shade, 1.5)[..., None]
