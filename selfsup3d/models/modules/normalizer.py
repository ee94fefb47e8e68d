"""From raw pixel keypoints to what a network sees, and back; statistics are buffers, so they live in the checkpoint.

Every mode starts alike. Pixels go to the plane z = 1 by K (without one, by the mean K of the training data). A pose is
then brought to *limb units*: the pelvis at the origin, the scale such that the least foreshortened limbs have their
usual length. That scale hardly depends on the side a person is seen from, which a turned and re-projected pose needs,
and any few limbs give it, so missing joints do not matter **[ours]**. In these units missing joints are filled by their
conditional mean under the training data's covariance; then the mode's own normalisation is applied:

    zscore    each coordinate minus its mean, by its standard deviation (Martinez et al. 2017)
    screen    half image widths from the principal point (VideoPose3D)
    head      pelvis at 0; the head is `length / distance` away on average, as if the pose, whose head is `length`
              away from the root, stood at `distance` in front of a camera of focal length 1 (Chen et al. 2019)
    centred   pelvis at 0, divided by the pose's own root mean square (RepNet, ElePose)
    moments   centroid at 0, divided by the standard deviation; both are features besides (PoseLifter)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from selfsup3d.geometry.camera import apply_intrinsics, normalize_pixels
from selfsup3d.structures.batch import TensorFields
from selfsup3d.structures.skeleton import NUM_JOINTS, joint_index

__all__ = ["Mode", "Normalized", "Normalizer", "fill_missing"]

Mode = Literal["zscore", "screen", "head", "centred", "moments"]

UNITS: dict[str, str] = {
    "zscore": "standard deviations",
    "screen": "half image widths",
    "head": "plane at z = 1 of the unit camera",
    "centred": "root mean squares of the pose",
    "moments": "standard deviations of the pose",
}

_PELVIS, _HEAD = joint_index("pelvis"), joint_index("head")

_SEGMENTS = tuple(
    (joint_index(a), joint_index(b))
    for a, b in (
        ("pelvis", "neck"),
        *(
            (f"{side}_{a}", f"{side}_{b}")
            for side in ("left", "right")
            for a, b in (("hip", "knee"), ("knee", "ankle"))
        ),
        *(
            (f"{side}_{a}", f"{side}_{b}")
            for side in ("left", "right")
            for a, b in (("shoulder", "elbow"), ("elbow", "wrist"))
        ),
    )
)
"""Segments whose projected lengths give the scale: rigid in every person, and long enough to bear noise."""

_KEYPOINT_NOISE = 0.01
"""Standard deviation, in limb units, that filling grants the joints it goes by."""


@dataclass(frozen=True)
class Normalized(TensorFields):
    """A normalised 2D pose. plane = values * scale + centre.

    Attributes:
        values: (..., 17, 2), every joint finite, missing ones filled.
        visible: (..., 17) 1 = seen, 0 = filled.
        centre: (..., 2) or (17, 2), plane z = 1.
        scale: (...) or (17, 2).
        extra: (..., 3) further features ("moments": centroid and standard deviation, standardised), else (..., 0).
        K: (..., 3, 3) the camera that was used.
    """

    values: Tensor
    visible: Tensor
    centre: Tensor
    scale: Tensor
    extra: Tensor
    K: Tensor

    @property
    def features(self) -> Tensor:
        """(..., 34 or 37) what a network sees."""
        return torch.cat((self.values.flatten(-2), self.extra), -1)

    @property
    def plane(self) -> Tensor:
        """(..., 17, 2) on the plane z = 1, missing joints filled."""
        return denormalize(self.values, self.centre, self.scale)


def denormalize(values: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Normalised (..., 17, 2) to the plane z = 1."""
    if scale.shape[-2:] == values.shape[-2:]:
        return values * scale + centre
    return values * scale[..., None, None] + centre[..., None, :]


