"""What a mannequin wears: colours, patterns, sleeves, hair, decoded from its integers."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from selfsup3d.data.synthetic.spec import Code

__all__ = ["MATERIALS", "PATTERNS", "Outfit", "make_outfit"]

MATERIALS = ("skin", "shirt", "trousers", "shoes", "hair", "hat", "socks", "sleeve_left", "sleeve_right")
"""Rows of the colour table. The sleeves are the shirt's, but for the few people whose sides differ."""

PATTERNS = ("plain", "rings", "bars", "checks", "two_tone", "dots", "thin_rings")
"""Rings run around a limb, bars along it, two_tone changes colour at a height."""

_SKIN = ((255, 219, 188), (240, 194, 156), (214, 160, 118), (180, 122, 80), (136, 88, 56), (96, 62, 42))
_HAIR = ((28, 22, 20), (62, 42, 28), (108, 72, 42), (160, 116, 62), (206, 170, 110), (140, 58, 32), (170, 168, 166))


@dataclass(frozen=True)
class Outfit:
    """One person's looks.

    Attributes:
        colours: (M, 2, 3) RGB in [0, 1], first and second colour of each material.
        pattern: (M,) index into `PATTERNS`.
        period: (M,) metres of one repeat of the pattern.
        shift: (M,) share of a period by which the pattern starts later.
        sleeve, leg: how far cloth reaches along a limb: 1 = to the elbow or knee, 2 = to the wrist or ankle.
        looseness: (2,) widening of sleeves and trouser legs by the cloth.
        chest: 0 nothing, 1 a row of buttons, 2 a printed square on the front.
        volume: of the hair; 0 = bald.
        tail, bun, brim: sizes of long hair at the back, a bun and the brim of a cap; 0 = none.
        skirt, coat: how far a skirt in the trousers' cloth, or a coat or dress in the shirt's, reaches along the legs:
            1 = to the knees; 0 = none. bag: size of one on the back. open_front: half width in metres of the shirt
            that shows between the sides of an open jacket. Nobody in the benchmark has any of these.
        lowered: metres by which the skull sits lower, so that the nose is at the nose and the crown at the head joint;
            the benchmark's people, whose crown is above it, have 0.
        face: how strongly eyes, brows and mouth show; whites: and the whites of the eyes; beard: 0 = none. The
            benchmark's faces are drawn plainly, so that they show in few pixels; real ones are not.
        cropped: how much of the hair's colour shows on the scalp, as of hair cut short; ears: their size, 1 = usual.
        locks: metres that hair hangs down before the shoulders. streaks: how strongly strands differ, towards the
            hair's second colour; ends: metres below the crown from where long hair has that colour, 9 = nowhere.
        glasses, mask: how dark glasses are, and how well a mask over nose and mouth covers; sockets: how dark the
            eyes' hollows are; 0 = none. Nobody in the benchmark has any of these either.
    """

    colours: np.ndarray
    pattern: np.ndarray
    period: np.ndarray
    shift: np.ndarray
    sleeve: float
    leg: float
    looseness: np.ndarray
    chest: int
    volume: float
    tail: float
    bun: float
    brim: float
    skirt: float = 0.0
    coat: float = 0.0
    bag: float = 0.0
    open_front: float = 0.0
    lowered: float = 0.0
    face: float = 1.0
    whites: float = 1.0
    beard: float = 0.0
    cropped: float = 0.0
    ears: float = 0.0
    locks: float = 0.0
    streaks: float = 0.0
    ends: float = 9.0
    glasses: float = 0.0
    mask: float = 0.0
    sockets: float = 0.0


def _cloth(code: Code) -> np.ndarray:
    """A dyed cloth: bright colours mostly, else white, grey, black or denim."""
    kind = code.pick(("bright", "deep", "pale", "grey"), (5, 3, 2, 3))
    hue = code.unit()
    if kind == "bright":
        rgb = colorsys.hsv_to_rgb(hue, code.uniform(0.6, 0.98), code.uniform(0.65, 0.98))
    elif kind == "deep":
        rgb = colorsys.hsv_to_rgb(hue, code.uniform(0.45, 0.9), code.uniform(0.25, 0.6))
    elif kind == "pale":
        rgb = colorsys.hsv_to_rgb(hue, code.uniform(0.1, 0.35), code.uniform(0.8, 0.98))
    else:
        value = code.uniform(0.06, 0.96)
        rgb = (value, value, value)
    return np.array(rgb)


