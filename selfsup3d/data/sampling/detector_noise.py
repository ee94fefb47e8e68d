"""Keypoints as a person detector marks them: its own skeleton, its own errors.

Detectors trained on COCO (and BlazePose) mark no spine, no top of the head and no neck, and a nose on the face; our
tables put the neck and the pelvis in the middle of shoulders and hips (`structures.skeleton.FOREIGN`). Errors are told
in torso lengths, the unit of detectors' own metrics. Most of an error lasts: an ankle that is marked too high is marked
too high in the next frame as well. The rest is jitter.

How much differs between joints follows the spread between COCO's annotators (hips 0.107, knees 0.087, ankles 0.089,
shoulders 0.079, elbows 0.072, wrists 0.062, nose 0.026 of a person's size), wrists and ankles raised, which detectors lose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup3d.data.sampling.keypoint_noise import LIMBS
from selfsup3d.geometry.rotation import axis_angle_to_matrix, rotate, unit
from selfsup3d.structures.device_random import DeviceDraws
from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS, joint_index

__all__ = ["DETECTOR_CONDITIONS", "TORSO", "DetectorModel"]

TORSO = 0.5
"""Metres that a torso length stands for."""

_PELVIS, _SPINE, _NECK, _NOSE, _HEAD = (joint_index(n) for n in ("pelvis", "spine", "neck", "nose", "head"))
_HIPS = [joint_index("left_hip"), joint_index("right_hip")]
_SHOULDERS = [joint_index("left_shoulder"), joint_index("right_shoulder")]
_ARMS = [joint_index(f"{side}_{name}") for name in ("elbow", "wrist") for side in ("left", "right")]
_LEGS = [joint_index(f"{side}_{name}") for name in ("knee", "ankle") for side in ("left", "right")]

_SPREAD = {"hip": 1.1, "knee": 0.95, "ankle": 1.1, "shoulder": 0.85, "elbow": 0.95, "wrist": 1.1, "nose": 0.6}
"""Each joint's error relative to the mean over joints; joints that are not named: 1."""

_LASTING = 0.8
"""Share of an error's variance that stays the same over a sequence."""

_FACE_FORWARD, _FACE_UP, _FACE_YAW = 0.11, 0.2, 25.0
"""The nose lies 11 cm before the upper neck, a fifth of the way up to the head's top; heads turn by 25 degrees [ours]."""


