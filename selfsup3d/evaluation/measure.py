"""Every pose metric of every frame by one protocol, each intermediate result computed once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup3d.evaluation.metrics import (
    aligned_errors,
    auc,
    frame_mean,
    pck,
    root_relative,
    root_relative_errors,
    without_root,
)
from selfsup3d.evaluation.protocols import JOINT_SETS, Flags
from selfsup3d.structures.skeleton import H36M_17

__all__ = ["Measured", "measure"]


@dataclass(frozen=True)
class Measured:
    """Errors of one set of poses by one protocol.

    Attributes:
        frame: metric -> (N,); NaN in frames without usable truth.
        joint: "mpjpe", "pa_mpjpe" -> (N, 17) mm; NaN at joints that do not count.
        counted: (N,) frames with usable truth.
    """

    frame: dict[str, Tensor]
    joint: dict[str, Tensor]
    counted: Tensor


def measure(pose: Tensor, target: Tensor, known: Tensor, flags: Flags, joints: str = "h36m_17") -> Measured:
    """All pose metrics of each frame.

    Args:
        pose: (N, 17, 3), any root, the camera's axes.
        target: (N, 17, 3) metres.
        known: (N, 17) joints whose truth is known.
        flags: the rules.
        joints: key of `JOINT_SETS`; the alignments too see these joints only, the root is taken from all.
    """
    subset = torch.zeros(len(H36M_17), dtype=torch.bool)
    subset[list(JOINT_SETS[joints])] = True
    nan = torch.full_like(target, float("nan"))
    truth = root_relative(torch.where(known[..., None], target, nan), flags.root)
    valid = known & torch.isfinite(truth).all(-1) & subset  # an unknown root leaves no valid joint
    guess = root_relative(pose, flags.root)
    averaged = valid if flags.count_root else without_root(valid)
    errors = root_relative_errors(guess, truth, valid, gt_scale=flags.gt_scale, flip_best=flags.flip_best)
    scaled = root_relative_errors(guess, truth, valid, gt_scale=True, flip_best=flags.flip_best)
    aligned = aligned_errors(pose, target, valid, reflection=flags.reflection)
    frame = {
        "mpjpe": frame_mean(errors, averaged),
        "pa_mpjpe": frame_mean(aligned, valid),
        "n_mpjpe": frame_mean(scaled, averaged),
        "pck_150": pck(errors, averaged),
        "auc": auc(errors, averaged),
    }
    gap = torch.full_like(errors, float("nan"))
    per_joint = {"mpjpe": torch.where(averaged, errors, gap), "pa_mpjpe": torch.where(valid, aligned, gap)}
    return Measured(frame, per_joint, averaged.any(-1))