class Normalizer(nn.Module):
    """Normalises 2D poses; `fit` first.

    Args:
        mode: see the module's docstring.
        distance, length: of the "head" mode.
    """

    limbs: Tensor
    mean: Tensor
    covariance: Tensor
    typical_scale: Tensor
    coordinate_mean: Tensor
    coordinate_std: Tensor
    moment_mean: Tensor
    moment_std: Tensor
    K: Tensor

    def __init__(self, mode: Mode, distance: float = 10.0, length: float = 1.0) -> None:
        super().__init__()
        if mode not in UNITS:
            raise ValueError(f"mode {mode!r}; expected one of {', '.join(UNITS)}")
        self.mode = mode
        self.distance, self.length = distance, length
        size = 2 * NUM_JOINTS
        self.register_buffer("limbs", torch.ones(len(_SEGMENTS)))  # usual lengths of the segments, limb units
        self.register_buffer("mean", torch.zeros(size))  # of a pose in limb units
        self.register_buffer("covariance", torch.eye(size))
        self.register_buffer("typical_scale", torch.ones(()))
        self.register_buffer("coordinate_mean", torch.zeros(NUM_JOINTS, 2))  # on the plane
        self.register_buffer("coordinate_std", torch.ones(NUM_JOINTS, 2))
        self.register_buffer("moment_mean", torch.zeros(3))
        self.register_buffer("moment_std", torch.ones(3))
        self.register_buffer("K", torch.tensor([[1145.0, 0.0, 500.0], [0.0, 1145.0, 500.0], [0.0, 0.0, 1.0]]))

    @property
    def unit(self) -> str:
        """Of the normalised values."""
        return UNITS[self.mode]

    # ---------------------------------------------------------------------------------------------------- statistics

    @torch.no_grad()
    def fit(self, joints: Tensor, confidence: Tensor | None = None, K: Tensor | None = None) -> None:
        """Take the statistics of training poses (N, 17, 2) px with confidence (N, 17) and K (N, 3, 3).

        Raises:
            ValueError: no pose has a visible pelvis and limb, so there is nothing to measure.
        """
        if K is not None:
            self.K.copy_(K.float().mean(0))
        seen = _visible(joints, confidence)
        plane = normalize_pixels(_zero(joints, seen), self._intrinsics(joints, K))
        usable = (seen[:, _PELVIS] > 0) & (_segment_seen(seen).sum(-1) >= 2)
        if not bool(usable.any()):
            raise ValueError("no training pose has a visible pelvis and two visible limbs")
        plane, seen = plane[usable], seen[usable]
        relative = _zero(plane - plane[:, _PELVIS, None], seen)
        self._fit_limbs(relative, seen)
        scale = self._limb_scale(relative, seen)
        self.typical_scale.copy_(scale.median())
        self._fit_covariance(relative / scale[:, None, None], seen)
        whole = self._fill(plane, seen)
        self.coordinate_mean.copy_(whole.mean(0))
        self.coordinate_std.copy_(whole.std(0).clamp(min=1e-6))
        moments = torch.cat(_moments(whole), -1)
        self.moment_mean.copy_(moments.mean(0))
        self.moment_std.copy_(moments.std(0).clamp(min=1e-6))

    def _fit_limbs(self, relative: Tensor, seen: Tensor) -> None:
        """Usual lengths: high quantiles of projected ones (foreshortening only shortens), in units of the head's
        mean distance from the root. Scale and lengths depend on each other, so they take turns."""
        lengths, present = _segment_lengths(relative), _segment_seen(seen)
        weights = seen[..., None].expand_as(relative)
        scale = ((relative.square() * weights).sum((-1, -2)) / seen.sum(-1).clamp(min=1)).sqrt().clamp(min=1e-6)
        for _ in range(5):
            for index in range(len(_SEGMENTS)):
                rows = present[:, index] > 0
                if bool(rows.any()):
                    ratio = (lengths[rows, index] / scale[rows])[: 1 << 20]
                    self.limbs[index] = ratio.quantile(0.9).clamp(min=1e-6)
            scale = self._limb_scale(relative, seen)
        head = seen[:, _HEAD] > 0
        if bool(head.any()):
            unit = (relative[head, _HEAD].norm(dim=-1) / scale[head]).mean()
        else:
            unit = 1.55 * self.limbs[0]  # the head is that much further from the pelvis than the neck
        self.limbs /= unit

    def _fit_covariance(self, units: Tensor, seen: Tensor) -> None:
        """Mean and covariance over the joints that are there, kept positive definite."""
        weights = seen[..., None].expand_as(units).flatten(1)
        values = units.flatten(1)
        mean = (values * weights).sum(0) / weights.sum(0).clamp(min=1)
        deviation = (values - mean) * weights
        pairs = (weights.T @ weights).clamp(min=1)
        eigenvalues, vectors = torch.linalg.eigh(((deviation.T @ deviation) / pairs).double())
        covariance = (vectors * eigenvalues.clamp(min=_KEYPOINT_NOISE**2)) @ vectors.T
        self.mean.copy_(mean)
        self.covariance.copy_(covariance)

    # ------------------------------------------------------------------------------------------------- normalisation

    def forward(self, joints: Tensor, confidence: Tensor | None = None, K: Tensor | None = None) -> Normalized:
        """Normalise keypoints.

        Args:
            joints: (..., 17, 2) px; whatever stands at a missing joint, NaN too, has no influence.
            confidence: (..., 17), 0 = missing; None = all that is finite is there.
            K: (..., 3, 3) px, or None.
        """
        joints = joints.float()
        seen = _visible(joints, confidence)
        K = self._intrinsics(joints, K)
        plane = self._fill(normalize_pixels(_zero(joints, seen), K), seen)
        extra = plane.new_zeros(*plane.shape[:-2], 0)
        if self.mode == "zscore":
            centre, scale = self.coordinate_mean, self.coordinate_std
            return Normalized((plane - centre) / scale, seen, centre, scale, extra, K)
        if self.mode == "screen":
            scale = (self.K[0, 2] / self.K[0, 0]).expand(plane.shape[:-2])
            centre = plane.new_zeros(*plane.shape[:-2], 2)
        elif self.mode == "moments":
            centre, deviation = _moments(plane)
            extra = (torch.cat((centre, deviation), -1) - self.moment_mean) / self.moment_std
            scale = deviation[..., 0]
        else:
            centre = plane[..., _PELVIS, :]
            relative = plane - centre[..., None, :]
            everything = torch.ones_like(seen)
            if self.mode == "head":
                scale = self._limb_scale(relative, everything) * (self.distance / self.length)
            else:
                scale = relative.square().mean((-1, -2)).sqrt().clamp(min=1e-6)
        values = (plane - centre[..., None, :]) / scale[..., None, None]
        return Normalized(values, seen, centre, scale, extra, K)

    def inverse(self, values: Tensor, like: Normalized) -> Tensor:
        """Normalised (..., 17, 2) back to px, with the centre, scale and camera of `like`."""
        return apply_intrinsics(denormalize(values, like.centre, like.scale), like.K)

    def _intrinsics(self, joints: Tensor, K: Tensor | None) -> Tensor:
        """(..., 3, 3) for joints (..., 17, 2); one K may serve a whole sequence."""
        K = self.K if K is None else K.to(joints.dtype)
        while 2 < K.dim() < joints.dim():
            K = K.unsqueeze(-3)
        return K.expand(*joints.shape[:-2], 3, 3)

    def _limb_scale(self, relative: Tensor, seen: Tensor) -> Tensor:
        """(...) plane lengths per limb unit: the mean of the two least foreshortened visible limbs."""
        ratio = _segment_lengths(relative) / self.limbs * _segment_seen(seen)
        best = ratio.topk(2, dim=-1).values
        count = (best > 0).sum(-1)
        scale = best.sum(-1) / count.clamp(min=1)
        return torch.where(count > 0, scale, self.typical_scale).clamp(min=1e-3 * self.typical_scale)

    def _fill(self, plane: Tensor, seen: Tensor) -> Tensor:
        """(..., 17, 2) with missing joints at their conditional mean given the others."""
        if bool((seen > 0).all()):
            return plane
        scale = self._limb_scale(plane, seen)[..., None, None]
        typical = self.mean.view(NUM_JOINTS, 2)
        offset = (plane - scale * typical) * seen[..., None]
        guess = offset.sum(-2) / seen.sum(-1, keepdim=True).clamp(min=1)
        known = seen[..., _PELVIS, None] > 0
        centre = torch.where(known, plane[..., _PELVIS, :], guess)[..., None, :]
        filled = fill_missing((plane - centre) / scale, seen, self.mean, self.covariance)
        return torch.where(seen[..., None] > 0, plane, filled * scale + centre)


