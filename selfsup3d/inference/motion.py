"""A motion to drive a synthesised person with: body poses and how the camera sees them, from any source.

    images, folders, videos    predicted (`seen_motion`)
    poses.npz                    what selfsup3d predict wrote
    motion capture               our npz of 17 joints, .bvh, .amc, .c3d
    keypoints (.json)            lifted to 3D first

Motion capture has no camera: it is seen by a level one that the person faces in the first frame **[ours]**.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsup3d.config.choices import WindowMode
from selfsup3d.data.mocap.convert import MocapOptions, read_recording, summary
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import orbit_rotation
from selfsup3d.geometry.kinematics import LocalPose, forward_kinematics, inverse_kinematics
from selfsup3d.inference.predictor import Predictor, frames_of
from selfsup3d.inference.records import PoseRecord, load_record
from selfsup3d.inference.smoothing import OneEuro
from selfsup3d.inference.timeline import USUAL_FPS, steady_motion
from selfsup3d.inference.windows import WindowOptions, find_windows
from selfsup3d.io.images import is_image
from selfsup3d.io.limits import open_npz
from selfsup3d.io.video import video_info
from selfsup3d.structures.batch import TensorFields

__all__ = [
    "MOCAP_SUFFIXES",
    "Motion",
    "load_motion",
    "motion_of_record",
    "motion_of_world",
    "seen_motion",
    "with_bones",
]

MOCAP_SUFFIXES = (".bvh", ".amc", ".c3d")


@dataclass(frozen=True)
class Motion(TensorFields):
    """T poses.

    Attributes:
        canonical: (T, 17, 3) body frame, metres.
        rotation: (T, 3, 3) body -> camera.
        translation: (T, 3) pelvis in the camera frame, metres; None = not known, the synthesised person's is kept.
        drift: (T, 3) what is added to that place, camera frame, metres: people who crouch come down.
        fps: frames per second, 0 where unknown.
        taken: lines for people: what was read into the file (`mocap.convert.summary`) or made of it (`steady_motion`).
    """

    canonical: Tensor
    rotation: Tensor
    translation: Tensor | None = None
    drift: Tensor | None = None
    fps: float = 0.0
    taken: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.canonical)


def load_motion(
    path: str | Path,
    sequence: str | None = None,
    azimuth: float = 0.0,
    elevation: float = 0.0,
    options: MocapOptions | None = None,
    fps: float | None = None,
) -> Motion:
    """A motion from a file of 3D poses.

    Args:
        path: npz of predicted poses or of motion capture, .bvh, .amc or .c3d.
        sequence: name of the recording in a motion-capture npz; None = its first.
        azimuth, elevation: of the camera that sees motion capture, degrees; 0 = the person faces it at first.
        options: of .bvh, .amc and .c3d: joint table, unit, up axis, rate, where the file does not say them.
        fps: of predicted poses without times.

    Raises:
        InputError: missing, damaged, of an unknown kind; an unknown sequence.
    """
    path = Path(path)
    if path.suffix.lower() in MOCAP_SUFFIXES:
        recording = read_recording(path, options)
        x, y, z = np.moveaxis(recording.positions, -1, 0)  # y up
        motion = motion_of_world(np.stack([z, x, y], -1), recording.fps, azimuth, elevation, str(path))
        return replace(motion, taken=tuple(summary([recording])))
    if path.suffix.lower() != ".npz":
        raise InputError(f"{path}: not a file of poses; expected .npz, {', '.join(MOCAP_SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected predicted poses or motion capture")
    if "joints_3d" in _keys(path):
        return motion_of_record(replace(load_record(path), source=str(path)), fps)
    capture = load_mocap(path, "all")
    names = capture.names
    if sequence is not None and sequence not in names:
        raise InputError(f"{path}: no sequence {sequence!r}; it has {', '.join(names[:5])} ... ({len(names)})")
    chosen = 0 if sequence is None else names.index(sequence)
    positions = capture.positions[capture.sequence == chosen]
    return motion_of_world(positions, capture.fps, azimuth, elevation, str(path))


def _keys(path: Path) -> list[str]:
    try:
        with open_npz(path) as data:
            return list(data.files)
    except Exception as error:  # whatever numpy raises for a damaged file
        raise InputError(f"{path}: cannot be read as an npz without pickled objects ({error})") from error


def motion_of_record(record: PoseRecord, fps: float | None = None) -> Motion:
    """The motion of predicted poses (T, 17, 3), seen as they were predicted, at a steady rate: see `steady_motion`.

    Args:
        fps: of the source, where the record has no times.

    Raises:
        InputError: poses that have no body frame (bones of no length).
    """
    steady = steady_motion(record, fps)
    joints = torch.from_numpy(steady.joints).float()
    local = _local(joints - joints[:, :1], record.source)
    known = bool(np.isfinite(record.root).all()) and record.view == "crop" and record.unit == "m"
    return Motion(
        _canonical(local), local.rotation, joints[:, 0] if known else None, fps=steady.fps, taken=steady.notes
    )


def motion_of_world(
    positions: np.ndarray, fps: float, azimuth: float = 0.0, elevation: float = 0.0, source: str = "motion"
) -> Motion:
    """The motion of world joints (T, 17, 3), metres, z up; a level camera turns with nothing, but follows the pelvis.

    Args:
        positions: any place and heading. fps: of them.
        azimuth, elevation: of the camera round the first frame's heading, degrees.
        source: named in errors.
    """
    local = _local(torch.from_numpy(positions).float(), source)
    heading = math.atan2(float(local.rotation[0, 1, 0]), float(local.rotation[0, 0, 0]))
    camera = orbit_rotation(heading + math.radians(azimuth), math.radians(elevation))  # world -> camera
    rise = local.translation[:, 2] - local.translation[:, 2].quantile(0.9)
    drift = rise[:, None] * camera[:, 2]
    return Motion(_canonical(local), camera @ local.rotation, None, drift, fps)


def seen_motion(
    predictor: Predictor,
    path: str | Path,
    crop: WindowMode = "auto",
    every: int = 1,
    limit: int | None = None,
    smooth: bool = False,
    fps: float | None = None,
) -> Motion:
    """The motion that a system sees in an image, a folder of images or a video.

    Args:
        predictor: needs no parts.
        path: of the source. crop: how the person is found, see `windows.WindowOptions`.
        every: predict each n-th frame, at most `limit` of them. smooth: over time.
        fps: of the source, in place of its own times.

    Raises:
        InputError: see `predictor.frames_of` and `windows.find_windows`; nobody is found.
    """
    path = Path(path)
    video = path.is_file() and not is_image(path)
    rate = fps or (video_info(path).fps if video else 0.0)  # of the source
    windows = find_windows(path, WindowOptions(crop, frames=None if limit is None else limit * every))
    times: dict[int, float] = {}
    told: list[str] = []

    def images() -> Iterator[tuple[int, np.ndarray]]:
        for frame in frames_of(path, every, limit, told.append):
            times[frame.number] = frame.number / (rate or USUAL_FPS) if fps or math.isnan(frame.time) else frame.time
            yield frame.number, frame.image

    smoother = OneEuro((rate or USUAL_FPS) / every) if smooth else None
    frames = (frame.bare() for frame in predictor.stream(images(), windows, smoother, times=times))
    motion = motion_of_record(predictor.record(frames, (rate or USUAL_FPS) / every, str(path), times))
    if not rate:
        told.append(f"the source has no frame rate: {USUAL_FPS:g} frames/s are assumed (--fps)")
    return replace(motion, taken=(*told, *motion.taken))


def with_bones(joints: Tensor, lengths: Tensor) -> Tensor:
    """Poses (T, 17, 3) with other bone lengths (17,): the same limb directions on another body, the pelvis at 0."""
    local = inverse_kinematics(joints, recentre=True)
    moved = local._replace(bone_lengths=lengths.expand(len(joints), -1), translation=torch.zeros_like(joints[:, 0]))
    return moved.joints()


def _local(joints: Tensor, source: str) -> LocalPose:
    try:
        return inverse_kinematics(joints, recentre=True)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error


def _canonical(local: LocalPose) -> Tensor:
    return forward_kinematics(local.local_vectors, local.hip_angle, local.bone_lengths)
