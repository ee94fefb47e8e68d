"""Colours on the mannequin: cloth patterns, sleeves' ends, faces, prints, evaluated where rays meet the body."""

from __future__ import annotations

import numpy as np

from selfsup3d.data.synthetic.body import SOLIDS, People, Solids
from selfsup3d.data.synthetic.wardrobe import MATERIALS, PATTERNS

__all__ = ["albedo"]

_CLOTHS = ("", "sleeve", "leg")
_MATERIAL = np.array([MATERIALS.index(kind.material) for kind in SOLIDS])
_CLOTH = np.array([_CLOTHS.index(kind.cloth) for kind in SOLIDS])
_CHAIN = np.array([kind.chain for kind in SOLIDS], dtype=np.float32)
_ALONG = np.array([kind.along for kind in SOLIDS], dtype=np.float32)
_DECAL = np.array([("", "face", "chest", "hair").index(kind.decal) for kind in SOLIDS])
_SKIN = MATERIALS.index("skin")
_HAIR = MATERIALS.index("hair")
_SOCKS = MATERIALS.index("socks")
_SOCK_FROM = np.array([1.72 if kind.cloth == "leg" else 9.0 for kind in SOLIDS], dtype=np.float32)
_STRETCH = np.array([0.3 if kind.name.endswith("calf") else 1.0 for kind in SOLIDS], dtype=np.float32)


def albedo(
    people: People, person: np.ndarray, solid: np.ndarray, q: np.ndarray, solids: Solids, image: np.ndarray
) -> np.ndarray:
    """(3, F) float32 colours of surface points.

    Args:
        people: M people.
        person: (F,) whose surface.
        solid: (F,) which solid.
        q: (3, F) the point in the solid's own space.
        solids: of the N images.
        image: (F,) which of them.
    """
    scale = solids.scale.astype(np.float32)[image, solid]  # (F, 3)
    length = solids.length.astype(np.float32)[image, solid]
    height = q[2] * scale[:, 2]  # metres along the solid
    across = np.abs(q[1] * scale[:, 1])
    share = np.where(length > 0, q[2] / np.maximum(length, 1e-6), 0.15 * q[2])
    reached = _CHAIN[solid] + _STRETCH[solid] * share
    material = np.where(reached <= people.reach[person, _CLOTH[solid]], _MATERIAL[solid], _SKIN)
    material = np.where(reached > np.maximum(people.reach[person, _CLOTH[solid]], _SOCK_FROM[solid]), _SOCKS, material)
    second = _pattern(people, person, material, _ALONG[solid] + height, across)
    colour = people.colours[person, material, second.astype(np.int8)].T.copy()  # (3, F)
    decal = _DECAL[solid]
    _draw_face(colour, people, person, np.flatnonzero(decal == 1), q)
    _draw_chest(colour, people, person, np.flatnonzero(decal == 2), q, height, across)
    _draw_hair(colour, people, person, np.flatnonzero(decal == 3), q, np.where(length > 0, height, 0.0))
    return colour


