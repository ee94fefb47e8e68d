"""synth-mocap: the mannequins of synth-v1 moved by real motion capture of people whose motion no training sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from selfsup3d.data.mocap.mocap import MotionCapture, load_mocap
from selfsup3d.data.synthetic.chain import BONES, clearance, retarget
from selfsup3d.data.synthetic.spec import Code, Preset, code
from selfsup3d.errors import InputError

__all__ = ["CapturedMotion", "captured_motion", "mocap_preset"]

FPS = 20.0 / 3.0
"""About the rate of the other clips."""

SHORTEST, LONGEST = 10, 24
"""Frames of a clip."""

CLIPS_A_SUBJECT = 14
"""At most; long recordings give no more than short ones."""

REACH = np.array([0.5, 0.38])
"""Metres that the path keeps to, across and along the view of the main camera."""


@dataclass(frozen=True)
class CapturedMotion:
    """T frames of captured motion.

    Attributes:
        action: as the recording names it.
        fps: frames per second.
        world: (T, 17, 3) metres, z up, as captured.
    """

    action: str
    fps: float
    world: np.ndarray

    def joints(self, bones: np.ndarray = BONES) -> np.ndarray:
        """(T, 17, 3) joints on the stage, of a person with these (17,) bone lengths.

        Directions of the bones are as captured. The path is moved to the stage's middle and, where it is too long for
        the image, shrunk; the lowest foot of the clip stands on the floor.
        """
        joints = retarget(self.world, bones)
        path = self.world[:, 0, :2].astype(np.float64)
        path = path - (path.min(0) + path.max(0)) / 2
        path *= min(1.0, float((REACH / np.maximum(np.abs(path).max(0), 1e-6)).min()))
        joints[..., :2] += (path - joints[:, 0, :2])[:, None]
        joints[..., 2] -= clearance(joints).min()
        return joints


def _windows(capture: MotionCapture) -> list[tuple[str, str, np.ndarray]]:
    """Subject, action and rows of every stretch that is long enough for a clip."""
    step = max(1, round(capture.fps / FPS))
    found = []
    for sequence in range(len(capture.names)):
        rows = np.flatnonzero(capture.sequence == sequence)[::step]
        for start in range(0, len(rows), LONGEST):
            piece = rows[start : start + LONGEST]
            if len(piece) >= SHORTEST:
                found.append((capture.subjects[sequence], capture.actions[sequence], piece))
    return found


def _spread(rows: Sequence[int], count: int) -> list[int]:
    """At most `count` of the rows, evenly spread."""
    if len(rows) <= count:
        return list(rows)
    return [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]


@lru_cache(maxsize=4)
def _motions(path: Path, split: str) -> tuple[CapturedMotion, ...]:
    if split not in ("val", "test"):
        raise InputError(f"synth-mocap has the splits val and test, not {split!r}")
    capture = load_mocap(path, split)  # type: ignore[arg-type]
    windows = _windows(capture)
    step = max(1, round(capture.fps / FPS))
    chosen = [
        row
        for subject in sorted(set(capture.subjects))
        for row in _spread([i for i, window in enumerate(windows) if window[0] == subject], CLIPS_A_SUBJECT)
    ]
    return tuple(
        CapturedMotion(windows[row][1], capture.fps / step, capture.positions[windows[row][2]]) for row in chosen
    )


def captured_motion(path: Path, split: str, clip: int) -> CapturedMotion:
    """The motion of a clip of synth-mocap, turned about the vertical by a drawn angle."""
    motion = _motions(path, split)[clip]
    angle = Code(code(f"mocap-{split}", "motion", clip)).uniform(0.0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    return replace(motion, world=motion.world @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]))


def mocap_preset(path: str | Path) -> Preset:
    """The preset `mocap`: val and test clips moved by the subjects of these splits (see `data.mocap`); no training.

    Args:
        path: npz in the format of `data.mocap`.

    Raises:
        InputError: the file cannot be used, or has no subject of either split.
    """
    path = Path(path).resolve()
    counts = {split: len(_motions(path, split)) for split in ("val", "test")}
    return Preset("mocap", train=0, **counts, shortest=SHORTEST, longest=LONGEST, mocap=path)
