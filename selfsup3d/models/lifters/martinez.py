"""The supervised baseline: a residual network on standardised coordinates (Martinez et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.config.lifters import MartinezConfig
from selfsup3d.models.lifters.base import Lifter
from selfsup3d.models.modules.mlp import ResidualMLP
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.models.modules.poses import PoseScaler, labelled_poses
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.skeleton import NUM_JOINTS, joint_index

__all__ = ["Martinez"]

_SEEN = tuple(j for j in range(NUM_JOINTS) if j != joint_index("nose"))
"""The 16 input joints: the paper's detector has no nose."""


class Martinez(Lifter):
    """32 -> width, residual blocks of two, -> 48; mean squared error of standardised coordinates.

    Args:
        settings: `max_norm` is a true max-norm of every weight matrix (see `modules.mlp.MaxNormLinear`).
    """

    requires = ("joints_2d", "joints_3d")
    unit = "m"

    def __init__(self, settings: MartinezConfig) -> None:
        super().__init__(Normalizer("zscore"))
        self.scaler = PoseScaler()
        self.network = ResidualMLP(
            2 * len(_SEEN),
            3 * (NUM_JOINTS - 1),
            settings.width,
            settings.blocks,
            norm="batch",
            dropout=settings.dropout,
            max_norm=settings.max_norm,
        )

    def fit_poses(self, batches: list[Batch]) -> None:
        """Mean and standard deviation of the labels."""
        self.scaler.fit(labelled_poses(batches))

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) metres."""
        return self.scaler.inverse(self._standardised(observed))

    def _standardised(self, observed: Normalized) -> Tensor:
        return self.network(observed.values[:, list(_SEEN)].flatten(1))

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Mean squared error; samples and joints without labels (NaN) count as 0."""
        assert batch.joints_3d is not None
        target = self.scaler(batch.joints_3d)
        known = torch.isfinite(target)
        error = (self._standardised(self.observe(batch)) - torch.where(known, target, 0.0)) * known
        return {"mse": error.square().mean()}