def _pattern(
    people: People, person: np.ndarray, material: np.ndarray, height: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """(F,) bool: where the second colour of the material shows; height and across in metres."""
    kind = people.pattern[person, material]
    period, shift = people.period[person, material], people.shift[person, material]
    a = height / period + shift
    b = across / period + 0.25
    up, side = a - np.floor(a), b - np.floor(b)
    second = np.zeros(len(kind), dtype=bool)
    for name, shown in (
        ("rings", up < 0.5),
        ("bars", side < 0.5),
        ("checks", (up < 0.5) ^ (side < 0.5)),
        ("two_tone", height < 0.1 + 0.25 * shift),
        ("dots", (up - 0.5) ** 2 + (side - 0.5) ** 2 < 0.07),
        ("thin_rings", up < 0.22),
    ):
        second |= (kind == PATTERNS.index(name)) & shown
    return second


def _draw_face(colour: np.ndarray, people: People, person: np.ndarray, at: np.ndarray, q: np.ndarray) -> None:
    """Eyes, brows and mouth on the front of the skull, in place."""
    x, y, z = q[0, at], np.abs(q[1, at]), q[2, at]
    front = x > 0
    eye = front & (((y - 0.4) / 0.17) ** 2 + ((z - 0.02) / 0.1) ** 2 < 1)
    pupil = eye & (((y - 0.38) / 0.09) ** 2 + ((z - 0.02) / 0.1) ** 2 < 1)
    brow = front & (((y - 0.4) / 0.24) ** 2 + ((z - 0.24) / 0.05) ** 2 < 1)
    mouth = front & ((y / 0.32) ** 2 + ((z + 0.55) / 0.07) ** 2 < 1)
    strength = people.face[person[at]]
    beard = front & (z < -0.3) & (people.beard[person[at]] > 0)
    hair = people.colours[person[at], _HAIR, 0].T
    # Hair ends above the brows, before the ears and at the nape.
    scalp = (z > 0.45 + 0.25 * np.maximum(x, 0.0)) | ((x < 0.1) & (z > -0.6))
    hollow = front & (((y - 0.4) / 0.3) ** 2 + ((z - 0.08) / 0.22) ** 2 < 1)
    rims = front & (((y - 0.4) / 0.32) ** 2 + ((z - 0.02) / 0.2) ** 2 < 1)
    bridge = front & (y < 0.7) & (np.abs(z - 0.1) < 0.04)
    covered = front & (z < -0.15) & (z > -0.85)
    for shown, paint, share in (
        (scalp, hair, people.cropped[person[at]]),
        (beard, hair, people.beard[person[at]]),
        (hollow, 0.45 * colour[:, at], people.sockets[person[at]]),
        (eye, np.array([[0.95], [0.95], [0.95]], dtype=np.float32), strength * people.whites[person[at]]),
        (pupil, np.array([[0.08], [0.07], [0.07]], dtype=np.float32), strength),
        (brow, 0.35 * colour[:, at], strength),
        (mouth, np.array([[0.62], [0.2], [0.2]], dtype=np.float32), strength),
        (rims | bridge, np.array([[0.07], [0.07], [0.08]], dtype=np.float32), people.glasses[person[at]]),
        (covered, people.colours[person[at], _SOCKS, 0].T, people.mask[person[at]]),  # of the socks' cloth
    ):
        new = np.broadcast_to(paint, (3, len(at)))[:, shown]
        colour[:, at[shown]] += share[shown] * (new - colour[:, at[shown]])


def _draw_hair(
    colour: np.ndarray, people: People, person: np.ndarray, at: np.ndarray, q: np.ndarray, below: np.ndarray
) -> None:
    """Strands and ends of another colour, in place; not on a cap, which is the hair's solid too."""
    at = at[((people.streaks > 0) | (people.ends < 9.0))[person[at]] & ~(people.brim > 0)[person[at]]]
    second, place = people.colours[person[at], _HAIR, 1].T, people.shift[person[at], _HAIR]
    around = np.arctan2(q[1, at], q[0, at]) + 7.0 * place
    wave = np.sin(9.0 * around + 3.0 * np.sin(14.0 * below[at] + 20.0 * place)) * np.sin(4.0 * around + 11.0 * place)
    share = people.streaks[person[at]] * np.clip(0.5 + 1.2 * wave, 0.0, 1.0)
    share = np.maximum(share, np.clip((below[at] - people.ends[person[at]]) / 0.08, 0.0, 1.0))
    colour[:, at] += share * (second - colour[:, at])


def _draw_chest(
    colour: np.ndarray,
    people: People,
    person: np.ndarray,
    at: np.ndarray,
    q: np.ndarray,
    height: np.ndarray,
    across: np.ndarray,
) -> None:
    """A row of buttons or a print on the front of the shirt, in place."""
    _open_jacket(colour, people, person, at, q, across)
    kind = people.chest[person[at]]
    front = q[0, at] > 0.03
    buttons = (kind == 1) & (across[at] < 0.016)
    print_ = (kind == 2) & (across[at] < 0.075) & (np.abs(height[at] - 0.06) < 0.07)
    shown = at[front & (buttons | print_)]
    shirt = MATERIALS.index("shirt")
    plain = people.pattern[person[shown], shirt] == PATTERNS.index("plain")
    mark = np.where(
        plain[:, None], people.colours[person[shown], shirt, 1], people.colours[person[shown], shirt].mean(1)
    )
    colour[:, shown] = mark.T


def _open_jacket(
    colour: np.ndarray, people: People, person: np.ndarray, at: np.ndarray, q: np.ndarray, across: np.ndarray
) -> None:
    """The shirt between the sides of an open jacket, in place."""
    shown = at[(q[0, at] > 0.03) & (across[at] < people.open_front[person[at]])]
    colour[:, shown] = people.colours[person[shown], MATERIALS.index("hat"), 1].T
