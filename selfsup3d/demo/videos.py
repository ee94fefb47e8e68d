"""What the page asks of a short video: the person in 3D, the video with the skeleton, and files. Knows nothing of the page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selfsup3d.demo.results import Results
from selfsup3d.errors import InputError
from selfsup3d.export.bvh import write_bvh
from selfsup3d.export.gltf import write_glb
from selfsup3d.export.rig import grounded
from selfsup3d.export.trc import write_trc
from selfsup3d.inference.clock import Clock
from selfsup3d.inference.detection import detect_people
from selfsup3d.inference.detectors.protocol import PoseDetector
from selfsup3d.inference.drawing import people_overlays
from selfsup3d.inference.ground import put_on_ground
from selfsup3d.inference.lifting import fill_gaps, lift_keypoints, smoothed
from selfsup3d.inference.records import PoseRecord
from selfsup3d.inference.smoothing import OneEuro
from selfsup3d.inference.timeline import USUAL_FPS, SteadyMotion, steady_motion
from selfsup3d.io.video import VideoFrame, read_timed_frames, video_info
from selfsup3d.models.system import System
from selfsup3d.structures.skeleton import H36M_17
from selfsup3d.viz.animation import write_animation
from selfsup3d.viz.colours import bone_colours

__all__ = ["MAX_SECONDS", "MAX_VIDEO_BYTES", "VIDEO_SUFFIXES", "VideoAnswers", "Watched"]

MAX_SECONDS = 20.0
MAX_VIDEO_BYTES = 40 * 2**20
VIDEO_SUFFIXES: tuple[str, ...] = (".mp4", ".mov", ".webm", ".mkv", ".avi")
"""Of a file's name; its beginning is checked too (`door`)."""

_MOST_FRAMES = 1300  # of 60 a second, in 20 s and a little
_MOST_PIXELS = 3840 * 2160
_FILLED = 0.3  # seconds of missing keypoints that are interpolated
_SHOWN = 720  # frames of the 3D view at most
_Y_UP = np.array([1.0, -1.0, -1.0])  # camera axes to those of animation files and back
_WRITERS: dict[str, Callable[[Path, PoseRecord, SteadyMotion], None]] = {
    "NPZ": lambda path, record, _: record.save(path),
    "BVH": lambda path, _, motion: write_bvh(path, motion.joints * _Y_UP, motion.fps),
    "GLB": lambda path, _, motion: write_glb(path, motion.joints * _Y_UP, motion.fps),
    "TRC": lambda path, _, motion: write_trc(path, motion.joints, motion.fps, motion.seen, motion.start),
}
"""Of a motion on the ground, y up."""


@dataclass(frozen=True)
class Watched:
    """All that is shown of a video.

    Attributes:
        motion: JSON for the canvas, see `motion_json`.
        overlay: H.264 video with the skeleton of the person.
        files: of the motion, in the order of `VideoAnswers.FILES`.
        lines: what was found, assumed and left out, as text.
    """

    motion: str
    overlay: Path
    files: tuple[Path, ...]
    lines: tuple[str, ...]