def fill_missing(values: Tensor, seen: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Missing joints at their mean given the visible ones, under a Gaussian; visible ones unchanged.

    Args:
        values: (..., J, 2). seen: (..., J) 1 or 0. mean: (2J,). covariance: (2J, 2J) positive definite.

    Returns:
        (..., J, 2).
    """
    flat = values.reshape(-1, mean.numel())
    there = seen[..., None].expand_as(values).reshape(flat.shape)  # (N, 2J)
    partial = (there < 1).any(-1).nonzero()[:, 0]
    some, mask = flat[partial], there[partial]
    eye = torch.eye(mean.numel(), dtype=flat.dtype, device=flat.device)
    # Rows and columns of missing entries are cut out of the covariance and replaced by the identity's.
    system = mask[:, :, None] * covariance * mask[:, None, :] + (1 - mask)[:, :, None] * eye
    system = system + _KEYPOINT_NOISE**2 * eye
    weights = torch.linalg.solve(system, mask * (some - mean))
    expected = mean + (weights * mask) @ covariance
    filled = flat.index_copy(0, partial, torch.where(mask > 0, some, expected))
    return filled.view(values.shape)


def _visible(joints: Tensor, confidence: Tensor | None) -> Tensor:
    """(..., 17) 1 where a joint is finite and has confidence, else 0."""
    seen = torch.isfinite(joints).all(-1)
    if confidence is not None:
        seen = seen & (confidence.nan_to_num(0.0) > 0)
    return seen.float()


def _zero(joints: Tensor, seen: Tensor) -> Tensor:
    return torch.where(seen[..., None] > 0, joints, torch.zeros_like(joints))


def _segment_lengths(joints: Tensor) -> Tensor:
    starts, ends = zip(*_SEGMENTS, strict=True)
    return (joints[..., list(starts), :] - joints[..., list(ends), :]).norm(dim=-1)


def _segment_seen(seen: Tensor) -> Tensor:
    starts, ends = zip(*_SEGMENTS, strict=True)
    return seen[..., list(starts)] * seen[..., list(ends)]


def _moments(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Centroid (..., 2) and standard deviation (..., 1) of a pose."""
    centre = plane.mean(-2)
    spread = (plane - centre[..., None, :]).square().mean((-1, -2)).sqrt().clamp(min=1e-6)
    return centre, spread[..., None]
