"""Backgrounds: rooms with floor, walls and boxes, open ground, and backdrops, drawn by rays from their integers.

A room is a box seen from inside, its walls one-sided: a camera outside looks through the wall before it. The stage
(a circle of `CLEAR` metres around the origin, where the person moves) is kept free of furniture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfsup3d.data.synthetic.paint import Surface, draw_colour, draw_surface, paint
from selfsup3d.data.synthetic.spec import Code

__all__ = ["Background", "Light", "View", "make_background", "render_background"]

CLEAR = 1.25
"""Radius of the stage, metres."""

FAR = 1e4
"""Depth where nothing is, metres."""


@dataclass(frozen=True)
class Light:
    """One lamp and the sky: direction (3,) to the lamp (world), strengths and colour (3,)."""

    direction: np.ndarray
    lamp: float
    sky: float
    colour: np.ndarray


@dataclass(frozen=True)
class Background:
    """One background.

    Attributes:
        kind: "room", "ground" (open) or "backdrop".
        half: (2,) half of the room's length and width, metres; height of the room.
        yaw: (2, 2) rotation world -> room.
        surfaces: floor, ceiling, 4 walls (room); floor, sky (ground); sky (backdrop).
        boxes: (B, 2, 3) lowest and highest corner in the room's axes; colours (B, 3).
        images: (Q, 5) wall, position along it, height, half width, half height; colours (Q, 2, 3).
        light: for the person and the background alike.
        shadow: how dark the person's shadow on the floor is.
    """

    kind: str
    half: np.ndarray
    height: float
    yaw: np.ndarray
    surfaces: tuple[Surface, ...]
    boxes: np.ndarray
    box_colours: np.ndarray
    images: np.ndarray
    image_colours: np.ndarray
    light: Light
    shadow: float


def make_background(integers: np.ndarray) -> Background:
    """The background that a "background" code (`spec.code`) stands for."""
    code = Code(integers)
    kind = code.pick(("room", "ground", "backdrop"), (7, 2, 1.5))
    angle = code.uniform(0.0, 2 * np.pi)
    yaw = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    half = np.array([code.uniform(1.7, 4.2), code.uniform(1.7, 4.2)])
    walls = ("plain", "plain", "bars", "two_tone", "panels", "bricks", "gradient")
    floor = draw_surface(code, ("plain", "tiles", "checks", "planks", "planks"), (0.25, 0.8), (0.25, 0.85))
    if kind == "room":
        ceiling = draw_surface(code, ("plain",), (1.0, 2.0), (0.7, 0.95))
        one, two = (
            draw_surface(code, walls, (0.15, 0.7), (0.35, 0.95)),
            draw_surface(code, walls, (0.15, 0.7), (0.35, 0.95)),
        )
        surfaces: tuple[Surface, ...] = (floor, ceiling, one, one, two, two)
    elif kind == "ground":
        surfaces = (floor, draw_surface(code, ("gradient", "gradient", "plain"), (1.0, 3.0), (0.5, 0.98)))
    else:
        soft = ("gradient", "plain", "bars", "rings", "checks", "clouds", "clouds")
        surfaces = (draw_surface(code, soft, (0.4, 1.6), (0.25, 0.95)),)
    boxes, colours = _furniture(code, half, kind)
    images = np.array(
        [
            [
                code.integer(4),
                code.uniform(-0.7, 0.7),
                code.uniform(1.1, 1.9),
                code.uniform(0.2, 0.6),
                code.uniform(0.2, 0.5),
            ]
            for _ in range(code.integer(5))
        ]
    ).reshape(-1, 5)
    paints = np.array([[draw_colour(code, (0.1, 0.9), (0.15, 0.95)) for _ in range(2)] for _ in images]).reshape(
        -1, 2, 3
    )
    towards, high = code.uniform(0.0, 2 * np.pi), np.deg2rad(code.uniform(30.0, 75.0))
    warm = code.uniform(-0.06, 0.06)
    light = Light(
        np.array([np.cos(high) * np.cos(towards), np.cos(high) * np.sin(towards), np.sin(high)]),
        code.uniform(0.35, 0.65),
        code.uniform(0.5, 0.68),
        np.array([1.0 + warm, 1.0, 1.0 - warm]),
    )
    return Background(
        kind,
        half,
        code.uniform(2.5, 3.4),
        yaw,
        surfaces,
        boxes,
        colours,
        images,
        paints,
        light,
        code.uniform(0.0, 0.25),
    )


def _furniture(code: Code, half: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes along the walls of a room, or standing about farther off on open ground."""
    boxes, colours = [], []
    count = {"room": 1 + code.integer(5), "ground": code.integer(5), "backdrop": 0}[kind]
    for _ in range(count):
        size = np.array([code.uniform(0.2, 0.7), code.uniform(0.2, 0.6), code.pick((0.45, 0.75, 1.1, 1.9))])
        side, share = code.integer(4), code.uniform(-1.0, 1.0)
        axis, sign = side // 2, 1.0 if side % 2 else -1.0
        room = half if kind == "room" else half + 1.0
        centre = np.zeros(2)
        centre[axis] = sign * (room[axis] - size[axis])
        centre[1 - axis] = share * (room[1 - axis] - size[1 - axis])
        tall = size[2] * code.uniform(0.85, 1.15)
        colour = draw_colour(code, (0.1, 0.8), (0.2, 0.9))
        if np.linalg.norm(np.maximum(np.abs(centre) - size[:2], 0.0)) < CLEAR:
            continue
        boxes.append([[*(centre - size[:2]), 0.0], [*(centre + size[:2]), tall]])
        colours.append(colour)
    return np.array(boxes).reshape(-1, 2, 3), np.array(colours).reshape(-1, 3)


