"""The mannequin: a person's shape, and the solids that its body consists of in a given pose.

Every solid is a round cone (two balls and the hull between them; a ball if its length is 0) in a stretched frame:
point = centre + frame^T (scale * q), where q lies on the round cone along +z. That one form gives limbs, flat trunks,
heads and hands. Nothing here is shared with the puppet of the method (`selfsup3d.puppet`) but the names of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfsup3d.data.synthetic.chain import ANKLE_HEIGHT, BONES, unit
from selfsup3d.data.synthetic.spec import Code
from selfsup3d.data.synthetic.wardrobe import MATERIALS, Outfit, make_outfit
from selfsup3d.structures.skeleton import H36M_17

__all__ = ["SOLIDS", "People", "Person", "SolidKind", "Solids", "body_solids", "make_person"]


@dataclass(frozen=True)
class SolidKind:
    """What is the same of a solid in all people and poses.

    Attributes:
        name: unique.
        part: name of the body part it belongs to.
        material: a row of `MATERIALS`.
        cloth: "" (covered whole), "sleeve" or "leg" (skin past their ends, and socks at the ankle).
        chain: 0 for upper arm and thigh, 1 for forearm and shin: where the solid starts along the covered limb.
        along: metres by which the pattern's height starts, so that one garment's solids continue each other.
        decal: "", "face", "hair" or "chest".
    """

    name: str
    part: str
    material: str
    cloth: str = ""
    chain: float = 0.0
    along: float = 0.0
    decal: str = ""


def _limbs(side: str) -> tuple[SolidKind, ...]:
    arm, fore, thigh, shin = (f"{side}_{name}" for name in ("upper_arm", "forearm", "thigh", "shin"))
    sleeve = f"sleeve_{side}"
    return (
        SolidKind(f"{side}_upper_arm", arm, sleeve, cloth="sleeve"),
        SolidKind(f"{side}_forearm", fore, sleeve, cloth="sleeve", chain=1.0, along=0.28),
        SolidKind(f"{side}_hand", fore, "skin"),
        SolidKind(f"{side}_thigh", thigh, "trousers", cloth="leg"),
        SolidKind(f"{side}_shin", shin, "trousers", "leg", 1.0, 0.44),
        SolidKind(f"{side}_calf", shin, "trousers", cloth="leg", chain=1.3, along=0.57),
        SolidKind(f"{side}_foot", shin, "shoes"),
    )


_BESIDE_THE_FACE = (("ear", ("skin",)), ("lock", ("hair", "", 0.0, 0.0, "hair")))

SOLIDS: tuple[SolidKind, ...] = (
    SolidKind("pelvis", "torso", "trousers", along=-0.1),
    SolidKind("abdomen", "torso", "shirt"),
    SolidKind("chest", "torso", "shirt", along=0.23, decal="chest"),
    SolidKind("shoulders", "torso", "shirt", along=0.45),
    SolidKind("neck", "head", "skin"),
    SolidKind("skull", "head", "skin", decal="face"),
    SolidKind("nose", "head", "skin"),
    SolidKind("hair", "head", "hair", decal="hair"),
    SolidKind("tail", "head", "hair", decal="hair"),
    SolidKind("bun", "head", "hair", decal="hair"),
    SolidKind("brim", "head", "hat"),
    *_limbs("left"),
    *_limbs("right"),
    SolidKind("skirt", "torso", "trousers", along=-0.1),
    SolidKind("coat", "torso", "shirt", along=-0.1),
    SolidKind("bag", "torso", "hat"),
    *(SolidKind(f"{side}_{name}", "head", *how) for side in ("left", "right") for name, how in _BESIDE_THE_FACE),
)
"""All P solids, in the order of the arrays of `Solids`."""

GIRTHS = ("arm", "leg", "trunk", "hips", "depth", "head")


@dataclass(frozen=True)
class Person:
    """One mannequin.

    Attributes:
        bones: (17,) metres to the drawing-tree parents, within 8 % of the average person's.
        girth: (6,) factors in the order of `GIRTHS`, within 25 % of 1.
        outfit: see `wardrobe`.
    """

    bones: np.ndarray
    girth: np.ndarray
    outfit: Outfit


def make_person(integers: np.ndarray) -> Person:
    """The person that a "person" code (`spec.code`) stands for."""
    code = Code(integers)
    tall = 1.0 + code.uniform(-0.055, 0.055)
    groups = {name: tall + code.uniform(-0.025, 0.025) for name in ("hip", "thigh", "shin", "back", "head", "arm")}
    order = ("hip", "thigh", "shin", "hip", "thigh", "shin", "back", "back", "head", "head", *("hip", "arm", "arm") * 2)
    bones = BONES * np.array([1.0, *(groups[name] for name in order)])
    stout = code.uniform(-0.17, 0.17)
    girth = 1.0 + np.array([stout + code.uniform(-0.08, 0.08) for _ in GIRTHS])
    girth[GIRTHS.index("head")] = 1.0 + code.uniform(-0.06, 0.06)
    return Person(bones, girth, make_outfit(code))


_SIZES = ("skirt", "coat", "bag", "lowered", "ears", "locks")
_PAINTS = ("open_front", "face", "whites", "beard", "cropped", "streaks", "ends", "glasses", "mask", "sockets")


@dataclass(frozen=True)
class People:
    """M people as stacked arrays, for drawing many images at once.

    Attributes:
        bones (M, 17), girth (M, 6), volume, tail, bun, brim (M,), looseness (M, 2), reach (M, 3: whole, sleeve, leg),
        skirt, coat, bag, open_front, lowered, face, whites, beard, cropped, ears, locks, streaks, ends, glasses, mask, sockets (M,),
        chest (M,), colours (M, R, 2, 3), pattern (M, R), period (M, R), shift (M, R) for R materials.
    """

    bones: np.ndarray
    girth: np.ndarray
    volume: np.ndarray
    tail: np.ndarray
    bun: np.ndarray
    brim: np.ndarray
    looseness: np.ndarray
    reach: np.ndarray
    chest: np.ndarray
    colours: np.ndarray
    pattern: np.ndarray
    period: np.ndarray
    shift: np.ndarray
    skirt: np.ndarray
    coat: np.ndarray
    bag: np.ndarray
    open_front: np.ndarray
    lowered: np.ndarray
    face: np.ndarray
    whites: np.ndarray
    beard: np.ndarray
    cropped: np.ndarray
    ears: np.ndarray
    locks: np.ndarray
    streaks: np.ndarray
    ends: np.ndarray
    glasses: np.ndarray
    mask: np.ndarray
    sockets: np.ndarray

    @staticmethod
    def of(people: list[Person]) -> People:
        """Stack people."""
        outfits = [person.outfit for person in people]
        colours = np.array([o.colours for o in outfits])
        for row, o in enumerate(outfits):
            if o.brim:  # under a cap, the hair's solid is the cap
                colours[row, MATERIALS.index("hair")] = o.colours[MATERIALS.index("hat")]
        return People(
            bones=np.array([p.bones for p in people]),
            girth=np.array([p.girth for p in people]),
            volume=np.array([o.volume for o in outfits]),
            tail=np.array([o.tail for o in outfits]),
            bun=np.array([o.bun for o in outfits]),
            brim=np.array([o.brim for o in outfits]),
            looseness=np.array([o.looseness for o in outfits]),
            reach=np.array([[9.0, o.sleeve, o.leg] for o in outfits], dtype=np.float32),
            chest=np.array([o.chest for o in outfits]),
            colours=colours.astype(np.float32),
            pattern=np.array([o.pattern for o in outfits]).astype(np.int8),
            period=np.array([o.period for o in outfits], dtype=np.float32),
            shift=np.array([o.shift for o in outfits], dtype=np.float32),
            **{name: np.array([getattr(o, name) for o in outfits]) for name in _SIZES},
            **{name: np.array([getattr(o, name) for o in outfits], dtype=np.float32) for name in _PAINTS},
        )

    def __len__(self) -> int:
        return len(self.bones)


@dataclass(frozen=True)
class Solids:
    """The solids of N posed bodies; any world or camera frame.

    Attributes:
        centre: (N, P, 3) of the first ball, metres.
        frame: (N, P, 3, 3) rows are the solid's x (front), y (left) and z (along) axes.
        scale: (N, P, 3) metres per unit of q.
        length, first, second: (N, P) length and radii of the round cone in q; a solid with first = 0 is absent.
    """

    centre: np.ndarray
    frame: np.ndarray
    scale: np.ndarray
    length: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def moved(self, rotation: np.ndarray, translation: np.ndarray) -> Solids:
        """Seen from another frame: x' = rotation x + translation; (N, 3, 3), (N, 3)."""
        turned = self.frame @ rotation.swapaxes(-1, -2)[:, None]
        centre = self.centre @ rotation.swapaxes(-1, -2) + translation[:, None]
        return Solids(centre, turned, self.scale, self.length, self.first, self.second)


