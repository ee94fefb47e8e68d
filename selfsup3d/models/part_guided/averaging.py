"""Test-time averaging: one person read several times, mirrored and in other crops, under every left/right assignment.

Flip and multi-crop averaging are common in pose estimation (e.g. Chen et al. 2018, "Cascaded pyramid network"). What is
averaged here is not the decision: each prediction gives a pose for each of the four left/right assignments of legs and
arms and the logits of these, poses are averaged within an assignment and logits over all, so that two predictions that
disagree about a leg do not meet halfway **[ours]**. A video's path through the assignments needs the same four poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup3d.config.choices import Averaging
from selfsup3d.geometry.align import robust_root
from selfsup3d.geometry.camera import mirror_camera, normalize_pixels, project
from selfsup3d.geometry.fit import fit_keypoints
from selfsup3d.geometry.kinematics import mirror_joints
from selfsup3d.models.part_guided.encoder import Encoder, PoseCode
from selfsup3d.models.part_guided.left_right import assign_limbs
from selfsup3d.models.part_guided.localizer import crop_around, crop_images, into_image
from selfsup3d.models.part_guided.pose import BodyPose, mean_joints
from selfsup3d.structures.batch import TensorFields
from selfsup3d.structures.skeleton import H36M_17

__all__ = ["ASSIGNMENTS", "Reading", "averaged_reading"]

ASSIGNMENTS = ((False, False), (True, False), (False, True), (True, True))
"""Of legs and arms; the order of `Reading`'s second dimension."""

_CROP_FACTORS = (1.0, 0.9, 1.12)  # of the crop that the localizer finds
_FINE, _FINE_STEP = 4 / 3, 16
"""How much finer "mirror_fine" looks, and what that side, px, divides by **[ours]**. A face is a few pixels: people-v1 exchanges
left and right in .18 of frames of the whole-body real clips with mirror and in .13 with mirror_fine, synth-v1 in .20 and .23
(evaluate --dataset videos --reference FILE --averaging ...; assets/results/real_clips.md)."""

_FLIP = list(H36M_17.flip_order)


class Reads(Protocol):
    """What is needed of a network."""

    encoder: Encoder

    def pose(self, encoding: PoseCode, lengths: Tensor | None = None) -> BodyPose:
        """The pose of an encoding."""
        ...


@dataclass(frozen=True)
class Reading(TensorFields):
    """N people under A = 4 left/right assignments (`ASSIGNMENTS`), averaged over the predictions.

    Attributes:
        joints: (N, A, 17, 3) camera frame, metres. keypoints: (N, A, 17, 2) px of the image, the heat maps' means.
        log_probability: (N, A) of the assignments.
        entropy: (N, A, 17) of the heat maps, 1 = uniform.
        keypoint_gap: (N, A, 17) from each keypoint to the skeleton's joint in the image, in sides of the crop.
        depth_gap: (N, A, 17) metres between the depth maps' answer and the skeleton's.
        spread: (N, A, 17) metres, root mean square distance of the predictions from their mean, root-relative; 0 of a single one.
    """

    joints: Tensor
    keypoints: Tensor
    log_probability: Tensor
    entropy: Tensor
    keypoint_gap: Tensor
    depth_gap: Tensor
    spread: Tensor

    @classmethod
    def joined(cls, readings: Sequence[Reading]) -> Reading:
        """One reading of several in a row."""
        return cls(*(torch.cat([getattr(r, entry.name) for r in readings]) for entry in fields(cls)))

    def likeliest(self) -> Tensor:
        """(N,) index of the assignment that its logits ask for."""
        return self.log_probability.argmax(1)

    def at(self, assignment: Tensor) -> Reading:
        """The reading under one assignment (N,) each: every (N, A, ...) becomes (N, ...)."""
        return self.map(lambda t: t[torch.arange(len(t), device=t.device), assignment])


@torch.no_grad()
def averaged_reading(
    network: Reads,
    images: Tensor,
    K: Tensor,
    averaging: Averaging,
    lengths: Tensor | None = None,
    *,
    second_crop: bool = False,
    size: int | None = None,
) -> Reading:
    """Read people in square images seen by K (N, 3, 3), which is for images of `size` px a side.

    Args:
        images: (N, 3, S, S); crops are cut from them as they are, so larger ones show small people in more detail.
        averaging: "none" = one prediction; "mirror" = and one of the mirrored image; "mirror_crops" = both in three
            crops each; "mirror_fine" = "mirror", but for left and right, which a finer look at both tells.
        lengths: (N, 17) bone lengths where they are given.
        second_crop: read the crop around the keypoints of a first prediction, by the rule of the crops in training
            (`crop_around`), in place of the localizer's.
        size: px a side that the network reads; None = S.
    """
    N, size = len(images), size or images.shape[-1]
    factors = _CROP_FACTORS if averaging == "mirror_crops" else _CROP_FACTORS[:1]
    crop = _second_crop(network.encoder, images, K, size) if second_crop else None
    predictions = [_read(network, images, K, lengths, factors, size, crop)]
    fine = _fine_logits(network.encoder, images, K, size, crop) if averaging == "mirror_fine" else None
    if averaging != "none":
        still = torch.eye(3, device=K.device, dtype=K.dtype).expand(N, 3, 3)
        mirrored = mirror_camera(still, K.new_zeros(N, 3), K, size)[2]
        other = None if lengths is None else lengths[:, _FLIP]
        if crop is not None:
            crop = torch.cat([1.0 - crop[:, :1], crop[:, 1:]], 1)
        mirror_images = _read(network, images.flip(-1), mirrored, other, factors, size, crop)
        predictions.append(_unmirrored(mirror_images, size))
        if fine is not None:
            fine = (fine + _fine_logits(network.encoder, images.flip(-1), mirrored, size, crop)) / 2
    stacked = {name: torch.cat([p[name] for p in predictions]) for name in predictions[0]}  # (L, N, A, ...)
    mean = {name: mean_joints(value) if name == "joints" else value.mean(0) for name, value in stacked.items()}
    if fine is not None:
        mean["logits"] = fine
    relative = stacked["joints"] - stacked["joints"][..., :1, :]
    spread = (relative - relative.mean(0)).square().sum(-1).mean(0).sqrt()
    signs = mean["logits"].new_tensor([[1.0 if on else -1.0 for on in pair] for pair in ASSIGNMENTS])  # (A, 2)
    log_probability = F.logsigmoid(mean["logits"][:, None] * signs).sum(-1)
    kept = {name: mean[name] for name in ("joints", "keypoints", "entropy", "keypoint_gap", "depth_gap")}
    return Reading(**kept, log_probability=log_probability, spread=spread)