@dataclass(frozen=True)
class View:
    """A background seen by one camera.

    Attributes:
        image: (S, S, 3) float32 in [0, 1], anti-aliased.
        depth: (S, S) float32 metres at pixel centres, `FAR` where nothing is.
        fine_depth: (G, G) the same at the samples.
        floor: (2, S, S) world x, y where the floor is seen, else `FAR`.
    """

    image: np.ndarray
    depth: np.ndarray
    fine_depth: np.ndarray
    floor: np.ndarray


def _rays(K: np.ndarray, rotation: np.ndarray, size: int, samples: int) -> np.ndarray:
    """(F, 3) world directions of rays (x, y, 1) through the samples of an image."""
    position = (np.arange(size * samples) + 0.5) / samples
    x, y = np.meshgrid((position - K[0, 2]) / K[0, 0], (position - K[1, 2]) / K[1, 1])
    return np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3) @ rotation


def render_background(
    background: Background, K: np.ndarray, rotation: np.ndarray, translation: np.ndarray, size: int, samples: int = 2
) -> View:
    """Draw a background.

    Args:
        background: what is seen.
        K: (3, 3) pixels.
        rotation, translation: world -> camera, (3, 3), (3,).
        size: pixels a side; `samples` per pixel and axis.
    """
    eye = -rotation.T @ translation
    edge = size * samples
    colour, fine, _ = _shade(background, eye, _rays(K, rotation, size, samples))
    image = colour.reshape(size, samples, size, samples, 3).mean((1, 3))
    directions = _rays(K, rotation, size, 1)
    depth, which, _ = _hit(background, eye, directions)
    floor = np.where(which == 0, eye[:2, None] + depth * directions[:, :2].T, FAR)
    return View(
        np.clip(image, 0, 1).astype(np.float32),
        depth.reshape(size, size).astype(np.float32),
        fine.reshape(edge, edge).astype(np.float32),
        floor.reshape(2, size, size).astype(np.float32),
    )


def _before_stage(box: np.ndarray, eye: np.ndarray) -> bool:
    """Whether a box stands between the eye and the stage, where it would hide the person: it is left out then."""
    towards = eye[:2] / max(float(np.linalg.norm(eye[:2])), 1e-9)
    return float(np.maximum(box[0, :2] * towards, box[1, :2] * towards).sum()) > 0.75 * CLEAR


