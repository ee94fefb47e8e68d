"""Procedural motion in the form of motion capture, for what trains on poses alone; nothing to download."""

from __future__ import annotations

from typing import Literal

import numpy as np

from selfsup3d.data.mocap.mocap import MotionCapture
from selfsup3d.data.synthetic.body import make_person
from selfsup3d.data.synthetic.motion import make_motion
from selfsup3d.data.synthetic.spec import Code, code

__all__ = ["procedural_capture"]


def procedural_capture(
    sequences: int, frames: int = 32, split: Literal["train", "val", "test"] = "train"
) -> MotionCapture:
    """Sequences of people of different builds, each person moving once.

    Args:
        sequences: how many.
        frames: of each, at about 7 a second.
        split: people and motions of different splits are disjoint; training takes those of the unpaired prior, which
            no image of the benchmark shows.
    """
    namespace = "prior" if split == "train" else split
    positions, actions = [], []
    for index in range(sequences):
        person = make_person(code(namespace, "person", index))
        motion = make_motion(Code(code(namespace, "motion", index)), frames)
        positions.append(motion.joints(person.bones).astype(np.float32))
        actions.append(motion.action)
    names = tuple(f"{namespace}-{index:05d}" for index in range(sequences))
    return MotionCapture(
        positions=np.concatenate(positions),
        sequence=np.repeat(np.arange(sequences), frames),
        names=names,
        subjects=names,
        actions=tuple(actions),
        fps=7.0,
    )