def _second_crop(encoder: Encoder, images: Tensor, K: Tensor, size: int) -> Tensor:
    """(N, 3) crops around the keypoints that are seen in the localizer's."""
    located = encoder.localizer(images.contiguous(memory_format=torch.channels_last))
    cropped = crop_images(images, located, side=size).contiguous(memory_format=torch.channels_last)
    return crop_around(into_image(encoder.observe(cropped, located, located, K).inside, located))


def _fine_logits(encoder: Encoder, images: Tensor, K: Tensor, size: int, located: Tensor | None) -> Tensor:
    """(N, 2) logits of the left/right assignment in crops that are finer than those of `size` px; K is of `size` px."""
    if located is None:
        located = encoder.localizer(images.contiguous(memory_format=torch.channels_last))
    side = round(_FINE * size / _FINE_STEP) * _FINE_STEP
    cropped = crop_images(images, located, side=side).contiguous(memory_format=torch.channels_last)
    scaled = K * K.new_tensor([side / size, side / size, 1.0])[:, None]
    return encoder.observe(cropped, located, located, scaled).assignment_logits


def _read(
    network: Reads,
    images: Tensor,
    K: Tensor,
    lengths: Tensor | None,
    factors: tuple[float, ...],
    size: int,
    located: Tensor | None,
) -> dict[str, Tensor]:
    """Every value (L, N, A, ...) of L crops, and the logits (L, N, 2)."""
    encoder = network.encoder
    N, A = len(images), len(ASSIGNMENTS)
    if located is None:
        located = encoder.localizer(images.contiguous(memory_format=torch.channels_last))
    assignment = torch.tensor(ASSIGNMENTS, device=images.device).repeat(N, 1)  # (N A, 2)
    parts = []
    for factor in factors:
        crop = torch.cat([located[:, :2], located[:, 2:] * factor], 1)
        cropped = crop_images(images, crop, side=size).contiguous(memory_format=torch.channels_last)
        observed = encoder.observe(cropped, crop, located, K)
        fourfold = observed.map(lambda t: t.repeat_interleave(A, 0))
        code = encoder.lift(fourfold, assignment)
        bones = None if lengths is None else lengths.repeat_interleave(A, 0)
        body = network.pose(code, bones)
        cells = observed.log_heat.shape[-1] * observed.log_heat.shape[-2]
        entropy = -(observed.log_heat.exp() * observed.log_heat).sum((2, 3)) / torch.tensor(float(cells)).log()
        depth = body.posed[..., 2].float()
        joints = body.joints.float()
        if encoder.pose_head == "keypoints":
            joints = _placed(body, code, joints, assign_limbs(entropy.repeat_interleave(A, 0), assignment))
        values = {
            "joints": joints,
            "keypoints": code.keypoints,
            "entropy": assign_limbs(entropy.repeat_interleave(A, 0), assignment),
            "keypoint_gap": (code.keypoints - project(joints, code.camera.K)).norm(dim=-1)
            / (2.0 * fourfold.crop[:, 2:] * observed.size),
            "depth_gap": (code.keypoint_depths - depth).abs(),
        }
        found = {name: value.view(N, A, *value.shape[1:]) for name, value in values.items()}
        parts.append({**found, "logits": observed.assignment_logits})
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def _placed(body: BodyPose, code: PoseCode, joints: Tensor, entropy: Tensor) -> Tensor:
    """The skeleton (N, 17, 3) where it re-projects best onto the keypoints, the sharper heat maps counting more.

    A head that reads keypoints alone is thrown off by a few that are far off, such as legs outside the image; a robust fit
    of the root is not, and the joints are fitted from there **[ours]**.
    """
    plane, weight = normalize_pixels(code.keypoints, code.camera.K), torch.exp(-3.0 * entropy)
    root = robust_root(body.posed.float(), plane, weight, joints[:, 0])
    return fit_keypoints(joints + (root - joints[:, 0])[:, None], plane, weight)


def _unmirrored(values: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """The same of the mirrored images, brought back: left is right, and the assignments stay what they are."""
    keypoints = values["keypoints"][..., _FLIP, :]
    return {
        "joints": mirror_joints(values["joints"], axis=0),
        "keypoints": torch.stack([size - keypoints[..., 0], keypoints[..., 1]], -1),
        **{name: values[name][..., _FLIP] for name in ("entropy", "keypoint_gap", "depth_gap")},
        "logits": values["logits"],
    }
