"""Procedural motion: a person walks about and acts, as joint angles, a path and a heading in time.

The stage: z up, metres, floor at 0, the middle of the path at (0, 0). The main camera of a clip looks along +y, so that
+x is sideways in its images; paths are widest in x, which lets a background be seen from behind the person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfsup3d.data.synthetic.actions import ACTIONS, Action, key_pose
from selfsup3d.data.synthetic.chain import ANGLES, BONES, angle_index, limited, pose_joints, stand_on_floor
from selfsup3d.data.synthetic.spec import Code

__all__ = ["Motion", "make_motion"]

WALK_SPEED = 0.6
"""Metres a second from which on the legs walk in full."""


@dataclass(frozen=True)
class Motion:
    """T frames of one person moving.

    Attributes:
        action: a key of `ACTIONS`.
        fps: frames per second.
        angles: (T, D) degrees within the joint limits.
        path: (T, 2) of the pelvis on the floor, metres.
        heading: (T,) direction that the body faces, degrees from +x towards +y.
        hop: (T,) metres above the floor.
    """

    action: str
    fps: float
    angles: np.ndarray
    path: np.ndarray
    heading: np.ndarray
    hop: np.ndarray

    def joints(self, bones: np.ndarray = BONES) -> np.ndarray:
        """(T, 17, 3) float64 joints on the stage, of a person with these (17,) bone lengths."""
        joints = pose_joints(self.angles, bones)
        angle = np.deg2rad(self.heading)
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        x, y = joints[..., 0], joints[..., 1]
        turned = np.stack([c * x - s * y, s * x + c * y, joints[..., 2]], -1)
        turned = stand_on_floor(turned)
        turned[..., :2] += self.path[:, None]
        turned[..., 2] += self.hop[:, None]
        return turned


def _eased(times: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Minimum-jerk interpolation of values (K, ...) at key times (K,), strictly rising; constant outside."""
    right = np.clip(np.searchsorted(keys, times, side="right"), 1, len(keys) - 1)
    left = right - 1
    u = np.clip((times - keys[left]) / (keys[right] - keys[left]), 0.0, 1.0)
    blend = u**3 * (10 - 15 * u + 6 * u**2)
    blend = blend.reshape(-1, *([1] * (values.ndim - 1)))
    return values[left] * (1 - blend) + values[right] * blend


@dataclass(frozen=True)
class _Travel:
    """Where the person is (T, 2), where it faces (T,) and how far it has walked (T,); `acting` (T,) in [0, 1]."""

    path: np.ndarray
    heading: np.ndarray
    walked: np.ndarray
    speed: np.ndarray
    acting: np.ndarray
    episodes: tuple[tuple[float, float], ...]


def _walked(path: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    steps = np.linalg.norm(np.diff(path, axis=0), axis=-1)
    walked = np.concatenate([[0.0], np.cumsum(steps)])
    return walked, np.gradient(walked, times) if len(times) > 1 else np.zeros(1)


def _round_trip(code: Code, times: np.ndarray) -> _Travel:
    """Walking all the time, along an ellipse or a figure of eight that is widest across the image."""
    wide, deep = code.uniform(0.42, 0.6), code.uniform(0.15, 0.42)
    speed, start = code.uniform(0.55, 0.85), code.uniform(0.0, 360.0)
    eight, sign = code.chance(0.3), 1 if code.chance(0.5) else -1
    dense = np.linspace(0, 4 * np.pi, 721) * sign + np.deg2rad(start)
    curve = np.stack([wide * np.cos(dense), deep * np.sin(dense * (2 if eight else 1))], -1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=-1))])
    at = np.mod(times * speed, length[-1] / 2)  # half of the dense curve is one round
    path = np.stack([np.interp(at, length, curve[:, i]) for i in range(2)], -1)
    ahead = np.stack([np.interp(at + 0.08, length, curve[:, i]) for i in range(2)], -1) - path
    heading = np.rad2deg(np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0])))
    constant = np.full(len(times), speed)
    return _Travel(path, heading, times * speed, constant, np.zeros(len(times)), ())


