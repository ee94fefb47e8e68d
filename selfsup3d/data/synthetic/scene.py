"""One clip of synth-v1 before it is drawn: who, where, how it moves, and every camera of every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfsup3d.data.priors.camera_prior import CameraRanges, look_at, pinhole
from selfsup3d.data.synthetic.background import Background, make_background
from selfsup3d.data.synthetic.body import Person, make_person
from selfsup3d.data.synthetic.captured import CapturedMotion, captured_motion
from selfsup3d.data.synthetic.motion import Motion, make_motion
from selfsup3d.data.synthetic.render import Cameras
from selfsup3d.data.synthetic.spec import Code, Preset, clip_length, code

__all__ = ["DONORS", "Scene", "Transfer", "make_scene", "motion_of", "transfers"]

MAIN_AZIMUTH = -90.0
"""Degrees: the main camera of every clip looks along the stage's +y (paths are drawn for that)."""

DONORS = 4
"""Clips that lend their poses to a clip's transfer targets."""


@dataclass(frozen=True)
class Scene:
    """A clip of T frames.

    Attributes:
        split, clip: where it stands in the specification.
        person, background, motion: what is seen.
        joints: (T, 17, 3) float64 world, metres: the motion by this person.
        camera, second: T cameras each; the second sees the same instant from elsewhere.
        static: the camera stands still.
    """

    split: str
    clip: int
    person: Person
    background: Background
    motion: Motion | CapturedMotion
    joints: np.ndarray
    camera: Cameras
    second: Cameras
    static: bool

    def __len__(self) -> int:
        return len(self.joints)


def _cameras(
    draw: Code, size: int, frames: int, azimuth: float, moving: bool, open_floor: bool, ranges: CameraRanges
) -> Cameras:
    """T cameras of a clip around the stage; one and the same unless moving."""
    elevation, view = draw.uniform(*ranges.elevation), draw.uniform(*ranges.field_of_view)
    visible, aim = draw.uniform(*ranges.visible_height), draw.uniform(*ranges.aim_height)
    target = np.tile([draw.uniform(-0.06, 0.06), draw.uniform(-0.06, 0.06), aim], (frames, 1))
    turns = np.full(frames, azimuth)
    orbit, phase, sway = draw.uniform(-35.0, 35.0), draw.uniform(0.0, 2 * np.pi), draw.uniform(0.05, 0.2)
    if moving:
        share = np.linspace(-0.5, 0.5, frames)
        turns = turns + orbit * share
        target[:, 0] += sway * np.sin(2 * np.pi * share + phase)
        target[:, 2] += 0.3 * sway * np.sin(3 * np.pi * share + 2 * phase)
    distance = np.full(frames, visible / (2.0 * np.tan(np.deg2rad(view) / 2.0)))
    lowest = -np.inf if open_floor else ranges.lowest_eye
    rotation, translation = look_at(target, turns, np.full(frames, elevation), distance, lowest)
    return Cameras(pinhole(size, np.full(frames, view)), rotation, translation)


def motion_of(preset: Preset, split: str, clip: int) -> Motion | CapturedMotion:
    """How the person of a clip moves."""
    if preset.mocap is not None:
        return captured_motion(preset.mocap, split, clip)
    return make_motion(Code(code(split, "motion", clip)), clip_length(preset, split, clip))


def make_scene(preset: Preset, split: str, clip: int, size: int) -> Scene:
    """The scene of a clip, cameras in pixels of an image `size` wide."""
    namespace = preset.namespace(split)
    person = make_person(code(namespace, "person", clip))
    background = make_background(code(namespace, "background", clip))
    motion = motion_of(preset, split, clip)
    joints = motion.joints(person.bones)
    frames = len(joints)
    draw = Code(code(namespace, "camera", clip))
    moving = draw.chance(preset.moving_cameras)
    no_floor = background.kind == "backdrop"
    ranges = CameraRanges()
    camera = _cameras(draw, size, frames, MAIN_AZIMUTH, moving, no_floor, ranges)
    apart = draw.uniform(40.0, 320.0)
    second = _cameras(draw, size, frames, MAIN_AZIMUTH + apart, False, no_floor, ranges)
    return Scene(split, clip, person, background, motion, joints, camera, second, not moving)


@dataclass(frozen=True)
class Transfer:
    """For each of T frames, another person's pose taken over: joints (T, 17, 3) of this body, world; donor clip, frame."""

    joints: np.ndarray
    clip: np.ndarray
    frame: np.ndarray


def transfers(preset: Preset, scene: Scene) -> Transfer:
    """Poses of other clips of the split, put where the person of the scene stands at each frame.

    Args:
        preset: that the scene is part of.
        scene: of at least two clips in its split.
    """
    draw = Code(code(preset.namespace(scene.split), "pairing", scene.clip))
    draw.unit()  # the clip's length
    clips = preset.clips(scene.split)
    donors = [(scene.clip + 1 + draw.integer(clips - 1)) % clips for _ in range(DONORS)]
    poses = [motion_of(preset, scene.split, donor).joints(scene.person.bones) for donor in donors]
    which = np.array([draw.integer(DONORS) for _ in range(len(scene))])
    frame = np.array([draw.integer(len(poses[w])) for w in which])
    joints = np.stack([poses[w][f] for w, f in zip(which, frame, strict=True)])
    joints[..., :2] += (scene.joints[:, 0] - joints[:, 0])[:, None, :2]
    return Transfer(joints, np.array(donors)[which], frame)
