"""Keypoints as a camera sees them that looks at the person: what a lifter needs, and no more.

Where somebody stands in an image, how far away and how long the lens is, are told apart from the pose:

- With K, rays are rotated such that the middle of the person lies on the viewing axis (a *virtual camera*). Points on its
  plane z = 1, divided by their spread, are the network's input; the spread itself, which tells how strong perspective
  is, is a feature.
- Without K, pixels about the person's middle, divided by their spread; the feature says that nothing is known. No focal
  length is guessed to find the pose.

The image is rotated about the viewing axis besides, such that the trunk stands upright; where it is seen from its end,
the image's own up counts. How far is a feature. Poses are predicted in the axes of this camera and rotated back. Missing
joints are zeros with a flag **[ours]**.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from selfsup3d.geometry.camera import normalize_pixels
from selfsup3d.geometry.kinematics import mirror_joints
from selfsup3d.geometry.rotation import minimal_rotation, multiply, rotate
from selfsup3d.structures.batch import TensorFields
from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS, joint_index

__all__ = ["CHANNELS", "USUAL_SPREAD", "PersonView", "person_view"]

CHANNELS = 3 * NUM_JOINTS + 4
"""Features of a frame: coordinates, flags, spread, whether K is known, and the roll's cosine and sine."""

USUAL_SPREAD = 0.1
"""On the plane z = 1: a person some 4 m away."""

_UPRIGHT = 0.3
"""Weight of the image's own up beside the trunk's, in spreads; trunks are about 1 long."""

_SHOULDERS = [joint_index("left_shoulder"), joint_index("right_shoulder"), joint_index("neck")]
_HIPS = [joint_index("left_hip"), joint_index("right_hip"), joint_index("pelvis")]

_LARGEST = 6.0
"""Coordinates beyond so many spreads are cut to it: a joint of somebody who passes the camera."""


@dataclass(frozen=True)
class PersonView(TensorFields):
    """Windows of T frames in the virtual camera.

    Attributes:
        values: (B, T, 17, 2) coordinates in spreads, zero where missing.
        visible: (B, T, 17) 1 or 0.
        virtual: (B, 3, 3) real camera -> virtual camera; the identity where K is unknown.
        roll: (B, 3, 3) virtual camera -> the same with the trunk upright, the axes of `values`.
        scale: (B,) the spread: on the plane z = 1 where K is known, else px.
        known: (B,) 1 where K is known.
    """

    values: Tensor
    visible: Tensor
    virtual: Tensor
    roll: Tensor
    scale: Tensor
    known: Tensor

    @property
    def rotation(self) -> Tensor:
        """(B, 3, 3) real camera -> the axes of `values`."""
        return multiply(self.roll, self.virtual)

    def mirrored(self) -> PersonView:
        """The mirrored person in the mirrored image."""
        sign = self.roll.new_tensor([-1.0, 1.0, 1.0])
        return replace(
            self,
            values=mirror_joints(self.values, axis=0),
            visible=self.visible[..., list(H36M_17.flip_order)],
            virtual=sign[:, None] * self.virtual * sign,
            roll=sign[:, None] * self.roll * sign,
        )

    @property
    def features(self) -> Tensor:
        """(B, T, CHANNELS)."""
        spread = torch.where(self.known > 0, (self.scale / USUAL_SPREAD).log(), torch.zeros_like(self.scale))
        whole = torch.stack((spread, self.known, self.roll[:, 0, 0], self.roll[:, 1, 0]), -1)
        whole = whole[:, None].expand(-1, self.values.shape[1], -1)
        return torch.cat((self.values.flatten(-2), self.visible, whole), -1)


def person_view(joints: Tensor, confidence: Tensor | None, K: Tensor | None, known: Tensor | None = None) -> PersonView:
    """Keypoints of windows in the virtual camera.

    Args:
        joints: (B, T, 17, 2) px; what stands at a missing joint has no influence. confidence: (B, T, 17), 0 = missing.
        K: (B, 3, 3) px, or None. known: (B,) bool, K may be used; None = wherever it is given.
    """
    joints = joints.float()
    seen = torch.isfinite(joints).all(-1)
    if confidence is not None:
        seen = seen & (confidence.nan_to_num(0.0) > 0)
    visible = seen.float()
    pixels = torch.where(seen[..., None], joints, torch.zeros_like(joints))
    if K is None:
        known = torch.zeros(len(joints), dtype=torch.bool, device=joints.device)
        points, rotation = pixels, torch.eye(3, device=joints.device).expand(len(joints), 3, 3)
    else:
        if known is None:
            known = torch.ones(len(joints), dtype=torch.bool, device=joints.device)
        points, rotation = _turned(pixels, visible, K.float())
        points = torch.where(known[:, None, None, None], points, pixels)
        rotation = torch.where(known[:, None, None], rotation, torch.eye(3, device=joints.device))
    centre = torch.where(known[:, None], torch.zeros_like(points[:, 0, 0]), _middle(points, visible))
    offset = (points - centre[:, None, None]) * visible[..., None]
    scale = _spread(offset, visible)
    values = (offset / scale[:, None, None, None]).clamp(-_LARGEST, _LARGEST)
    roll = _roll(values, visible)
    values = torch.einsum("bij,btkj->btki", roll[:, :2, :2], values)
    return PersonView(values, visible, rotation, roll, scale, known.float())


def _roll(values: Tensor, visible: Tensor) -> Tensor:
    """(B, 3, 3) about the viewing axis: what stands the trunk of a window upright."""
    weight = visible[..., None]
    ends = []
    for members in (_SHOULDERS, _HIPS):
        seen = weight[:, :, members]
        ends.append((values[:, :, members] * seen).sum((1, 2)) / seen.sum((1, 2)).clamp(min=1.0))
    both = torch.stack([visible[:, :, members].amax((1, 2)) for members in (_SHOULDERS, _HIPS)]).amin(0)  # (B,)
    trunk = (ends[0] - ends[1]) * both[:, None]
    up = torch.nn.functional.normalize(trunk + values.new_tensor([0.0, -_UPRIGHT]), dim=-1)  # y points down
    x, y = up.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack((-y, x, zero, -x, -y, zero, zero, zero, one), -1).unflatten(-1, (3, 3))


def _turned(pixels: Tensor, visible: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Points on the plane z = 1 of the camera that looks at the window's middle, and the rotation to it."""
    rays = pad(normalize_pixels(pixels, K[:, None]), (0, 1), value=1.0)  # (B, T, 17, 3)
    middle = pad(_middle(rays[..., :2], visible), (0, 1), value=1.0)
    rotation = minimal_rotation(middle, torch.tensor([0.0, 0.0, 1.0], device=pixels.device).expand_as(middle))
    rays = rotate(rotation[:, None], rays)
    return rays[..., :2] / rays[..., 2:].clamp(min=0.1), rotation


def _middle(points: Tensor, visible: Tensor) -> Tensor:
    """(B, 2) mean of the visible joints of a window."""
    weight = visible[..., None]
    return (points * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1.0)


def _spread(points: Tensor, visible: Tensor) -> Tensor:
    """(B,) root mean square distance of visible joints from the middle of their own frame; positive."""
    weight = visible[..., None]
    count = weight.sum(2, keepdim=True).clamp(min=1.0)
    own = (points - (points * weight).sum(2, keepdim=True) / count) * weight
    total = visible.sum((1, 2)).clamp(min=1.0)
    spread = (own.square().sum((1, 2, 3)) / total).sqrt()
    return torch.where(spread > 1e-6, spread, torch.ones_like(spread))