class VideoAnswers:
    """A detector, a lifter and a place for files.

    Args:
        detector: finds people; one video after the other.
        system: the lifter, in evaluation mode.
        folder: result files go there. detector_name, lifter_name: for the page.
    """

    FILES = tuple(_WRITERS)

    def __init__(
        self, detector: PoseDetector, system: System, folder: Path, detector_name: str, lifter_name: str
    ) -> None:
        self.detector, self.system, self.results = detector, system, Results(folder)
        self.facts = f"2D keypoints by {detector_name}, lifted to 3D by {lifter_name}"

    def watch(self, path: Path, name: str, page: str = "") -> Watched:
        """The person of whom most is seen in a video.

        Args:
            path: the uploaded file. name: what the person calls it. page: that asks.

        Raises:
            InputError: no video, one that is too long or too large, nobody in it, or the detector failed.
        """
        fps = self._checked(path, name)
        self.detector.restart()
        found = detect_people(_at_most(read_timed_frames(path), name), self.detector, Clock())
        if found.failure is not None:
            raise InputError(f"{name}: the detector stopped; try again, or another video")
        people, others = found.sequences()
        if not people:
            raise InputError(f"{name}: nobody is found in it; people should be seen whole, and not too small")
        keypoints = fill_gaps(people[0], round(_FILLED * (fps or USUAL_FPS)))
        known = np.array(sorted(found.times))
        times = np.interp(keypoints.frames, known, [found.times[int(k)] for k in known])
        record = lift_keypoints(self.system, keypoints, fps, None, name, times)
        record.refuse_nonfinite()
        record = smoothed(record, OneEuro(record.fps or USUAL_FPS))
        motion = _on_the_ground(steady_motion(record), record)
        place = self.results.place(page)
        overlay = place / "overlay.mp4"
        drawn = people_overlays(read_timed_frames(path, stop=len(found.times)), [record], panels=False)
        write_animation(overlay, drawn, fps or USUAL_FPS, [found.times[int(k)] for k in known])
        files = []
        for kind, write in _WRITERS.items():
            files.append(place / f"motion.{kind.lower()}")
            write(files[-1], record, motion)
        return Watched(
            motion_json(motion), overlay, tuple(files), _lines(record, len(found.times), len(people) - 1 + others)
        )

    @staticmethod
    def _checked(path: Path, name: str) -> float:
        """Frames per second, 0 where unknown."""
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise InputError(f"{name} is not a video that can be read: send an MP4, MOV, WebM, MKV or AVI file")
        if path.stat().st_size > MAX_VIDEO_BYTES:
            raise InputError(f"{name} is larger than {MAX_VIDEO_BYTES // 2**20} MB: make it smaller first")
        try:
            info = video_info(path)
        except InputError:
            raise InputError(f"{name} is damaged or cut off: send it again, or another video") from None
        if info.width * info.height > _MOST_PIXELS:
            raise InputError(f"{name} has {info.width} x {info.height} pixels; at most 4K is read")
        if info.fps and info.frames / info.fps > MAX_SECONDS + 0.5:
            raise InputError(
                f"{name} lasts {info.frames / info.fps:.0f} s; at most {MAX_SECONDS:.0f} s are looked at: cut it"
            )
        return info.fps


def _at_most(frames: Iterator[VideoFrame], name: str) -> Iterator[VideoFrame]:
    """The same frames; what a container claims of its length may be wrong.

    Raises:
        InputError: too many, or damaged ones.
    """
    for count, frame in enumerate(frames):
        if count >= _MOST_FRAMES or (math.isfinite(frame.time) and frame.time > MAX_SECONDS + 0.5):
            raise InputError(f"{name} lasts longer than {MAX_SECONDS:.0f} s: cut it")
        yield frame


def _on_the_ground(motion: SteadyMotion, record: PoseRecord) -> SteadyMotion:
    """The motion with y up and the floor at 0."""
    if np.isfinite(record.root).all():
        return replace(motion, joints=put_on_ground(motion.joints, motion.fps).joints)
    return replace(motion, joints=grounded(motion.joints, each_frame=True) * _Y_UP)


def motion_json(motion: SteadyMotion) -> str:
    """A motion on the ground, y up, for the canvas.

    Returns:
        JSON: motion as frames of joints [right, away, up] in metres, which the viewer follows (the pelvis stands over the
        middle), the frames' rate, the floor's height, bones as index pairs, a CSS colour for each bone.
    """
    every = max(1, math.ceil(len(motion) / _SHOWN))
    joints = motion.joints[::every]
    upright = np.stack([joints[..., 0], -joints[..., 2], joints[..., 1]], -1)
    upright[..., :2] -= upright[:, :1, :2]
    middle = float(np.median(upright[..., 2]))
    upright[..., 2] -= middle
    scene = {
        "motion": upright.round(3).tolist(),
        "floor": -middle,
        "fps": motion.fps / every,
        "bones": [list(bone) for bone in H36M_17.bones],
        "colours": [f"rgb({r}, {g}, {b})" for r, g, b in bone_colours(H36M_17)],
    }
    return json.dumps(scene, allow_nan=False)


def _lines(record: PoseRecord, frames: int, others: int) -> tuple[str, ...]:
    lines = [f"One person in {len(record)} of {frames} frames."]
    if others:
        lines.append(f"{others} other people are left out; selfsup3d predict writes all of them.")
    if record.focal_assumed and np.isfinite(record.root).any():
        lines.append("The camera's focal length is assumed: distances from it are right up to one factor.")
    return tuple(lines)
