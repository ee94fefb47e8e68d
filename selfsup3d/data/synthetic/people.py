"""Synthetic people for pre-training: one rendered body at a time, cut out, in a pose of a prior, seen by a known camera.

The renderer is that of synth-v1; bodies, clothes and cameras vary far more widely, because what they must resemble is
real images. A person is rendered once, tightly, without a background (`render_people`); `people_images` makes as many
training images of it as one likes: turned, mirrored, cropped, lit, occluded, over any background.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from selfsup3d.data.priors.camera_prior import UprightPoses, look_at
from selfsup3d.data.synthetic.background import Light
from selfsup3d.data.synthetic.body import GIRTHS, People, Person, body_solids, make_person
from selfsup3d.data.synthetic.chain import retarget
from selfsup3d.data.synthetic.render import SAMPLES, Cameras, body_samples, part_of_solid
from selfsup3d.data.synthetic.spec import code
from selfsup3d.data.synthetic.trace import NOTHING, trace
from selfsup3d.data.synthetic.wardrobe import MATERIALS, PATTERNS
from selfsup3d.structures.random import RandomStreams

__all__ = ["RENDER_SIDE", "CutOuts", "render_people", "separate"]

RENDER_SIDE = 128
"""Pixels a side of the rendered cut-outs."""

FILL = 0.94
"""Share of the side that a person's joints and what sticks out beyond them take up."""

BEYOND = 0.13
"""Metres by which hands, feet and hair reach beyond the joints."""

DISTANCE = (1.8, 9.0)
"""Metres from the camera to the person, log-uniform."""


@dataclass(frozen=True)
class CutOuts:
    """N rendered people.

    Attributes:
        image: (N, S, S, 4) uint8 RGB, premultiplied by the coverage, and the coverage.
        labels: (N, S, S) uint8 part ids of the default puppet, background last.
        canonical: (N, 17, 3) float32 body frame, metres.
        rotation: (N, 3, 3), translation: (N, 3) float32 body -> camera.
        focal: (N,) float32 px; the principal point is the middle.
    """

    image: np.ndarray
    labels: np.ndarray
    canonical: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    focal: np.ndarray


def separate(people: CutOuts) -> list[CutOuts]:
    """Each of N people alone, in memory of their own: a view would keep all of them."""
    return [CutOuts(*(np.copy(value[row]) for value in vars(people).values())) for row in range(len(people.focal))]


def render_people(streams: RandomStreams, poses: UprightPoses, views: RandomStreams | None = None) -> CutOuts:
    """One person for each stream, in the given poses.

    Args:
        streams: what bodies, clothes, light and camera are drawn from.
        poses: N upright poses; half of them keep their own bone lengths, the others take the person's.
        views: the cameras are drawn from these instead, and all poses take the person's bone lengths: calls with the
            same `streams` show the same people in the same light.
    """
    count = len(streams)
    indices = (streams.bits() >> np.uint64(16)).tolist()
    unit = iter(np.moveaxis(streams.uniform(64), 1, 0))
    people = People.of([_varied(make_person(code("people", "person", i)), i) for i in indices])
    tilt, joints = poses.tilt.numpy().astype(np.float64), poses.joints.numpy().astype(np.float64)
    upright = joints @ tilt.swapaxes(-1, -2)
    own = (next(unit) < 0.5) & (views is None)
    scale = np.where(own[:, None], 0.85 + 0.3 * next(unit)[:, None], 1.0)
    upright = np.where(own[:, None, None], upright * scale[..., None], retarget(upright, people.bones))
    upright[..., 2] += 0.085 - upright[..., 2].min(1)[:, None]
    lamps = unit
    if views is not None:
        unit = iter(np.moveaxis(views.uniform(64), 1, 0))
    middle = (upright.min(1) + upright.max(1)) / 2 + 0.06 * (np.stack([next(unit) for _ in range(3)], -1) - 0.5)
    above = next(unit) < 0.3  # a security camera's or a drone's view, or a look up from the floor
    spread = _normal(next(unit), next(unit))
    elevation = np.where(above, -20.0 + 85.0 * next(unit), 6.0 + 11.0 * spread)
    distance = DISTANCE[0] * (DISTANCE[1] / DISTANCE[0]) ** next(unit)
    rotation, translation = look_at(middle, 360.0 * next(unit), elevation, distance, -np.inf)
    seen = upright @ rotation.swapaxes(-1, -2) + translation[:, None]
    depth = np.maximum(seen[..., 2], 0.4)
    reach = ((np.abs(seen[..., :2]) + BEYOND) / depth[..., None]).max((1, 2))
    focal = 0.5 * FILL * RENDER_SIDE / reach
    K = np.zeros((count, 3, 3))
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2], K[:, 2, 2] = RENDER_SIDE / 2, 1.0
    lights = [_light(*values) for values in zip(*(next(lamps) for _ in range(6)), strict=True)]
    image, labels = _cut_out(people, upright, Cameras(K, rotation, translation), lights)
    # Canonical joints and the camera of the body frame: the tilt is undone, the pelvis is at the origin.
    body = (upright - upright[:, :1]) @ tilt
    turn = rotation @ tilt
    return CutOuts(
        image, labels, *(a.astype(np.float32) for a in (body, turn, seen[:, 0], focal))
    )  # fmt: skip


