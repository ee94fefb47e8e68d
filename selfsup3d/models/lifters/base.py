"""What all lifters share: keypoints in, normalised; statistics collected; a pose out, in a unit that is named."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from selfsup3d.errors import InputError
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.models.modules.pose_panels import lifted_panels
from selfsup3d.models.modules.poses import middle_frame
from selfsup3d.models.system import System, Update
from selfsup3d.structures.batch import Batch, PoseOutput, Unit

__all__ = ["Lifter", "mean_over_joints", "require_lifter"]


def mean_over_joints(values: Tensor, visible: Tensor) -> Tensor:
    """Mean of (..., J) over visible joints -> (...); 0 where none is visible."""
    return (values * visible).sum(-1) / visible.sum(-1).clamp(min=1.0)


def require_lifter(system: System, path: str = "") -> None:
    """Refuse what does not make poses of 2D keypoints alone (other heads than those of this folder may).

    Args:
        path: of its checkpoint, for the message.

    Raises:
        InputError: the system takes images, or at no keypoints.
    """
    if "target" in system.predict_requires or "joints_2d" not in system.predict_requires:
        place = f"{path}: " if path else ""
        raise InputError(f"{place}this system takes images; keypoints need a lifter (configs/lifters)")


class Lifter(System):
    """A system that lifts 2D keypoints.

    Subclasses say how (`lift`), and train by `losses`.

    Args:
        normalizer: of the keypoints; `fit` gives it its statistics.
    """

    requires: ClassVar[tuple[str, ...]] = ("joints_2d", "seeds")
    predict_requires: ClassVar[tuple[str, ...]] = ("joints_2d",)
    unit: ClassVar[Unit] = "relative"

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.normalizer = normalizer

    @abstractmethod
    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) root-relative poses in camera axes, in `unit`, of normalised keypoints (B, 17, 2)."""

    def observe(self, batch: Batch) -> Normalized:
        """The (middle frame's) keypoints, normalised; missing joints are filled."""
        batch = middle_frame(batch)
        assert batch.joints_2d is not None
        return self.normalizer(batch.joints_2d, batch.confidence, batch.K)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Statistics of the training keypoints, and whatever else a subclass takes (`fit_poses`)."""
        collected = [middle_frame(batch) for batch in batches]
        self.normalizer.fit(_joined(collected, "joints_2d"), _maybe(collected, "confidence"), _maybe(collected, "K"))
        self.fit_poses(collected)

    def fit_poses(self, batches: list[Batch]) -> None:
        """Further statistics (default: none)."""

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """All in one group, unless a subclass has several players."""
        return {"lifter": self.parameters()}

    def updates(self, step: int, progress: float) -> list[Update]:
        """One update, unless a subclass has several players."""
        return [Update("lifter", ("lifter",), "main")]

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1) -> PoseOutput:
        """Poses of the keypoints; lifters are deterministic, so one hypothesis."""
        batch.require(self.predict_requires, by=f"{type(self).__name__}.predict")
        with torch.autocast(self.normalizer.mean.device.type, enabled=False):
            pose = self.lift(self.observe(batch))
        return PoseOutput(pose=pose[:, None], unit=self.unit)

    @torch.no_grad()
    def panels(self, batch: Batch) -> dict[str, Tensor]:
        """The keypoints, and the lifted pose from two sides beside the truth."""
        return lifted_panels(batch, self.predict(batch).pose[:, 0])


def _joined(batches: list[Batch], field: str) -> Tensor:
    found = _maybe(batches, field)
    if found is None:
        batches[0].require((field,), by="fit")
        raise ValueError(f"some batches have no {field}")
    return found


def _maybe(batches: list[Batch], field: str) -> Tensor | None:
    values = [getattr(batch, field) for batch in batches]
    return None if any(value is None for value in values) else torch.cat(values)
