"""Poses from sequences of keypoints by dilated temporal convolutions (VideoPose3D, Pavllo et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup3d.config.lifters import TemporalConfig
from selfsup3d.geometry.kinematics import bone_lengths, mirror_joints
from selfsup3d.models import schedules
from selfsup3d.models.lifters.base import Lifter, mean_over_joints
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.models.modules.poses import labelled_poses, root_relative
from selfsup3d.structures.batch import Batch, PoseOutput
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["Temporal", "TemporalConvolution"]

_BONE_TOLERANCE = 0.1
"""Unlabelled people may differ from the mean skeleton by this share before their bones cost anything [ours]."""


class TemporalConvolution(nn.Module):
    """Convolutions over time whose dilation grows with every block, so `prod(widths)` frames are seen.

    A window of exactly that many frames takes strided convolutions, which compute the same middle frame without the
    positions that nobody asks for.

    Args:
        inputs, outputs: channels.
        widths: kernel sizes, odd.
        channels: of the hidden layers.
        dropout: after each hidden layer.
    """

    def __init__(
        self, inputs: int, outputs: int, widths: Sequence[int] = (3, 3, 3), channels: int = 1024, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.enter = nn.Conv1d(inputs, channels, widths[0], bias=False)
        self.spread = nn.ModuleList(nn.Conv1d(channels, channels, width, bias=False) for width in widths[1:])
        self.mix = nn.ModuleList(nn.Conv1d(channels, channels, 1, bias=False) for _ in widths[1:])
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(2 * len(widths) - 1))
        self.dropout = nn.Dropout(dropout)
        self.leave = nn.Conv1d(channels, outputs, 1)

    @property
    def frames(self) -> int:
        """Receptive field."""
        return math.prod(self.widths)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T) with T >= `frames` -> (B, outputs, T - frames + 1), float32."""
        if x.shape[-1] == self.frames:
            return self._middle(x)
        norms = iter(self.norms)
        x = self._activated(self.enter(x), next(norms))
        reach = self.widths[0]  # frames that one position has seen so far
        for spread, mix, width in zip(self.spread, self.mix, self.widths[1:], strict=True):
            half = width // 2
            kept = x[..., half * reach : x.shape[-1] - half * reach]
            x = F.conv1d(x, spread.weight, dilation=reach)  # type: ignore[arg-type]
            x = self._activated(x, next(norms))
            x = kept + self._activated(mix(x), next(norms))
            reach *= width
        return self.leave(x).float()

    def _middle(self, x: Tensor) -> Tensor:
        """`forward` of a window: strided convolutions whose pieces do not overlap, so each is one matrix product."""
        norms = iter(self.norms)
        x = self._activated_rows(_pieces(x.transpose(1, 2), self.enter.weight), next(norms))
        for spread, mix, width in zip(self.spread, self.mix, self.widths[1:], strict=True):
            kept = x[:, width // 2 :: width]
            x = self._activated_rows(_pieces(x, spread.weight), next(norms))  # type: ignore[arg-type]
            x = kept + self._activated_rows(_pieces(x, mix.weight), next(norms))  # type: ignore[arg-type]
        return F.linear(x, self.leave.weight[..., 0], self.leave.bias).transpose(1, 2).float()

    def _activated_rows(self, x: Tensor, norm: nn.Module) -> Tensor:
        """(B, T, channels), normalised over samples and frames as `_activated` does."""
        return self._activated(x.flatten(0, 1), norm).unflatten(0, x.shape[:2])

    def _activated(self, x: Tensor, norm: nn.Module) -> Tensor:
        return self.dropout(F.relu(norm(x)))


def _pieces(x: Tensor, weight: Tensor) -> Tensor:
    """(B, T, channels) convolved with (outputs, channels, width), stride = width -> (B, T / width, outputs)."""
    pieces = x.reshape(len(x), x.shape[1] // weight.shape[-1], -1)
    return F.linear(pieces, weight.transpose(1, 2).flatten(1))


class Temporal(Lifter):
    """Convolutions over a window of keypoints; the middle frame's pose comes out.

    Semi-supervised, samples whose labels are NaN train by re-projection through a second network that finds the
    trajectory of the root, and by plausible bone lengths.

    Args:
        settings: see `TemporalConvolution`, and above; `flip_test` averages the prediction with that of the mirrored window.
    """

    requires = ("joints_2d", "joints_3d")
    unit = "m"
    bones: Tensor

    def __init__(self, settings: TemporalConfig) -> None:
        super().__init__(Normalizer("screen"))
        sizes = (settings.widths, settings.channels, settings.dropout)
        self.network = TemporalConvolution(2 * NUM_JOINTS, 3 * NUM_JOINTS, *sizes)
        self.trajectory = TemporalConvolution(2 * NUM_JOINTS, 3, *sizes) if settings.semi_supervised else None
        self.settings = settings
        self.register_buffer("bones", torch.ones(NUM_JOINTS))
        self.norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm1d)]

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return self.network.frames

    def fit_poses(self, batches: list[Batch]) -> None:
        """Mean bone lengths of the labels."""
        self.bones.copy_(bone_lengths(labelled_poses(batches)).mean(0).clamp(min=1e-3))

    # ------------------------------------------------------------------------------------------------------ training

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """MPJPE of labelled samples; trajectory, re-projection and bones where semi-supervised."""
        assert batch.joints_3d is not None
        for norm in self.norms:  # the paper's decay of the momentum over the run
            norm.momentum = schedules.exponential(progress, 0.1, 0.001)
        window = self.window(batch)
        x = window.values.flatten(-2).transpose(1, 2)  # (B, 34, T)
        pose = self._pose(x)
        known = torch.isfinite(batch.joints_3d).flatten(1).all(1).float()  # (B,)
        target = torch.where(known[:, None, None] > 0, batch.joints_3d, torch.zeros_like(batch.joints_3d))
        error = (pose - root_relative(target)).norm(dim=-1).mean(-1)
        terms = {"mpjpe": (error * known).mean()}
        if self.trajectory is not None:
            root = self.trajectory(x)[..., 0]
            far = target[:, 0, 2].clamp(min=0.1)
            terms["root"] = ((root - target[:, 0]).norm(dim=-1) / far * known).mean()
            terms |= self._unlabelled(window, pose, root, 1.0 - known)
        return terms

    def _unlabelled(self, window: Normalized, pose: Tensor, root: Tensor, share: Tensor) -> dict[str, Tensor]:
        """Re-projection error in half image widths, and bones beyond the tolerance, of samples marked in `share`."""
        middle = window.values.shape[1] // 2
        joints = pose + root[:, None]
        depth = joints[..., 2:].clamp(min=0.5)
        projected = joints[..., :2] / depth / window.scale[:, middle, None, None]
        miss = mean_over_joints((projected - window.values[:, middle]).norm(dim=-1), window.visible[:, middle])
        difference = (bone_lengths(pose)[:, 1:] / self.bones[1:] - 1.0).abs() - _BONE_TOLERANCE
        return {
            "reprojection": (miss * share).mean(),
            "bones": (difference.clamp(min=0.0).mean(-1) * share).mean(),
        }

    # ---------------------------------------------------------------------------------------------------- prediction

    def window(self, batch: Batch) -> Normalized:
        """The `frames` keypoints around the middle frame, normalised; short sequences are held at their ends."""
        assert batch.joints_2d is not None
        joints, confidence = batch.joints_2d, batch.confidence
        if joints.dim() == 3:
            joints = joints[:, None]
            confidence = None if confidence is None else confidence[:, None]
        length = joints.shape[1]
        steps = torch.arange(self.frames, device=joints.device) - self.frames // 2 + length // 2
        steps = steps.clamp(0, length - 1)
        confidence = None if confidence is None else confidence[:, steps]
        return self.normalizer(joints[:, steps], confidence, batch.K)

    def lift(self, observed: Normalized) -> Tensor:
        """(B, 17, 3) metres, of a normalised window (B, T, 17, 2)."""
        pose = self._pose(observed.values.flatten(-2).transpose(1, 2))
        if self.settings.flip_test and not self.training:
            mirrored = mirror_joints(observed.values, axis=0).flatten(-2).transpose(1, 2)
            pose = 0.5 * (pose + mirror_joints(self._pose(mirrored), axis=0))
        return pose

    def _pose(self, x: Tensor) -> Tensor:
        """(B, 34, T) -> (B, 17, 3) root-relative."""
        return root_relative(self.network(x)[..., 0].unflatten(-1, (NUM_JOINTS, 3)))

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1) -> PoseOutput:
        """Pose of the middle frame; its root too where a trajectory was learnt."""
        batch.require(self.predict_requires, by="Temporal.predict")
        window = self.window(batch)
        pose = self.lift(window)
        root = None
        if self.trajectory is not None:
            root = self.trajectory(window.values.flatten(-2).transpose(1, 2))[..., 0][:, None]
        return PoseOutput(pose=pose[:, None], unit=self.unit, root=root)