def _frame(along: np.ndarray, front: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rows x, y, z: z along, x as near to front as can be."""
    z = unit(along)
    x = front - (front * z).sum(-1, keepdims=True) * z
    # A front that points along z leaves no direction: any other will do, the solids are nearly round about z.
    spare = np.roll(z, 1, axis=-1) * np.array([1.0, -1.0, 1.0])
    spare = spare - (spare * z).sum(-1, keepdims=True) * z
    x = unit(np.where((x * x).sum(-1, keepdims=True) > 1e-4, x, spare))
    return np.stack([x, np.cross(z, x), z], -2)


class _Builder:
    """Collects the solids of N bodies by name."""

    def __init__(self, count: int) -> None:
        shape = (count, len(SOLIDS))
        self.rows = {kind.name: row for row, kind in enumerate(SOLIDS)}
        self.solids = Solids(
            np.zeros((*shape, 3)), np.zeros((*shape, 3, 3)), np.ones((*shape, 3)), *(np.zeros(shape) for _ in range(3))
        )

    def cone(
        self, name: str, start: np.ndarray, end: np.ndarray, radii: tuple, front: np.ndarray, flat: object
    ) -> None:
        """A round cone from start to end (N, 3) with radii (N,) or numbers at both; `flat` its depth over its width."""
        row, s = self.rows[name], self.solids
        s.centre[:, row], s.frame[:, row] = start, _frame(end - start, front)
        s.length[:, row] = np.linalg.norm(end - start, axis=-1)
        s.scale[:, row, 0] = flat
        s.first[:, row], s.second[:, row] = radii

    def ball(
        self, name: str, centre: np.ndarray, frame: np.ndarray, radii: tuple, present: np.ndarray | bool = True
    ) -> None:
        """An ellipsoid with radii along the rows of frame (N, 3, 3)."""
        row, s = self.rows[name], self.solids
        s.centre[:, row], s.frame[:, row] = centre, frame
        for axis, radius in enumerate(radii):
            s.scale[:, row, axis] = np.maximum(radius, 1e-3)  # an absent solid has to have a size all the same
        s.first[:, row] = s.second[:, row] = np.where(present, 1.0, 0.0)


def _head_frame(j: dict[str, np.ndarray], chest_front: np.ndarray) -> np.ndarray:
    """(N, 3, 3) front, left, up of the head: the nose gives the front where it stands out, else the chest does."""
    up = unit(j["head"] - j["neck"])
    out = j["nose"] - j["neck"]
    out = out - (out * up).sum(-1, keepdims=True) * up
    clear = np.clip((np.linalg.norm(out, axis=-1, keepdims=True) - 0.015) / 0.02, 0.0, 1.0)
    return _frame(up, clear * unit(out) + (1.001 - clear) * chest_front)


def _foot_direction(hip: np.ndarray, knee: np.ndarray, ankle: np.ndarray, front: np.ndarray) -> np.ndarray:
    """(N, 3) where the toes point: square to the shin, ahead of the knee; level where the foot is on the floor."""
    shin, thigh = unit(ankle - knee), unit(knee - hip)

    def square(v: np.ndarray) -> np.ndarray:
        return v - (v * shin).sum(-1, keepdims=True) * shin

    toes = unit(square(thigh) + 0.3 * square(front) + 1e-6 * front)
    off_floor = np.clip((ankle[:, 2] - ANKLE_HEIGHT) / 0.15, 0.0, 1.0)
    toes[:, 2] *= off_floor
    return unit(toes)


def body_solids(people: People, index: np.ndarray, joints: np.ndarray) -> Solids:
    """The solids of bodies in poses.

    Args:
        people: M people.
        index: (N,) which of them is posed.
        joints: (N, 17, 3) world, z up, floor at 0, metres; bone lengths should be the person's.
    """
    build = _Builder(len(joints))
    j = {name: joints[:, row] for row, name in enumerate(H36M_17.joint_names)}
    g = {name: people.girth[index, column] for column, name in enumerate(GIRTHS)}
    hips_left = unit(j["left_hip"] - j["right_hip"])
    up = unit(j["spine"] - j["pelvis"])
    hip_front = unit(np.cross(hips_left, up))
    chest_left = unit(j["left_shoulder"] - j["right_shoulder"])
    chest_up = unit(j["neck"] - j["spine"])
    chest_front = unit(np.cross(chest_left, chest_up))
    depth = g["depth"]
    width = np.linalg.norm(j["left_hip"] - j["right_hip"], axis=-1) / 0.266
    build.ball("pelvis", j["pelvis"] + 0.02 * up, _frame(up, hip_front),
               (0.118 * depth, 0.168 * g["hips"] * width, 0.125 * g["hips"]))  # fmt: skip
    waist = 0.132 * g["trunk"]
    build.cone("abdomen", j["pelvis"] + 0.07 * up, j["spine"], (0.148 * g["trunk"], waist), hip_front + chest_front,
               0.72 * depth)  # fmt: skip
    build.cone("chest", j["spine"], j["neck"] - 0.1 * chest_up, (waist, 0.147 * g["trunk"]), chest_front, 0.72 * depth)
    inwards = 0.02 * chest_left
    build.cone("shoulders", j["left_shoulder"] - inwards, j["right_shoulder"] + inwards,
               (0.056 * g["trunk"], 0.056 * g["trunk"]), chest_up, 1.0)  # fmt: skip
    _build_head(build, people, index, j, chest_front, g["head"])
    for side in ("left", "right"):
        _build_arm(build, side, j, g["arm"], people.looseness[index, 0], people.reach[index, 1], chest_front)
        _build_leg(build, side, j, g["leg"], people.looseness[index, 1], people.reach[index, 2], hip_front)
    _build_over(build, people, index, j, g, hip_front, chest_front)
    return build.solids


def _build_over(
    build: _Builder,
    people: People,
    index: np.ndarray,
    j: dict[str, np.ndarray],
    g: dict[str, np.ndarray],
    hip_front: np.ndarray,
    chest_front: np.ndarray,
) -> None:
    """Skirts and coats: a cone from the waist to between the legs, as wide as the knees are apart; bags."""
    knees = (j["left_knee"] + j["right_knee"]) / 2
    apart = np.linalg.norm(j["left_knee"] - j["right_knee"], axis=-1)
    for name, size in (("skirt", people.skirt[index]), ("coat", people.coat[index])):
        hem = j["pelvis"] + np.clip(size, 0.2, None)[:, None] * (knees - j["pelvis"])
        wide = 0.135 * g["hips"] + 0.45 * np.minimum(apart, 0.6) * np.clip(size, 0.2, 1.0)
        waist = np.where(size > 0, 0.165 * g["hips"], 0.0)
        # The ball at the hem would hang below it.
        build.cone(name, j["pelvis"] + 0.06 * unit(j["spine"] - j["pelvis"]), hem, (waist, np.minimum(wide, 0.3)),
                   hip_front, 0.8)  # fmt: skip
    size = people.bag[index]
    middle = (j["neck"] + j["spine"]) / 2 - (0.17 * g["trunk"] * size)[:, None] * chest_front
    frame = _frame(j["neck"] - j["spine"], chest_front)
    build.ball("bag", middle, frame, (0.1 * size, 0.15 * size, 0.2 * size), size > 0)


def _build_head(
    build: _Builder, people: People, index: np.ndarray, j: dict[str, np.ndarray], front: np.ndarray, size: np.ndarray
) -> None:
    frame = _head_frame(j, front)
    x, z = frame[:, 0], frame[:, 2]
    r = size[:, None]
    skull = (j["nose"] + j["head"]) / 2 - 0.012 * x - (0.008 + people.lowered[index])[:, None] * z
    build.cone("neck", j["neck"] - 0.04 * z, skull - 0.05 * z, (0.062 * size, 0.056 * size), x, 1.0)
    build.ball("skull", skull, frame, (0.1 * size, 0.08 * size, 0.122 * size))
    build.ball("nose", skull + (0.1 * x - 0.018 * z) * r, frame, (0.02 * size, 0.015 * size, 0.024 * size))
    volume, tail = people.volume[index] * size, people.tail[index]
    build.ball("hair", skull + (-0.024 * x + 0.026 * z) * r, frame,
               (0.1 * volume, 0.09 * volume, 0.112 * volume), volume > 0)  # fmt: skip
    top = skull - 0.055 * x * r
    longer = np.maximum(tail - 0.26, 0.0)  # than anybody's in the benchmark: it lies on the back, and spreads
    end = top - tail[:, None] * z - (0.02 + 0.3 * longer)[:, None] * x
    build.cone("tail", top, end, (np.where(tail > 0, 0.075 * size, 0.0), 0.055 + 0.15 * longer), x, 0.7)
    bun = people.bun[index]
    build.ball("bun", skull + (-0.09 * x + 0.095 * z) * r, frame, (bun + 1e-3,) * 3, bun > 0)
    build.ball("brim", skull + (0.105 * x + 0.06 * z) * r, frame, (0.075, 0.075, 0.012), people.brim[index] > 0)
    ears, locks = people.ears[index], people.locks[index]
    for side, left in (("left", 1.0), ("right", -1.0)):
        y = left * frame[:, 1]
        build.ball(f"{side}_ear", skull + (0.083 * y - 0.012 * x - 0.01 * z) * r, frame,
                   (0.022 * ears, 0.011 * ears, 0.034 * ears), ears > 0)  # fmt: skip
        temple = skull + (0.066 * y - 0.01 * x + 0.05 * z) * r
        low = temple - np.maximum(locks, 0.05)[:, None] * z + (0.02 * y + 0.06 * x) * (locks / 0.3)[:, None]
        build.cone(f"{side}_lock", temple, low, (np.where(locks > 0, 0.036 * size, 0.0), 0.03), y, 0.7)


def _build_arm(
    build: _Builder,
    side: str,
    j: dict[str, np.ndarray],
    girth: np.ndarray,
    loose: np.ndarray,
    reach: np.ndarray,
    front: np.ndarray,
) -> None:
    shoulder, elbow, wrist = (j[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
    upper = np.where(reach > 0.3, loose, 1.0) * girth
    lower = np.where(reach > 1.5, 1.0 + 0.7 * (loose - 1.0), 1.0) * girth
    build.cone(f"{side}_upper_arm", shoulder, elbow, (0.056 * upper, 0.044 * upper), front, 1.0)
    build.cone(f"{side}_forearm", elbow, wrist, (0.045 * lower, 0.031 * lower), front, 1.0)
    along = unit(wrist - elbow)
    build.ball(f"{side}_hand", wrist + 0.07 * along, _frame(along, front), (0.032, 0.044, 0.09))


def _build_leg(
    build: _Builder,
    side: str,
    j: dict[str, np.ndarray],
    girth: np.ndarray,
    loose: np.ndarray,
    reach: np.ndarray,
    front: np.ndarray,
) -> None:
    hip, knee, ankle = (j[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
    upper = (1.0 + 0.4 * (loose - 1.0)) * girth
    lower = np.where(reach > 1.5, loose, 1.0) * girth
    build.cone(f"{side}_thigh", hip, knee, (0.092 * upper, 0.06 * upper), front, 1.0)
    build.cone(f"{side}_shin", knee, ankle, (0.058 * lower, 0.042 * lower), front, 1.0)
    toes = _foot_direction(hip, knee, ankle, front)
    shin = unit(ankle - knee)
    behind = -unit(toes - (toes * shin).sum(-1, keepdims=True) * shin)
    middle = knee + 0.33 * (ankle - knee) + 0.014 * behind
    build.ball(f"{side}_calf", middle, _frame(shin, front), (0.056 * girth, 0.053 * girth, 0.13))
    sole = _frame(toes, -shin)  # x is the foot's up
    low = ankle - 0.045 * sole[:, 0]
    build.cone(f"{side}_foot", low - 0.045 * toes, low + 0.145 * toes, (0.048, 0.04), sole[:, 0], 0.9)