def _hit(
    background: Background, eye: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Depth (F,), what is hit (F,) (0 floor, 1 ceiling, 2..5 walls, 6.. boxes, -1 nothing); eye, rays in room axes."""
    o = np.concatenate([background.yaw @ eye[:2], eye[2:]])
    d = np.concatenate([directions[:, :2] @ background.yaw.T, directions[:, 2:]], -1)
    depth, which = np.full(len(d), FAR), np.full(len(d), -1)
    if background.kind == "backdrop":
        return depth, which, (o, d)
    planes = [(2, 0.0, 1.0)]
    if background.kind == "room":
        planes.append((2, background.height, -1.0))
        planes += [(axis, -sign * background.half[axis], sign) for axis in (0, 1) for sign in (1.0, -1.0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        for index, (axis, offset, inwards) in enumerate(planes):
            t = (offset - o[axis]) / d[:, axis]
            hit = (d[:, axis] * inwards < 0) & (t > 0) & (t < depth)
            depth[hit], which[hit] = t[hit], index
        for index, box in enumerate(background.boxes):
            if _before_stage(box, o):
                continue
            one, two = (box[0] - o) / d, (box[1] - o) / d
            enter, leave = np.minimum(one, two).max(-1), np.maximum(one, two).min(-1)
            hit = (enter < leave) & (enter > 0) & (enter < depth)
            depth[hit], which[hit] = enter[hit], 6 + index
    return depth, which, (o, d)


def _shade(
    background: Background, eye: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours (F, 3), depths and what is hit."""
    depth, which, (o, d) = _hit(background, eye, directions)
    light = background.light
    lamp = np.concatenate([background.yaw @ light.direction[:2], light.direction[2:]])
    colour = np.zeros((len(d), 3))
    nothing = which == -1
    if nothing.any():
        far = d[nothing] / np.linalg.norm(d[nothing], axis=-1, keepdims=True)
        across = np.arctan2(far[:, 1], far[:, 0]) * 3.0
        colour[nothing] = paint(background.surfaces[-1], across, far[:, 2] * 3.0 + 0.9)
    normals = ((2, 1.0), (2, -1.0), (0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0))
    for index in np.unique(which[which >= 0]):
        hit = which == index
        p = o + depth[hit, None] * d[hit]
        if index < 6:
            axis, sign = normals[index]
            u, v = (p[:, 0], p[:, 1]) if axis == 2 else (p[:, 1 - axis], p[:, 2])
            colours = paint(background.surfaces[index], u, v)
            if index >= 2:
                colours = _hang_images(background, int(index) - 2, u, v, colours)
            strength = light.sky + light.lamp * max(sign * lamp[axis], 0.0) * 0.8
            if background.kind == "room":  # corners are darker
                wall = background.half - np.abs(p[:, :2])
                gap = np.minimum(wall[:, 0], wall[:, 1]) if axis == 2 else np.minimum(wall[:, 1 - axis], p[:, 2])
                colours = colours * (1.0 - 0.3 * np.exp(-np.maximum(gap, 0.0) / 0.25))[:, None]
            elif axis == 2:  # open ground fades into the distance
                haze = np.exp(-depth[hit] / 18.0)[:, None]
                colours = colours * haze + background.surfaces[-1].colours[0] * (1 - haze)
            colour[hit] = colours * strength
        else:
            colour[hit] = _box_colour(background, int(index) - 6, p, lamp)
    return colour * light.colour, depth, which


def _hang_images(
    background: Background, wall: int, u: np.ndarray, v: np.ndarray, wall_colours: np.ndarray
) -> np.ndarray:
    """Framed images (or windows) on a wall."""
    along = background.half[1 - wall // 2]
    for row, colours in zip(background.images, background.image_colours, strict=True):
        if int(row[0]) != wall:
            continue
        du, dv = np.abs(u - row[1] * along) / row[3], np.abs(v - row[2]) / row[4]
        inside, canvas = np.maximum(du, dv) < 1.0, np.maximum(du, dv) < 0.85
        framed = np.where(canvas[:, None], colours[0], colours[1])
        wall_colours = np.where(inside[:, None], framed, wall_colours)
    return wall_colours


def _box_colour(background: Background, index: int, p: np.ndarray, lamp: np.ndarray) -> np.ndarray:
    """(F, 3) colours of points on a box: faces lit by their direction, shelves or drawers as lines."""
    low, high = background.boxes[index]
    middle, half = (low + high) / 2, (high - low) / 2
    local = (p - middle) / half
    axis = np.abs(local).argmax(-1)
    sign = np.sign(np.take_along_axis(local, axis[:, None], -1)[:, 0])
    light = background.light
    strength = light.sky * 0.9 + light.lamp * np.maximum(sign * lamp[axis], 0.0) * 0.8
    lines = (axis != 2) & (np.mod(p[:, 2] / 0.3, 1.0) < 0.08)
    shade = np.where(lines, 0.7, 1.0) * (1.0 - 0.3 * np.exp(-p[:, 2] / 0.15))
    return background.box_colours[index] * (strength * shade)[:, None]