def _normal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.sqrt(-2.0 * np.log1p(-one)) * np.cos(2.0 * np.pi * other)


def _light(azimuth: float, height: float, lamp: float, sky: float, warm: float, tint: float) -> Light:
    """Any light, from dull to harsh: strengths add up to about one."""
    a, h = 2 * np.pi * azimuth, -0.2 + 1.2 * height
    direction = np.array([np.cos(a), np.sin(a), h])
    lamp = 0.15 + 0.75 * lamp
    colour = np.array([1.0 + 0.12 * (warm - 0.5), 1.0 + 0.06 * (tint - 0.5), 1.0 - 0.16 * (warm - 0.5)])
    return Light(direction / np.linalg.norm(direction), lamp, (0.75 + 0.4 * sky) - 0.6 * lamp, colour)


def _varied(person: Person, index: int) -> Person:
    """A person of the benchmark's kind, made wider: girth, proportions, skirts, coats, bags, muted clothes."""
    draw = np.random.Generator(np.random.Philox(key=np.array([0x50454F504C45, index], dtype=np.uint64)))
    build = np.exp(draw.normal(0.0, 0.13))
    girth = np.clip(person.girth * build * np.exp(draw.normal(0.0, 0.06, len(GIRTHS))), 0.62, 1.75)
    girth[GIRTHS.index("head")] = np.clip(draw.normal(1.0, 0.07), 0.82, 1.2)
    stature = np.clip(draw.normal(1.0, 0.08), 0.72, 1.2)
    pair = np.exp(draw.normal(0.0, 0.04, 5))[[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4]]
    order = np.array([0, 0, 1, 2, 0, 1, 2, 3, 3, 4, 4, 5, 6, 7, 5, 6, 7])
    factors = np.concatenate([pair[[0, 2, 4, 6, 8]], np.exp(draw.normal(0.0, 0.04, 3))])
    outfit = person.outfit
    colours, pattern = outfit.colours.copy(), outfit.pattern.copy()
    cloth = [MATERIALS.index(name) for name in ("shirt", "trousers", "sleeve_left", "sleeve_right", "shoes")]
    if draw.random() < 0.45:  # what most people wear most days: muted colours, few patterns
        grey = colours[cloth].mean(-1, keepdims=True)
        colours[cloth] = grey + (colours[cloth] - grey) * draw.uniform(0.05, 0.6)
        colours[cloth] *= draw.uniform(0.25, 1.0)
        pattern[cloth] = np.where(draw.random(len(cloth)) < 0.7, PATTERNS.index("plain"), pattern[cloth])
    below = draw.choice(4, p=(0.66, 0.14, 0.12, 0.08))  # nothing, a skirt, a coat or dress, shorts and bare legs
    hair = draw.choice(3, p=(0.47, 0.33, 0.2))  # as the benchmark has it, long, none or cut short
    hairs: tuple[dict[str, Any], ...] = (
        {},
        {"tail": draw.uniform(0.18, 0.5), "volume": draw.uniform(1.03, 1.2), "bun": 0.0, "brim": 0.0},
        {"tail": 0.0, "volume": 0.0, "bun": 0.0, "brim": 0.0},
    )
    looks, shift = _head(draw, long=hair == 1, bare=hair == 2), outfit.shift.copy()
    shift[MATERIALS.index("hair")] = draw.random()
    # Strands and ends: from dark roots to bleached ends, or the other way round.
    colours[MATERIALS.index("hair"), 1] = np.clip(
        colours[MATERIALS.index("hair"), 0] * np.exp(draw.normal(0.2, 0.6)) + draw.uniform(0.0, 0.12), 0.0, 0.95
    )
    loose = outfit.looseness * np.exp(np.abs(draw.normal(0.0, 0.18, 2)))
    return Person(
        person.bones * stature * factors[order],
        girth,
        replace(
            outfit,
            **hairs[hair],
            **looks,
            colours=colours,
            pattern=pattern,
            shift=shift,
            period=outfit.period * np.exp(draw.normal(0.0, 0.5, len(outfit.period))),
            looseness=np.minimum(loose, 1.8),
            leg=draw.uniform(0.0, 0.9) if below in (1, 3) else outfit.leg,
            skirt=draw.uniform(0.35, 1.3) if below == 1 else 0.0,
            coat=draw.uniform(0.25, 1.2) if below == 2 else 0.0,
            bag=draw.uniform(0.7, 1.2) if draw.random() < 0.08 else 0.0,
            lowered=draw.normal(0.05, 0.008),
            open_front=draw.uniform(0.03, 0.1) if draw.random() < 0.2 else 0.0,
        ),
    )


