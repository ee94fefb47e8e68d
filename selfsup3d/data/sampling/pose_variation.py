"""Other bodies and rarer poses of the same motion: bones of other lengths, limbs of another pose, bent trunks.

A calibrated camera in somebody's garden sees people whom no motion capture holds: hips marked wider apart, an arm where
nobody of the training set had it. All is done on bone vectors, so nothing comes apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup3d.geometry.kinematics import body_frame
from selfsup3d.geometry.rotation import axis_angle_to_matrix, rotate
from selfsup3d.structures.device_random import DeviceDraws
from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS, joint_index

__all__ = ["PoseVariation"]


def _joints(*names: str) -> list[int]:
    return [joint_index(name) for name in names]


_LIMBS = tuple(
    _joints(f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("knee", "ankle"), ("elbow", "wrist"))
)
"""Bones (by their child) of each limb, upper and lower."""

_UPPER_BODY = [j for j in range(NUM_JOINTS) if H36M_17.joint_names[j].split("_")[-1] not in ("hip", "knee", "ankle")]

_GROUPS = (
    _joints("left_hip", "right_hip"),
    _joints("left_knee", "right_knee"),
    _joints("left_ankle", "right_ankle"),
    _joints("spine", "neck"),
    _joints("nose"),
    _joints("head"),
    _joints("left_shoulder", "right_shoulder"),
    _joints("left_elbow", "right_elbow"),
    _joints("left_wrist", "right_wrist"),
)
"""Bones that are longer or shorter together."""

_HIPS = 0
"""Group of the hips. Motion capture has its hip joints 9 cm from the pelvis, Human3.6M 13 cm, detectors between."""


@dataclass(frozen=True)
class PoseVariation:
    """How training poses differ from the captured ones.

    The size of the whole body is left alone: a taller person farther away looks the same.

    Attributes:
        bones: standard deviation of the logarithm of bone lengths, left and right alike.
        hips: the hips are up to this share farther apart.
        limbs: probability of each arm and leg to be another pose's, as it lies in that body's frame.
        limb_angle: degrees; standard deviation of a rotation of each whole arm and leg.
        trunk_angle: degrees; standard deviation of a rotation of everything above the hips.
    """

    bones: float = 0.0
    hips: float = 0.0
    limbs: float = 0.0
    limb_angle: float = 0.0
    trunk_angle: float = 0.0

    def __call__(self, joints: Tensor, donors: Tensor, streams: DeviceDraws) -> Tensor:
        """Varied poses; each sample's window is varied as a whole, so motion stays smooth.

        Args:
            joints: (B, T, 17, 3) metres, any frame. donors: (B, T, 17, 3) another pose's, body frame.
            streams: of these samples.

        Returns:
            (B, T, 17, 3) with the pelvis of `joints`.
        """
        lengths, hips = streams.normal(len(_GROUPS)), streams.uniform()
        swapped = streams.uniform(len(_LIMBS)) < self.limbs  # (B, 4)
        turns = streams.normal(len(_LIMBS) + 1, 3)
        frame, _ = body_frame(joints)  # (B, T, 3, 3)
        bones = rotate(frame.transpose(-1, -2), _bones(joints))  # body frame, where all but the lengths is done
        other = _bones(donors)
        trunk = axis_angle_to_matrix(turns[:, -1] * math.radians(self.trunk_angle) / math.sqrt(3.0))  # (B, 3, 3)
        limbs = axis_angle_to_matrix(turns[:, :-1] * math.radians(self.limb_angle) / math.sqrt(3.0))  # (B, 4, 3, 3)
        for limb, members in enumerate(_LIMBS):
            own = torch.where(swapped[:, limb, None, None, None], other[:, :, members], bones[:, :, members])
            bones[:, :, members] = rotate(limbs[:, limb, None], own)
        bones[:, :, _UPPER_BODY] = rotate(trunk[:, None], bones[:, :, _UPPER_BODY])
        scale = torch.ones_like(bones[:, 0, :, 0])  # (B, 17)
        for group, members in enumerate(_GROUPS):
            factor = (self.bones * lengths[:, group]).exp()
            scale[:, members] = (factor * (1.0 + self.hips * hips) if group == _HIPS else factor)[:, None]
        return _chained(rotate(frame, bones * scale[:, None, :, None]), joints[:, :, :1])


def _bones(joints: Tensor) -> Tensor:
    """(..., 17, 3) each joint minus its parent; zero at the root."""
    parents = [max(parent, 0) for parent in H36M_17.parents]
    return joints - joints[..., parents, :]


def _chained(bones: Tensor, root: Tensor) -> Tensor:
    """(..., 17, 3) joints of bones and a root (..., 1, 3)."""
    joints = [root[..., 0, :]]
    for joint, parent in enumerate(H36M_17.parents[1:], start=1):
        joints.append(joints[parent] + bones[..., joint, :])
    return torch.stack(joints, -2)
