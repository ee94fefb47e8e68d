"""Calibrate a part-guided system's confidences on frames whose truth is known (synth-v1 val, rendered people)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.sampling.dataset import Frames
from selfsup3d.errors import InputError
from selfsup3d.models.part_guided.confidence import (
    WITHIN,
    Calibration,
    calibration_error,
    fit_calibration,
    signals,
)
from selfsup3d.models.part_guided.network import PartGuidedNetwork, intrinsics_of

__all__ = ["calibrate"]


def calibrate(
    network: PartGuidedNetwork, frames: Frames, source: str, batch_size: int = 64
) -> tuple[Calibration, dict[str, float]]:
    """Fit on every second frame, measure on the others, then fit on all.

    Args:
        network: in evaluation mode; read as its `averaging` says.
        frames: with `joints_3d`. source: said beside the confidences.

    Returns:
        The calibration on all frames; and the expected calibration error of the other half, with the share of its
        joints that are right.

    Raises:
        InputError: the frames have no 3D joints.
    """
    values, right = [], []
    device = next(network.parameters()).device
    for start in range(0, len(frames), batch_size):
        batch = frames.frames(np.arange(start, min(start + batch_size, len(frames)))).to(device)
        if batch.joints_3d is None:
            raise InputError(
                "--calibrate needs frames whose 3D joints are known: --dataset synthetic --split val, or people"
            )
        reading = network.read(batch.need("target", by="calibrate"), intrinsics_of(batch))
        assignment = reading.likeliest()
        joints = reading.at(assignment).joints
        error = _root_relative(joints) - _root_relative(batch.joints_3d)
        values.append(signals(reading, assignment).cpu())
        right.append((error.norm(dim=-1) <= WITHIN).cpu())
    x, y = torch.cat(values), torch.cat(right)
    half = fit_calibration(x[::2], y[::2], source)
    held_out = torch.sigmoid(half.bias - x[1::2] @ half.weights)
    report = {"ece": calibration_error(held_out, y[1::2]), "right": float(y[1::2].double().mean())}
    return fit_calibration(x, y, source), report


def _root_relative(joints: Tensor) -> Tensor:
    return joints - joints[:, :1]