def _head(draw: np.random.Generator, long: bool, bare: bool) -> dict[str, Any]:
    """Faces and hair that a network cannot tell by one mark: which way real people face hangs on it **[ours]**.

    The colour of a head's upper part says little: hair can be as light as skin, or lie in strands of both; a bald man's
    beard is the darkest part of his head, and a face in the shade is darker than the hair around it.
    """

    def sometimes(share: float, low: float, high: float, never: float = 0.0) -> float:
        return float(draw.uniform(low, high)) if draw.random() < share else never

    return {
        "face": draw.uniform(0.15, 0.9),
        "whites": sometimes(0.4, 0.0, 1.0),
        "beard": sometimes(0.45 if bare else 0.2, 0.4, 1.0),
        "cropped": sometimes(0.6 if bare else 0.2, 0.2, 1.0),
        "ears": 0.0 if long else sometimes(0.8, 0.8, 1.3),
        "locks": sometimes(0.5 if long else 0.0, 0.12, 0.4),
        "streaks": sometimes(0.6, 0.2, 1.0),
        "ends": sometimes(0.4, 0.0, 0.35, never=9.0),
        "glasses": sometimes(0.15, 0.3, 1.0),
        "mask": sometimes(0.05, 1.0, 1.0),
        "sockets": sometimes(0.6, 0.1, 0.8),
    }


def _cut_out(
    people: People, joints: np.ndarray, cameras: Cameras, lights: list[Light]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut-outs (N, S, S, 4) and labels (N, S, S)."""
    count, size = len(joints), RENDER_SIDE
    rows = np.arange(count)
    solids = body_solids(people, rows, joints).moved(cameras.rotation, cameras.translation)
    traced = trace(solids, cameras.K, size, SAMPLES)
    colour, pixel = body_samples(people, rows, solids, cameras, size, traced, rows, lights)
    total = count * size * size
    flat = np.empty((total, 4), dtype=np.float32)
    flat[:, 3] = np.bincount(pixel, minlength=total)
    for channel in range(3):
        flat[:, channel] = np.bincount(pixel, weights=np.clip(colour[channel], 0.0, 1.0), minlength=total)
    image = np.clip(flat * (255.0 / SAMPLES**2) + 0.5, 0, 255).astype(np.uint8).reshape(count, size, size, 4)
    # One of a pixel's samples decides its label: exact to a quarter of a pixel.
    labels = part_of_solid()[traced[1][:, ::SAMPLES, ::SAMPLES]]
    assert labels.shape == (count, size, size)
    assert NOTHING == 255
    return image, labels
