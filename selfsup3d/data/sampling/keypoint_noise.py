"""What keypoint detectors do to true projections: noise, outliers, missing joints, and another joint convention."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup3d.structures.device_random import DeviceDraws
from selfsup3d.structures.skeleton import NUM_JOINTS, joint_index

__all__ = ["CONDITIONS", "LIMBS", "KeypointModel", "other_convention"]

LIMBS: tuple[tuple[int, ...], ...] = tuple(
    tuple(joint_index(f"{side}_{name}") for name in limb)
    for side in ("left", "right")
    for limb in (("knee", "ankle"), ("elbow", "wrist"))
)
"""Joints that go missing together when something hides a limb."""

_OUTLIER = 10.0
"""How much wider than ordinary noise an outlier's is."""


@dataclass(frozen=True)
class KeypointModel:
    """Imperfections of 2D keypoints.

    Attributes:
        sigma: px at an image width of 1000, standard deviation of Gaussian noise in x and in y.
        outliers: share of joints whose noise is ten times as wide (at least as if sigma were 1).
        missing: share of joints that are not found, each by itself.
        limbs: probability of each arm and leg to be hidden from knee or elbow on.
    """

    sigma: float = 0.0
    outliers: float = 0.0
    missing: float = 0.0
    limbs: float = 0.0

    def __call__(self, joints: Tensor, streams: DeviceDraws, width: float) -> tuple[Tensor, Tensor]:
        """Observed keypoints.

        Conditions share all draws that they make: the same joints are missing with and without noise. Clean keypoints
        (all attributes 0) need none, so draws that other things depend on must come first.

        Args:
            joints: (B, T, 17, 2) px. draws: of these samples. width: of the image, px.

        Returns:
            joints (B, T, 17, 2), NaN where missing, and confidence (B, T, 17) 1 or 0.
        """
        if self == KeypointModel():
            return joints, torch.ones_like(joints[..., 0])
        shape = joints.shape[1:]
        noise = streams.normal(*shape)
        wild = streams.uniform(*shape[:-1]) < self.outliers
        found = streams.uniform(*shape[:-1]) >= self.missing
        hidden = streams.uniform(len(LIMBS)) < self.limbs  # (B, 4), for the whole sequence
        pixel = width / 1000.0
        size = torch.where(wild, _OUTLIER * max(self.sigma, 1.0), self.sigma) * pixel
        observed = joints + noise * size[..., None]
        confidence = found.float()
        for limb, members in enumerate(LIMBS):
            confidence[:, :, list(members)] *= (~hidden[:, limb, None, None]).float()
        return torch.where(confidence[..., None] > 0, observed, torch.full_like(observed, torch.nan)), confidence


CONDITIONS = {
    "clean": KeypointModel(),
    "noisy": KeypointModel(sigma=5.0),
    "missing": KeypointModel(missing=0.1),
}
"""Named conditions that the same weights are measured under."""


def _convention() -> Tensor:
    """(17, 17) of a second keypoint source **[ours]**: annotators put hips and shoulders further in, the head's top
    lower and the ankles lower than markers do."""
    matrix = torch.eye(NUM_JOINTS)

    def move(joint: str, towards: str, share: float) -> None:
        row = torch.zeros(NUM_JOINTS)
        row[joint_index(joint)], row[joint_index(towards)] = 1 - share, share
        matrix[joint_index(joint)] = row

    for side in ("left", "right"):
        move(f"{side}_hip", "pelvis", 0.3)
        move(f"{side}_shoulder", "neck", 0.2)
        move(f"{side}_ankle", f"{side}_knee", -0.1)
    move("head", "nose", 0.3)
    return matrix


_CONVENTION = _convention()


def other_convention(joints: Tensor) -> Tensor:
    """Keypoints (..., 17, D) as another source would mark them (for domain adaptation)."""
    return torch.einsum("ij,...jd->...id", _CONVENTION.to(joints), joints)