def _visits(code: Code, times: np.ndarray, action: Action) -> _Travel:
    """Going from place to place across the image, each place once, with an episode at each."""
    duration = float(times[-1] - times[0]) + 1e-3
    slots = (-0.46, 0.46) if duration < 3.2 else (-0.48, 0.0, 0.48)
    order = np.argsort([code.unit() for _ in slots])
    places = np.array([[slots[k] + code.uniform(-0.07, 0.07), code.uniform(-0.4, 0.4)] for k in order])
    count = len(slots)
    facing = np.array([code.uniform(0.0, 360.0) for _ in range(count)])
    legs = np.linalg.norm(np.diff(places, axis=0), axis=-1)
    transit = np.minimum(legs / code.uniform(0.7, 1.0), 0.7 * duration / count)
    shares = np.array([code.uniform(0.8, 1.2) for _ in range(count)])
    stay = (duration - transit.sum()) * shares / shares.sum()
    keys, turns, episodes, now = [], [], [], float(times[0])
    sidestep = code.chance(0.4)
    turn = code.uniform(*action.turns) * (1 if code.chance(0.5) else -1)
    angle = facing[0]
    for k in range(count):
        episodes.append((now, now + stay[k]))
        keys += [now, now + stay[k]]
        turns += [angle, angle + turn]
        angle += turn
        now += stay[k]
        if k < count - 1:
            if not sidestep:
                delta = places[k + 1] - places[k]
                angle += _shortest(np.rad2deg(np.arctan2(delta[1], delta[0])) - angle)
                keys.append(now + transit[k] / 2)
                turns.append(angle)
            angle += _shortest(facing[k + 1] - angle)
            now += transit[k]
    steps = np.concatenate([[0.0], np.cumsum(np.maximum(np.diff(keys), 1e-3))]) + keys[0]
    path = _along(times, episodes, places)
    heading = _eased(times, steps, np.array(turns))
    walked, speed = _walked(path, times)
    acting = 1.0 - np.clip(speed / WALK_SPEED, 0.0, 1.0)
    return _Travel(path, heading, walked, speed, acting, tuple(episodes))


def _along(times: np.ndarray, episodes: list[tuple[float, float]], places: np.ndarray) -> np.ndarray:
    """(T, 2) positions: still during episodes, eased in between."""
    keys = np.array([t for episode in episodes for t in episode])
    keys = keys + np.arange(len(keys)) * 1e-6  # strictly rising even where a stay is empty
    return _eased(times, keys, np.repeat(places, 2, axis=0))


def _shortest(degrees: float) -> float:
    """The same turn within [-180, 180)."""
    return (degrees + 180.0) % 360.0 - 180.0


def _gait(walked: np.ndarray, amount: np.ndarray, stride: float, phase: float) -> dict[str, np.ndarray]:
    """Degrees that walking adds, by angle name; `swing_*` is the forward swing of a hanging arm."""
    out: dict[str, np.ndarray] = {}
    cycle = 2 * np.pi * walked / stride + phase
    for side, offset in (("left", 0.0), ("right", np.pi)):
        angle = cycle + offset
        out[f"{side}_hip_flex"] = amount * (5.0 + 20.0 * np.cos(angle))
        out[f"{side}_knee"] = amount * (8.0 + 40.0 * np.clip(-np.sin(angle + 0.6), 0.0, None) ** 1.3)
        out[f"swing_{side}"] = -amount * 20.0 * np.cos(angle)
        out[f"{side}_elbow"] = amount * (8.0 - 10.0 * np.cos(angle))
    out["pelvis_turn"] = amount * -6.0 * np.cos(cycle)
    out["spine_turn"] = amount * 11.0 * np.cos(cycle)
    out["pelvis_roll"] = amount * 3.0 * np.sin(cycle)
    out["spine_bend"] = amount * 4.0
    return out