@dataclass(frozen=True)
class DetectorModel:
    """What a detector's keypoints differ by from projected joints.

    Attributes:
        error: mean distance from the truth, torso lengths; heavy-tailed (Student's t with 3 degrees of freedom).
        clean: share of samples without any error; the others' level lies between 0 and twice `error`, or at `error`
            itself where `clean` is 0.
        skeleton: share of samples with a detector's skeleton: spine and head absent, neck and pelvis mid-points, the
            nose on the face. The truth then is the point that is marked.
        trunk: in other samples, probability of spine, nose and head each to be absent.
        missing: share of joints that are not found, each by itself.
        limbs: probability of each arm and leg to be hidden from knee or elbow on.
        swaps: probability of the legs, and of the arms, to be taken for each other (half of the time for all frames,
            else for some).
    """

    error: float = 0.0
    clean: float = 0.0
    skeleton: float = 1.0
    trunk: float = 0.0
    missing: float = 0.0
    limbs: float = 0.0
    swaps: float = 0.0

    def marked(self, joints: Tensor, streams: DeviceDraws) -> tuple[Tensor, Tensor]:
        """The points that are marked.

        Args:
            joints: (B, T, 17, 3) metres. streams: of these samples.

        Returns:
            joints with neck and nose moved where the skeleton is a detector's, and (B,) bool, where it is.
        """
        ours = streams.uniform() >= self.skeleton
        yaw = streams.normal() * math.radians(_FACE_YAW)
        middle = joints[:, :, _SHOULDERS].mean(2)
        up = joints[:, :, _HEAD] - joints[:, :, _NOSE]
        across = joints[:, :, _SHOULDERS[0]] - joints[:, :, _SHOULDERS[1]]
        axis = unit(up)
        ahead = rotate(
            axis_angle_to_matrix(axis * yaw[:, None, None]), unit(torch.linalg.cross(across, up))[..., None, :]
        )
        face = joints[:, :, _NOSE] + _FACE_UP * up + _FACE_FORWARD * ahead[..., 0, :]
        moved = joints.clone()
        moved[:, :, _NECK], moved[:, :, _NOSE] = middle, face
        return torch.where(ours[:, None, None, None], joints, moved), ~ours

    def __call__(self, joints: Tensor, detected: Tensor, torso: Tensor, streams: DeviceDraws) -> tuple[Tensor, Tensor]:
        """Observed keypoints.

        Args:
            joints: (B, T, 17, 2) px. detected: (B,) bool, the skeleton is a detector's. torso: (B,) px that 0.5 m at the
                person's distance take up. streams: of these samples.

        Returns:
            joints (B, T, 17, 2), NaN where missing, and confidence (B, T, 17) 1 or 0.
        """
        frames = joints.shape[1]
        observed = joints + self._errors(frames, streams) * torso[:, None, None, None]
        observed = self._swapped(observed, streams)
        for middle, pair in ((_PELVIS, _HIPS), (_NECK, _SHOULDERS)):
            between = observed[:, :, pair].mean(2)
            observed[:, :, middle] = torch.where(detected[:, None, None], between, observed[:, :, middle])
        found = (streams.uniform(frames, NUM_JOINTS) >= self.missing).float()
        hidden = streams.uniform(len(LIMBS)) < self.limbs
        absent = streams.uniform(3) < self.trunk
        for limb, members in enumerate(LIMBS):
            found[:, :, list(members)] *= (~hidden[:, limb, None, None]).float()
        for column, joint in enumerate((_SPINE, _NOSE, _HEAD)):
            gone = torch.where(detected, torch.full_like(detected, joint != _NOSE), absent[:, column])
            found[:, :, joint] *= (~gone[:, None]).float()
        for middle, pair in ((_PELVIS, _HIPS), (_NECK, _SHOULDERS)):
            both = found[:, :, pair].amin(2)
            found[:, :, middle] = torch.where(detected[:, None], both, found[:, :, middle])
        return torch.where(found[..., None] > 0, observed, torch.full_like(observed, torch.nan)), found

    def _errors(self, frames: int, streams: DeviceDraws) -> Tensor:
        """(B, T, 17, 2) torso lengths."""
        level, noisy = streams.uniform(), streams.uniform() >= self.clean
        lasting, jitter = _student(streams, 1), _student(streams, frames)
        # the mean distance of the sum of both, in units of the standard deviation of one coordinate
        size = self.error / _MEAN_DISTANCE * (2.0 * level * noisy if self.clean > 0 else torch.ones_like(level))
        spread = torch.tensor([_SPREAD.get(name.split("_")[-1], 1.0) for name in H36M_17.joint_names]).to(level)
        errors = math.sqrt(_LASTING) * lasting + math.sqrt(1.0 - _LASTING) * jitter
        return errors * spread[:, None] * size[:, None, None, None]

    def _swapped(self, joints: Tensor, streams: DeviceDraws) -> Tensor:
        """Legs, or arms, taken for each other."""
        u = streams.uniform(2, 4)
        order = list(H36M_17.flip_order)
        where = torch.linspace(0.0, 1.0, joints.shape[1], device=joints.device)
        for row, limb in enumerate((_LEGS, _ARMS)):
            begin, length = u[:, row, 1, None], torch.where(u[:, row, 2] < 0.5, 2.0, 0.3 * u[:, row, 3])[:, None]
            during = (where >= begin * (length < 1.0)) & (where < begin * (length < 1.0) + length)  # (B, T)
            swap = (u[:, row, 0, None] < self.swaps) & during
            other = joints[:, :, [order[j] for j in limb]]
            joints[:, :, limb] = torch.where(swap[..., None, None], other, joints[:, :, limb])
        return joints


DETECTOR_CONDITIONS = {
    "detector_joints": DetectorModel(),
    "detector": DetectorModel(error=0.12),
}
"""Named conditions that weights are measured under: a detector's joints, true and with BlazePose's usual error."""

_LARGEST = 6.0
"""Errors beyond so many standard deviations are cut to it."""

_MEAN_DISTANCE = 1.03
"""Mean length of a pair of the errors below, lasting and jitter together; measured, a test measures it again."""


def _student(streams: DeviceDraws, frames: int) -> Tensor:
    """(B, frames, 17, 2) Student's t with 3 degrees of freedom, divided by its standard deviation; a joint's frames share
    one width."""
    normal = streams.normal(frames, NUM_JOINTS, 2)
    chi = streams.normal(1, NUM_JOINTS, 3).square().sum(-1).clamp(min=0.05)
    return (normal * chi.rsqrt()[..., None]).clamp(-_LARGEST, _LARGEST)  # t / sqrt(3), the deviation of t with 3
