"""What every dataset offers, and the part of a training sample that is alike in all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.priors.camera_prior import UprightPoses
from selfsup3d.data.priors.pose_prior import PosePrior, UprightPrior
from selfsup3d.data.sampling.augmentation import Augmentation, augment, augment_background
from selfsup3d.structures.batch import Batch, Camera
from selfsup3d.structures.random import RandomStreams

__all__ = ["CameraPrior", "Dataset", "Frames", "ImageDataset", "Samples", "Split", "draw_unpaired", "training_sample"]

Split = Literal["train", "val", "test"]


class Samples(Protocol):
    """Training samples by random streams."""

    @property
    def name(self) -> str:
        """E.g. "synthetic"."""
        ...

    def batch(self, streams: RandomStreams) -> Batch:
        """Training samples, one for each stream; they depend on their own stream alone."""
        ...


class Frames(Protocol):
    """Evaluation frames by number."""

    @property
    def name(self) -> str:
        """E.g. "synthetic"."""
        ...

    def __len__(self) -> int:
        """Evaluation frames."""
        ...

    def frames(self, indices: np.ndarray) -> Batch:
        """Evaluation frames, with what ground truth the dataset has."""
        ...


class Dataset(Samples, Frames, Protocol):
    """Both: what almost every dataset offers."""


class ImageDataset(Dataset, Protocol):
    """A dataset of square images."""

    image_size: int


class CameraPrior(Protocol):
    """Anything that gives cameras for random streams."""

    def sample(self, streams: RandomStreams, K: Tensor | None = None, poses: UprightPoses | None = None) -> Camera:
        """Cameras with these (B, 3, 3) pinholes, before people who stand as `poses` do where that is known."""
        ...


def training_sample(
    batch: Batch,
    streams: RandomStreams,
    background: Tensor | None,
    augmentation: Augmentation | None,
    pose_prior: PosePrior | None,
    camera_prior: CameraPrior | None,
) -> Batch:
    """Gathered frames as training samples: augmented, with an unpaired pose, its camera and a background for it.

    Args:
        batch: frames of B samples.
        streams: of the samples.
        background: (B, 3, H, W) for the unpaired poses; None = without.
        augmentation: None = none.
        pose_prior, camera_prior: of the unpaired poses; None = without.
    """
    if augmentation is not None:
        batch = augment(batch, streams, augmentation)
        background = None if background is None else augment_background(background, streams, augmentation)
    unpaired, camera = draw_unpaired(streams, pose_prior, camera_prior, batch.K)
    return replace(
        batch,
        index=torch.from_numpy(streams.indices.copy()),
        seeds=torch.from_numpy(streams.seeds),
        unpaired=unpaired,
        unpaired_camera=camera,
        unpaired_background=background,
    )


def draw_unpaired(
    streams: RandomStreams, pose_prior: PosePrior | None, camera_prior: CameraPrior | None, K: Tensor | None
) -> tuple[Tensor | None, Camera | None]:
    """Poses (B, 17, 3) of the body frame and cameras for them, with the images' own K; None where there is no prior.

    A prior that knows how its people stand tells the camera prior so.
    """
    if pose_prior is None:
        return None, None if camera_prior is None else camera_prior.sample(streams, K)
    if isinstance(pose_prior, UprightPrior):
        upright = pose_prior.sample_upright(streams)
        return upright.joints, None if camera_prior is None else camera_prior.sample(streams, K, upright)
    poses = pose_prior.sample(streams)
    return poses, None if camera_prior is None else camera_prior.sample(streams, K)
