"""The actions of the mannequins: ranges of joint angles for arms, legs and trunk, and what beats in time.

An action names alternatives for the two arms (leading side first; which side leads is drawn), the stance of the legs and
the trunk. A key pose draws one alternative of each and a value within every range, so that one action gives many poses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from selfsup3d.data.synthetic.chain import ANGLES, angle_index, limited
from selfsup3d.data.synthetic.spec import Code

__all__ = ["ACTIONS", "Action", "key_pose"]

_ARM = ("raise", "plane", "twist", "elbow")
_ARMS: dict[str, tuple[tuple[float, float], ...]] = {
    "hang": ((4, 16), (-20, 50), (-15, 25), (5, 30)),
    "front": ((70, 110), (70, 100), (-25, 25), (0, 30)),
    "side": ((65, 110), (-15, 25), (-40, 30), (0, 45)),
    "overhead": ((140, 172), (20, 75), (-30, 30), (0, 45)),
    "high_side": ((115, 145), (0, 45), (-40, 20), (5, 60)),
    "wave": ((60, 110), (0, 40), (-85, -55), (60, 115)),
    "on_hip": ((32, 50), (-25, 0), (55, 80), (90, 115)),
    "crossed": ((28, 45), (58, 85), (45, 70), (95, 118)),
    "to_head": ((55, 95), (45, 80), (-30, 10), (120, 142)),
    "behind": ((12, 32), (-80, -50), (50, 80), (55, 95)),
    "low_front": ((35, 65), (65, 95), (-10, 25), (0, 30)),
    "on_lap": ((25, 50), (60, 90), (0, 30), (40, 80)),
    "bent": ((5, 30), (20, 90), (-10, 35), (70, 110)),
    "guard": ((30, 60), (60, 95), (0, 40), (105, 138)),
    "across": ((60, 100), (95, 125), (-10, 30), (5, 50)),
    "back_low": ((20, 50), (-90, -55), (-20, 20), (0, 35)),
}

_LEG = ("hip_flex", "hip_out", "hip_turn", "knee")
_LEGS: dict[str, tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]] = {
    "stand": (((0, 6), (0, 8), (0, 15), (0, 10)), ((0, 6), (0, 8), (0, 15), (0, 10))),
    "relaxed": (((5, 22), (2, 14), (5, 30), (10, 40)), ((-4, 4), (0, 8), (0, 15), (0, 6))),
    "apart": (((0, 12), (14, 32), (5, 30), (0, 18)), ((0, 12), (14, 32), (5, 30), (0, 18))),
    "step": (((15, 38), (0, 8), (0, 12), (0, 25)), ((-22, -5), (0, 8), (0, 15), (5, 30))),
    "sit": (((78, 98), (0, 22), (-5, 20), (70, 105)), ((78, 98), (0, 22), (-5, 20), (60, 110))),
    "sit_crossed": (((92, 110), (-12, 4), (0, 30), (60, 95)), ((80, 95), (0, 14), (0, 15), (80, 100))),
    "squat": (((85, 122), (5, 28), (5, 35), (95, 138)), ((85, 122), (5, 28), (5, 35), (95, 138))),
    "half_squat": (((40, 75), (5, 25), (5, 30), (50, 95)), ((40, 75), (5, 25), (5, 30), (50, 95))),
    "lunge": (((55, 95), (0, 15), (0, 15), (60, 100)), ((-28, -5), (0, 12), (0, 12), (15, 60))),
    "side_lunge": (((45, 80), (20, 40), (10, 35), (60, 100)), ((5, 25), (28, 50), (0, 20), (0, 15))),
    "kneel": (((75, 100), (0, 18), (0, 15), (80, 105)), ((-10, 10), (0, 10), (-10, 15), (80, 105))),
    "kick": (((50, 100), (0, 30), (0, 20), (0, 45)), ((-8, 8), (0, 6), (0, 15), (0, 20))),
    "knee_up": (((60, 110), (0, 25), (0, 25), (60, 120)), ((-8, 5), (0, 6), (0, 15), (0, 15))),
    "leg_back": (((-28, -10), (0, 20), (0, 25), (5, 95)), ((0, 15), (0, 6), (0, 15), (0, 25))),
    "balance_side": (((0, 15), (28, 58), (0, 25), (0, 30)), ((0, 8), (0, 6), (0, 15), (0, 15))),
}

_TRUNK = ("pelvis_pitch", "spine_bend", "spine_side", "spine_turn")
_TRUNKS: dict[str, tuple[tuple[float, float], ...]] = {
    "upright": ((-4, 8), (-5, 12), (-5, 5), (-10, 10)),
    "twisted": ((-4, 10), (-5, 15), (-10, 10), (15, 44)),
    "sideways": ((-4, 8), (-5, 12), (14, 34), (-15, 15)),
    "leaning": ((10, 28), (8, 30), (-10, 10), (-18, 18)),
    "bent": ((25, 65), (15, 55), (-12, 12), (-20, 20)),
    "arched": ((-14, -2), (-26, -8), (-8, 8), (-15, 15)),
    "seated": ((-20, 5), (0, 30), (-8, 8), (-18, 18)),
    "crouched": ((12, 45), (5, 40), (-10, 10), (-20, 20)),
}

_UPRIGHT = ("upright",)
_STANDING = ("stand", "relaxed", "apart", "step")


@dataclass(frozen=True)
class Action:
    """One action.

    Attributes:
        name: kept as the label of the clip.
        arms: alternatives (leading arm, other arm).
        legs, trunk: alternatives.
        beat: degrees by which angles swing while the pose is held; names without a side mean the leading side.
        tempo: beats a second, lowest and highest.
        carried: the arms stay so while walking.
        turns: degrees that the person turns on the spot at each place, lowest and highest (sign drawn).
        hop: metres of the jumps in time with the beat.
    """

    name: str
    arms: tuple[tuple[str, str], ...]
    legs: tuple[str, ...] = _STANDING
    trunk: tuple[str, ...] = _UPRIGHT
    beat: dict[str, float] = field(default_factory=dict)
    tempo: tuple[float, float] = (0.8, 1.6)
    carried: bool = False
    turns: tuple[float, float] = (0.0, 0.0)
    hop: float = 0.0


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("walk", (("hang", "hang"), ("hang", "hang"), ("bent", "hang"), ("to_head", "hang"), ("bent", "bent"),
                        ("low_front", "low_front"), ("behind", "behind")), ("stand",), carried=True),
        Action("wave", (("wave", "hang"), ("wave", "on_hip"), ("high_side", "hang"), ("wave", "wave")), _STANDING,
               ("upright", "sideways"), {"twist": 25.0, "elbow": 22.0}, (1.0, 2.0)),
        Action("reach", (("front", "hang"), ("overhead", "hang"), ("across", "hang"), ("overhead", "overhead"),
                         ("front", "front"), ("high_side", "low_front")), (*_STANDING, "leg_back", "half_squat"),
               ("upright", "twisted", "sideways", "leaning")),
        Action("sit", (("on_lap", "on_lap"), ("bent", "on_lap"), ("to_head", "on_lap"), ("crossed", "crossed"),
                       ("front", "on_lap"), ("wave", "on_lap")), ("sit", "sit", "sit_crossed"), ("seated", "leaning")),
        Action("squat", (("front", "front"), ("low_front", "low_front"), ("crossed", "crossed"), ("bent", "bent")),
               ("squat", "half_squat"), ("crouched", "leaning")),
        Action("pick_up", (("front", "hang"), ("front", "front"), ("low_front", "on_hip")),
               ("stand", "half_squat", "step", "squat"), ("bent", "bent", "crouched")),
        Action("turn", (("hang", "hang"), ("side", "side"), ("bent", "bent"), ("on_hip", "hang")), _STANDING,
               ("upright", "twisted"), turns=(150.0, 400.0)),
        Action("stretch", (("overhead", "overhead"), ("side", "side"), ("overhead", "on_hip"), ("behind", "behind"),
                           ("high_side", "high_side")), ("apart", "stand", "side_lunge", "leg_back"),
               ("sideways", "arched", "twisted", "upright")),
        Action("lunge", (("front", "back_low"), ("side", "side"), ("on_hip", "on_hip"), ("overhead", "overhead")),
               ("lunge", "lunge", "side_lunge"), ("upright", "leaning", "twisted")),
        Action("kick", (("side", "front"), ("guard", "guard"), ("side", "side")), ("kick", "leg_back", "balance_side"),
               ("upright", "arched", "sideways", "leaning"), {"hip_flex": 20.0}, (0.6, 1.2)),
        Action("box", (("front", "guard"), ("guard", "guard"), ("across", "guard")), ("step", "step", "half_squat"),
               ("leaning", "twisted"), {"elbow": 40.0, "raise": 14.0}, (1.0, 1.8)),
        Action("march", (("front", "back_low"), ("guard", "hang"), ("bent", "bent")), ("knee_up",), _UPRIGHT,
               {"hip_flex": 25.0}, (0.7, 1.3)),
        Action("talk", (("bent", "hang"), ("bent", "bent"), ("low_front", "bent"), ("bent", "on_hip"),
                        ("crossed", "crossed")), _STANDING, ("upright", "leaning", "twisted"),
               {"elbow": 20.0, "twist": 15.0}, (0.5, 1.1)),
        Action("pose", (("on_hip", "on_hip"), ("crossed", "crossed"), ("on_hip", "hang"), ("behind", "behind"),
                        ("to_head", "on_hip")), _STANDING, ("upright", "sideways", "twisted")),
        Action("phone", (("to_head", "hang"), ("to_head", "bent"), ("to_head", "on_hip")), _STANDING,
               ("upright", "leaning"), carried=True),
        Action("kneel", (("bent", "hang"), ("low_front", "low_front"), ("front", "hang"), ("on_lap", "on_lap")),
               ("kneel",), ("upright", "leaning", "crouched")),
        Action("jump", (("overhead", "overhead"), ("side", "side"), ("high_side", "high_side")), ("apart", "half_squat"),
               _UPRIGHT, {"knee": 25.0, "raise": 35.0}, (0.9, 1.5), hop=0.12),
        Action("dance", (("overhead", "side"), ("wave", "front"), ("side", "across"), ("high_side", "back_low"),
                         ("bent", "wave"), ("guard", "overhead")), ("relaxed", "apart", "step", "knee_up",
               "balance_side", "half_squat"), ("sideways", "twisted", "arched", "leaning"),
               {"hip_out": 8.0, "elbow": 20.0, "spine_side": 8.0}, (1.0, 1.8)),
    )
}  # fmt: skip
"""All actions by name."""


def key_pose(code: Code, action: Action, lead: str) -> np.ndarray:
    """(D,) degrees: one pose of the action, within the joint limits.

    Args:
        code: what is drawn from.
        action: of `ACTIONS`.
        lead: "left" or "right".
    """
    other = "left" if lead == "right" else "right"
    angles = np.zeros(len(ANGLES))

    def draw(names: tuple[str, ...], ranges: tuple[tuple[float, float], ...], prefix: str = "") -> None:
        for name, (low, high) in zip(names, ranges, strict=True):
            angles[angle_index(prefix + name)] = code.uniform(low, high)

    arms, legs = code.pick(action.arms), _LEGS[code.pick(action.legs)]
    draw(_TRUNK, _TRUNKS[code.pick(action.trunk)])
    for side, arm, leg in ((lead, arms[0], legs[0]), (other, arms[1], legs[1])):
        draw(_ARM, _ARMS[arm], f"{side}_")
        draw(_LEG, leg, f"{side}_")
    if code.chance(0.5):  # trunks are written for one side
        angles[angle_index("spine_side")] *= -1
        angles[angle_index("spine_turn")] *= -1
    # The legs' ranges are counted from an upright pelvis, so a pelvis that tips forward bends the hips as much.
    for side in ("left", "right"):
        angles[angle_index(f"{side}_hip_flex")] += max(angles[angle_index("pelvis_pitch")], -10.0)
    draw(("pelvis_roll", "head_nod", "head_side", "head_turn"), ((-6, 6), (-15, 25), (-10, 10), (-45, 45)))
    return limited(angles)