def _swing_arms(angles: np.ndarray, gait: dict[str, np.ndarray]) -> None:
    """Add the forward swing of the arms, in place: raise and plane are polar coordinates of (sideways, forward)."""
    for side in ("left", "right"):
        lift, plane = angle_index(f"{side}_raise"), angle_index(f"{side}_plane")
        direction = np.deg2rad(angles[:, plane])
        loose = np.clip(1.0 - angles[:, lift] / 60.0, 0.0, 1.0)  # only a hanging arm swings
        sideways = angles[:, lift] * np.cos(direction)
        forward = angles[:, lift] * np.sin(direction) + gait[f"swing_{side}"] * loose
        angles[:, lift] = np.hypot(sideways, forward)
        angles[:, plane] = np.rad2deg(np.arctan2(forward, np.maximum(sideways, 1e-6)))


def _sway(code: Code, times: np.ndarray) -> np.ndarray:
    """(T, D) slow small movements that nobody can help."""
    count = len(ANGLES)
    size, rate = code.uniforms(count, 0.5, 4.0), code.uniforms(count, 0.1, 0.55)
    phase = code.uniforms(count, 0.0, 2 * np.pi)
    return size * np.sin(2 * np.pi * rate * times[:, None] + phase)


def _acted(code: Code, times: np.ndarray, travel: _Travel, action: Action) -> tuple[np.ndarray, np.ndarray]:
    """(T, D) angles of the action's key poses with their beat, and (T,) hops."""
    lead = "left" if code.chance(0.5) else "right"
    rest = key_pose(code, ACTIONS["walk"], lead)
    rest_legs = [i for i, name in enumerate(ANGLES) if "hip_" in name or "knee" in name or "pelvis" in name]
    if action.carried:
        rest = key_pose(code, action, lead)
        rest[rest_legs] = 0.0
    keys, poses = [float(times[0]) - 1.0], [rest]
    for start, end in travel.episodes:
        first = key_pose(code, action, lead)
        second = key_pose(code, action, lead)
        mixed = first + code.uniform(0.3, 1.0) * (second - first)
        stay = end - start
        early = start == travel.episodes[0][0]  # the clip may open in the middle of an action
        keys += [start + (1e-3 if early else 0.25 * stay), start + 0.6 * stay, start + 0.85 * stay, end + 0.15]
        poses += [first, mixed, first, rest]
    keys.append(keys[-1] + 10.0)
    poses.append(rest)
    order = np.maximum.accumulate(np.array(keys) + np.arange(len(keys)) * 1e-4)
    angles = _eased(times, order, np.array(poses))
    tempo, phase = code.uniform(*action.tempo), code.uniform(0.0, 2 * np.pi)
    beat = np.sin(2 * np.pi * tempo * times + phase) * travel.acting
    for name, size in action.beat.items():
        sides: tuple[str, ...] = (f"{lead}_{name}",) if f"{lead}_{name}" in ANGLES else (name,)
        if action.hop and sides[0] != name:
            sides = tuple(f"{side}_{name}" for side in ("left", "right"))
        for column in sides:
            angles[:, angle_index(column)] += size * beat
    return angles, action.hop * np.clip(beat, 0.0, None)


def make_motion(code: Code, frames: int, action: str | None = None) -> Motion:
    """The motion that a code stands for.

    Args:
        code: a "motion" code.
        frames: T.
        action: a key of `ACTIONS`; None = drawn.
    """
    fps = code.uniform(6.0, 8.0)
    times = np.arange(frames) / fps
    drawn = code.pick(("walk", *ACTIONS), (4.0,) + (1.0,) * len(ACTIONS))
    chosen = ACTIONS[action or drawn]
    walking = chosen.name == "walk" or (chosen.carried and code.chance(0.5))
    travel = _round_trip(code, times) if walking else _visits(code, times, chosen)
    angles, hop = _acted(code, times, travel, chosen)
    amount = np.clip(travel.speed / WALK_SPEED, 0.0, 1.15)
    stride = code.uniform(0.85, 1.15)
    gait = _gait(travel.walked, amount, stride, code.uniform(0.0, 2 * np.pi))
    for name, added in gait.items():
        if not name.startswith("swing"):
            angles[:, angle_index(name)] += added
    angles += _sway(code, times)
    _swing_arms(angles, gait)
    return Motion(chosen.name, fps, limited(angles), travel.path, travel.heading, hop)
