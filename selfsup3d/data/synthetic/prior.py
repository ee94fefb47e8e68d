"""Unpaired poses of the procedural prior: motions of a namespace of their own, which no split of synth-v1 shares."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.priors.camera_prior import UprightPoses
from selfsup3d.data.synthetic.body import make_person
from selfsup3d.data.synthetic.motion import make_motion
from selfsup3d.data.synthetic.spec import Code, code
from selfsup3d.geometry.kinematics import body_frame, canonicalize
from selfsup3d.structures.random import RandomStreams

__all__ = ["ProceduralPrior"]

FRAMES = 25
"""Poses taken from each motion, spread over its time."""


@lru_cache(maxsize=2)
def _bank(motions: int) -> tuple[Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Canonical joints (N, 17, 3), tilt (N, 3, 3), pelvis height (N,) and actions of all poses."""
    world, actions = [], []
    for index in range(motions):
        motion = make_motion(Code(code("prior", "motion", index)), FRAMES)
        world.append(motion.joints(make_person(code("prior", "person", index)).bones))
        actions += [motion.action] * FRAMES
    joints = torch.from_numpy(np.concatenate(world))
    rotation, _ = body_frame(joints)  # body -> world
    left = rotation[..., 1]
    yaw = torch.atan2(-left[:, 0], left[:, 1])  # the heading whose left is the body's left
    c, s, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    back = torch.stack([c, s, zero, -s, c, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    return canonicalize(joints).float(), (back @ rotation).float(), joints[:, 0, 2].float(), tuple(actions)


class ProceduralPrior:
    """Poses of people who are not in the benchmark, moving as its people move: the easiest prior there can be.

    The poses are made once per process, in about two seconds.

    Args:
        motions: number of motions, 25 poses each.
    """

    def __init__(self, motions: int = 800) -> None:
        self._joints, self._tilt, self._height, self.actions = _bank(motions)

    def __len__(self) -> int:
        return len(self._joints)

    @property
    def poses(self) -> np.ndarray:
        """(N, 17, 3) float32 all poses, body frame, metres."""
        return self._joints.numpy()

    def sample(self, streams: RandomStreams) -> Tensor:
        """(B, 17, 3) float32 poses in the body frame, metres; one draw a sample."""
        return self._joints[torch.from_numpy(streams.integers(len(self)))]

    def sample_upright(self, streams: RandomStreams) -> UprightPoses:
        """The same poses, with the lean of their trunk and the height of their pelvis; one draw a sample."""
        rows = torch.from_numpy(streams.integers(len(self)))
        return UprightPoses(self._joints[rows], self._tilt[rows], self._height[rows])
