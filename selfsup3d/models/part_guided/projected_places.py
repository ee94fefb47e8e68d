"""Known poses as the detector would report them: keypoints, depths and confidences, without an image.

What a pose head reads of keypoints can be had by the thousand where no image is rendered. The noise follows what the
detector's errors on rendered people were measured to be after 50,000 images, in sides of the crop: a joint whose heat map
peaks at c is off by about 0.007 / c, with tails twice as heavy as a normal distribution's. Joints outside the image are
reported too, since a heat map always has a peak: near the edge, unsurely.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup3d.models.part_guided.localizer import crop_around, into_crop, jittered
from selfsup3d.models.part_guided.pose import BodyPose
from selfsup3d.structures.batch import Camera, TensorFields
from selfsup3d.structures.random import gaussian_noise, uniform_noise
from selfsup3d.structures.skeleton import H36M_17

__all__ = ["Places", "other_views", "reported"]

_STREAMS = {"view": 11, "crop": 12, "confidence": 13, "place": 14, "depth": 15, "cut": 16}
_CONFIDENCE, _SPREAD = 0.22, (0.35, 0.45)  # typical peak; log-spread between people and between joints
_OFF = 0.006  # crop sides along each axis, times the confidence
_CUT = 0.2  # share of the people whose image ends at or above the feet, beyond those whose own does
_GUESSED, _ASTRAY = 0.35, 0.15  # of joints outside the image: factor of the peak, and further crop sides off
_FAR = torch.tensor([name.endswith(("wrist", "elbow")) for name in H36M_17.joint_names])


@dataclass(frozen=True)
class Places(TensorFields):
    """What a detector reports of N people: see `Encoder.pose_of_places`."""

    inside: Tensor
    depths: Tensor
    confidence: Tensor
    crop: Tensor


def other_views(pose: BodyPose, seeds: Tensor, views: int) -> BodyPose:
    """Each pose `views` times, the person turned about the trunk's axis by any angle."""
    angle = uniform_noise(seeds, (views,), _STREAMS["view"]).flatten() * (2.0 * torch.pi)
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).view(-1, 3, 3)
    many = pose.map(lambda values: values.repeat_interleave(views, 0))
    camera = Camera(many.camera.rotation @ turn, many.camera.translation, many.camera.K)
    return BodyPose(many.canonical, camera)


def reported(pose: BodyPose, size: float, seeds: Tensor, views: int) -> Places:
    """Noisy keypoints of N * views poses, `views` of them for each of the N seeds."""

    def noise(shape: tuple[int, ...], stream: str) -> Tensor:
        return gaussian_noise(seeds, (views, *shape), _STREAMS[stream]).flatten(0, 1)

    points = pose.pixels / size
    cut = uniform_noise(seeds, (views, 2), _STREAMS["cut"]).flatten(0, 1)
    low, high = points[..., 1].amin(1), points[..., 1].amax(1)
    edge = torch.where(cut[:, 0] < _CUT, low + (0.35 + 0.6 * cut[:, 1]) * (high - low), torch.inf).clamp(max=1.0)
    lowest = edge[:, None].expand(-1, points.shape[1])
    seen = ((points >= 0) & (points <= 1)).all(-1) & (points[..., 1] <= lowest)
    uniform = uniform_noise(seeds, (views, 3), _STREAMS["crop"]).flatten(0, 1)
    crop = jittered(crop_around(torch.stack([points[..., 0], points[..., 1].minimum(lowest)], -1)), uniform)
    spread = noise((18,), "confidence")
    log_confidence = _SPREAD[0] * spread[:, 17:] + _SPREAD[1] * spread[:, :17] - 0.3 * _FAR.to(points.device)
    confidence = (_CONFIDENCE * torch.where(seen, 1.0, _GUESSED) * log_confidence.exp()).clamp(0.02, 0.7)
    place = noise((17, 3), "place")
    off = _OFF / confidence * torch.exp(0.45 * place[..., 2]) + torch.where(seen, 0.0, _ASTRAY)
    inside = into_crop(points, crop).clamp(0.0, 1.0) + off[..., None] * place[..., :2]
    depth = noise((18,), "depth")
    share = (0.6 + 0.25 * depth[:, 17:]).clamp(0.1, 1.0)  # unsure depths are drawn to the middle
    depths = share * pose.posed[..., 2] + (0.25 * off + 0.08) * depth[:, :17]
    return Places(inside.clamp(0.0, 1.0), depths, confidence, crop)
