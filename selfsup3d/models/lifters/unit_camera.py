"""Lifters that place each keypoint on its ray: depths in front of a camera of focal length 1 at a fixed distance."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from selfsup3d.geometry.camera import inverse_unit_pinhole, unit_pinhole
from selfsup3d.models.lifters.base import Lifter
from selfsup3d.models.modules.facing import Handedness
from selfsup3d.models.modules.normalizer import Normalized, Normalizer

__all__ = ["UnitCameraLifter"]


class UnitCameraLifter(Lifter):
    """Depth offsets about the root; the pose is back-projected, so it re-projects to the keypoints exactly.

    Args:
        distance: of the root from the camera, in units of the pose.
        length: distance between head and root in these units, on average.
    """

    def __init__(self, distance: float, length: float = 1.0) -> None:
        super().__init__(Normalizer("head", distance, length))
        self.distance = distance
        self.handedness = Handedness()

    @abstractmethod
    def offsets(self, points: Tensor) -> Tensor:
        """(N, 17) depths relative to the root, of normalised keypoints (N, 17, 2)."""

    def scaled(self, points: Tensor) -> Tensor:
        """(..., 34) keypoints at the size of the pose, about 1, for networks."""
        return (points * self.distance).flatten(-2)

    def placed(self, points: Tensor, offsets: Tensor) -> Tensor:
        """(..., 17, 3) root-relative: keypoints pushed along their rays to distance + offset, at least 1."""
        return inverse_unit_pinhole(points, (self.distance + offsets).clamp(min=1.0) - self.distance, self.distance)

    def lifted(self, points: Tensor) -> Tensor:
        """(N, 17, 3) root-relative poses of normalised keypoints."""
        return self.placed(points, self.offsets(points))

    def project(self, joints: Tensor) -> Tensor:
        """(..., 17, 3) root-relative -> (..., 17, 2)."""
        return unit_pinhole(joints, self.distance)

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3), mirrored in depth if the whole model turned out so."""
        return self.placed(observed.values, self.handedness.sign * self.offsets(observed.values))
