"""What a result must beat: guesses that see no more of the image than is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfsup3d.data.sampling.dataset import Frames
from selfsup3d.errors import InputError
from selfsup3d.evaluation.keypoint_baselines import keypoint_features
from selfsup3d.evaluation.metrics import root_relative, valid_joints
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import DOCUMENT, read_within
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.skeleton import FK_PARENTS, NUM_JOINTS

__all__ = [
    "Baselines",
    "NearestNeighbour",
    "bone_floor",
    "features_of",
    "known_joints",
    "labelled_baselines",
    "mean_canonical_pose",
    "mean_colour",
    "mean_pose",
    "image_features",
    "supervised_bound",
]

Numbers = dict[str, float | None]
"""Metric -> value, None = missing."""


def mean_pose(joints: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean root-relative pose (17, 3) of camera-frame joints (N, 17, 3), each joint over the frames that have it.

    Raises:
        ValueError: a joint is valid in no frame.
    """
    valid = valid_joints(joints) if valid is None else valid
    valid = valid & valid[:, :1]  # without its root a frame has no root-relative pose
    relative = torch.where(valid[..., None], root_relative(joints), torch.zeros_like(joints))
    count = valid.sum(0)
    if (count == 0).any():
        raise ValueError(
            f"joints {(count == 0).nonzero().flatten().tolist()} are valid in none of {len(joints)} frames"
        )
    return relative.sum(0) / count[:, None]


def mean_canonical_pose(poses: Tensor) -> Tensor:
    """Mean (17, 3) of body-frame poses (N, 17, 3): the guess of who knows the unpaired prior and nothing else."""
    return poses.double().mean(0)


def bone_floor(target: Tensor, bone_lengths: Tensor) -> Tensor:
    """The true directions with other bone lengths: no method with these lengths can do better.

    Args:
        target: (N, 17, 3) metres.
        bone_lengths: (17,) or (N, 17) metres, of the kinematic tree (pelvis 0).

    Returns:
        (N, 17, 3), rooted at the true pelvis.
    """
    placed: list[Tensor] = [target[..., 0, :]]
    for joint in range(1, NUM_JOINTS):
        parent = FK_PARENTS[joint]
        direction = nn.functional.normalize(target[..., joint, :] - target[..., parent, :], dim=-1)
        placed.append(placed[parent] + bone_lengths[..., joint, None] * direction)
    return torch.stack(placed, -2)


def mean_colour(image: Tensor, mask: Tensor) -> Tensor:
    """Images (B, 3, H, W) of one colour: the mean of `image` inside the mask (B, 1, H, W), or of all of it if empty."""
    weight = (mask > 0.5).to(image.dtype)
    weight = torch.where(weight.sum((1, 2, 3), keepdim=True) > 0, weight, torch.ones_like(weight))
    colour = (image * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)
    return colour.expand_as(image)


def image_features(batch: Batch, size: int = 16) -> Tensor | None:
    """(B, 3 * size * size): `target`, shrunk, with the saliency as its mask where there is one; None without images."""
    if batch.target is None:
        return None
    image = batch.target.float()
    if batch.target_saliency is not None:
        image = image * batch.target_saliency
    return nn.functional.interpolate(image, (size, size), mode="area").flatten(1)


def features_of(batch: Batch) -> Tensor | None:
    """(B, D) what two frames are compared by: their images, or else their keypoints; None with neither."""
    images = image_features(batch)
    return keypoint_features(batch) if images is None else images


@dataclass(frozen=True)
class NearestNeighbour:
    """The pose of the training image that looks most alike, or whose keypoints do where there are no images.

    Attributes:
        features: (M, D) of `features_of`.
        poses: (M, 17, 3) root-relative, camera axes.
    """

    features: Tensor
    poses: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, 17, 3)."""
        nearest = torch.cdist(features, self.features.to(features)).argmin(1)
        return self.poses.to(features.device)[nearest]


@dataclass(frozen=True)
class Baselines:
    """Baselines of the pose; one that is not there is reported as null with its reason.

    Attributes:
        mean_pose: (17, 3) root-relative, camera axes, of the labelled training frames.
        mean_canonical: (17, 3) body frame, of the unpaired prior; measured after Procrustes only.
        bone_lengths: (17,) metres, of the model.
        neighbour: see `NearestNeighbour`.
        reasons: baseline -> why it is missing.
    """

    mean_pose: Tensor | None = None
    mean_canonical: Tensor | None = None
    bone_lengths: Tensor | None = None
    neighbour: NearestNeighbour | None = None
    reasons: dict[str, str] = field(default_factory=dict)


def labelled_baselines(
    train: Frames, *, limit: int = 2000, batch_size: int = 250
) -> tuple[Tensor | None, NearestNeighbour | None]:
    """Mean pose and nearest neighbour from the evaluation frames of a training split (labels serve the baselines only).

    Args:
        train: labelled frames.
        limit: at most so many, evenly spaced.

    Returns:
        (mean pose (17, 3), nearest neighbour); None where the data has no poses, or neither images nor keypoints.
    """
    indices = np.unique(np.linspace(0, len(train) - 1, min(limit, len(train))).round().astype(np.int64))
    poses, features = [], []
    for start in range(0, len(indices), batch_size):
        batch = train.frames(indices[start : start + batch_size])
        if batch.joints_3d is None:
            return None, None
        known = known_joints(batch, by_confidence=False)  # keypoints may be a detector's
        poses.append(torch.where(known[..., None], batch.joints_3d, torch.full_like(batch.joints_3d, float("nan"))))
        found = features_of(batch)
        if found is not None:
            features.append(found)
    joints = torch.cat(poses)
    neighbour = None
    if features:
        whole = valid_joints(joints).all(-1)
        if whole.any():
            neighbour = NearestNeighbour(torch.cat(features)[whole], root_relative(joints[whole]))
    return mean_pose(joints), neighbour


def supervised_bound(path: str | Path, taken: Mapping[str, Any]) -> Numbers:
    """The metrics of the same network trained with labels, from its own result file, to print beside another result.

    Args:
        path: a result file, or the folder of a run with its metrics.json.
        taken: how the other result is taken: its "dataset", "split", "flags" ... (any keys of a result file).

    Raises:
        InputError: no result there, or one that was taken otherwise.
    """
    path = Path(path)
    path = path / "metrics.json" if path.is_dir() else path
    try:
        other = parse_json(read_within(path, DOCUMENT).decode())
        differing = [key for key in taken if other[key] != taken[key]]
        metrics = dict(other["metrics"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no result of an evaluation can be read ({type(error).__name__}: {error})") from None
    if differing:
        differences = "; ".join(f"{key}: {other[key]} there, {taken[key]} here" for key in differing)
        raise InputError(f"{path}: cannot stand beside this result, which is taken otherwise ({differences})")
    return metrics


def known_joints(batch: Batch, by_confidence: bool = True) -> Tensor:
    """(B, 17) joints whose truth is known: finite, and with a confidence above 0.

    Args:
        by_confidence: the batch's confidence (B, 17) is that of its labels. False where a system is given 2D joints:
            then it is that of its input, and a joint that a detector missed still has to be predicted. The confidence
            of a sequence (B, T, 17) is always that of the input.
    """
    assert batch.joints_3d is not None
    measured = by_confidence and batch.confidence is not None and batch.confidence.dim() == 2
    return valid_joints(batch.joints_3d, batch.confidence if measured else None)