def _tinted(code: Code, table: tuple[tuple[int, int, int], ...], spread: float) -> np.ndarray:
    return np.clip(np.array(code.pick(table)) / 255.0 * code.uniform(1 - spread, 1 + spread), 0.0, 1.0)


def _contrasting(code: Code, colour: np.ndarray) -> np.ndarray:
    """A second cloth that can be told from the first."""
    second = _cloth(code)
    if np.abs(second - colour).max() < 0.3:
        second = (
            1.0 - colour if code.chance(0.5) else np.clip(colour + np.where(colour.mean() > 0.5, -0.45, 0.45), 0, 1)
        )
    return second


def make_outfit(code: Code) -> Outfit:
    """The outfit that a "person" code stands for (read on from where the body's shape ended)."""
    rows = {name: row for row, name in enumerate(MATERIALS)}
    colours = np.zeros((len(MATERIALS), 2, 3))
    pattern = np.zeros(len(MATERIALS), dtype=np.int64)
    period = np.full(len(MATERIALS), 0.2)
    shift = np.zeros(len(MATERIALS))
    colours[rows["skin"]] = _tinted(code, _SKIN, 0.08)
    colours[rows["hair"]] = _tinted(code, _HAIR, 0.15)
    colours[rows["hair"], 1] *= 0.75
    for name, weights in (
        ("shirt", (5, 3, 2, 3, 2, 1.5, 1.5)),
        ("trousers", (8, 0.7, 1.2, 1, 0.7, 0.4, 0.2)),
        ("shoes", (6, 0, 1, 0, 2, 0, 0)),
        ("hat", (4, 1, 1, 0, 1, 0, 0)),
        ("socks", (3, 1, 0, 0, 0, 0, 1)),
    ):
        colours[rows[name], 0] = _cloth(code)
        colours[rows[name], 1] = _contrasting(code, colours[rows[name], 0])
        pattern[rows[name]] = code.pick(range(len(PATTERNS)), weights)
        period[rows[name]] = code.uniform(0.08, 0.2)
        shift[rows[name]] = code.unit()
    same = code.chance(0.55)  # sleeves like the shirt, else both in its second colour, rarely one only
    odd = code.chance(0.12)
    for name in ("sleeve_left", "sleeve_right"):
        for table in (colours, pattern, period, shift):
            table[rows[name]] = table[rows["shirt"]]
        if not same and not (odd and name == "sleeve_left"):
            colours[rows[name]] = colours[rows["shirt"], ::-1]
    sleeve = code.pick((code.uniform(1.75, 2.0), code.uniform(0.45, 0.8), code.uniform(0.0, 0.1)), (5, 5, 1))
    leg = code.pick((code.uniform(1.8, 2.0), code.uniform(0.45, 0.85)), (7, 3))
    loose = np.array([code.uniform(1.0, 1.3), code.uniform(1.0, 1.3)])
    chest = code.pick((0, 1, 2), (4, 2, 4))
    hair = code.pick(("short", "full", "long", "bun", "bald", "cap"), (5, 3, 4, 1.5, 1, 2))
    volume = {"bald": 0.0, "short": code.uniform(0.97, 1.03), "cap": 1.06}.get(hair, code.uniform(1.03, 1.13))
    return Outfit(
        colours=colours,
        pattern=pattern,
        period=period,
        shift=shift,
        sleeve=sleeve,
        leg=leg,
        looseness=loose,
        chest=chest,
        volume=volume,
        tail=code.uniform(0.1, 0.26) if hair == "long" else 0.0,
        bun=code.uniform(0.04, 0.055) if hair == "bun" else 0.0,
        brim=1.0 if hair == "cap" else 0.0,
    )
