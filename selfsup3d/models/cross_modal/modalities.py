"""What each modality is to the networks: how a batch is read, what a decoded value means, and what a miss costs.

    image      images in [-1, 1]; mean absolute error
    joints_2d  16 joints (the root left out), standardised; mean squared error
    joints_3d  16 joints (the root left out), standardised over the training set; mean squared error

The root is left out of the 2D pose but not subtracted: where a person stands in the image tells the perspective under
which they are seen. Statistics are buffers, so validation is normalised by those of the training data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from selfsup3d.geometry.camera import unit_pinhole
from selfsup3d.models.modules.normalizer import Normalized, Normalizer
from selfsup3d.models.modules.poses import PoseScaler, labelled_poses, middle_frame
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["MODALITIES", "ImageModality", "Keypoints", "Modality", "Pose", "PoseUnit", "Root2D", "SeenPose"]

MODALITIES = ("image", "joints_2d", "joints_3d")
"""Every modality by name."""

Root2D = Literal["kept", "zeroed", "head"]
PoseUnit = Literal["m", "head=1"]

_JOINTS = NUM_JOINTS - 1


class Modality(nn.Module, ABC):
    """One modality.

    Attributes:
        fields: of the batch, that it is read from.
        elements: numbers that a decoder makes, by which "per_element" divides.
    """

    fields: tuple[str, ...]
    elements: int

    def fit(self, batches: Sequence[Batch]) -> None:
        """Take statistics of training batches (default: none)."""

    @abstractmethod
    def values(self, batch: Batch) -> Tensor:
        """(B, ...) what an encoder sees; finite."""

    @abstractmethod
    def miss(self, decoded: Tensor, batch: Batch) -> Tensor:
        """(B,) mean cost of an element of decoded values; elements without truth cost nothing."""


class ImageModality(Modality):
    """`target`, in [-1, 1].

    Args:
        size: S px.
        cut_out: lay the person on grey by the (label-free) saliency, where the data have one. With few backgrounds to
            learn from, networks otherwise tell a clip by its background and its people's poses by the clip **[ours]**.
    """

    fields = ("target",)

    def __init__(self, size: int, cut_out: bool = False) -> None:
        super().__init__()
        self.size, self.elements, self.cut_out = size, 3 * size * size, cut_out

    def values(self, batch: Batch) -> Tensor:
        """(B, 3, S, S).

        Raises:
            ValueError: images of another size.
        """
        image = batch.need("target", by="the image modality")
        if image.shape[-2:] != (self.size, self.size):
            raise ValueError(f"expected images of {self.size} px, got {tuple(image.shape)}")
        values = 2.0 * image - 1.0
        return values * batch.target_saliency if self.cut_out and batch.target_saliency is not None else values

    def miss(self, decoded: Tensor, batch: Batch) -> Tensor:
        """(B,) mean absolute error; of people cut out, half of it the person's and half the rest's **[ours]**.

        A person covers a few percent of an image, whose median is grey: unweighted, that is all that is learnt.
        """
        error = (decoded - self.values(batch)).abs()
        if not self.cut_out or batch.target_saliency is None:
            return error.flatten(1).mean(1)
        inside = batch.target_saliency.expand_as(error)
        halves = [(error * w).flatten(1).sum(1) / w.flatten(1).sum(1).clamp(min=1.0) for w in (inside, 1.0 - inside)]
        return 0.5 * (halves[0] + halves[1])

    def image(self, decoded: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] of decoded values."""
        return (0.5 * decoded + 0.5).clamp(0.0, 1.0)


class Keypoints(Modality):
    """The (middle frame's) 2D joints on the plane z = 1, missing ones filled by their conditional mean.

    Args:
        root: "kept" = standardised as they are; "zeroed" = relative to the root, then standardised; "head" = relative to
            the root and to the person's size, as a unit camera sees a pose whose head length is 1 (for training without
            3D labels, where no size is known).
        distance: of the unit camera, head lengths ("head").
    """

    fields = ("joints_2d",)
    elements = 2 * _JOINTS
    mean: Tensor
    std: Tensor

    def __init__(self, root: Root2D = "kept", distance: float = 10.0) -> None:
        super().__init__()
        self.root, self.distance = root, distance
        self.normalizer = Normalizer("head", distance) if root == "head" else Normalizer("zscore")
        self.register_buffer("mean", torch.zeros(_JOINTS, 2))  # of root-relative joints ("zeroed")
        self.register_buffer("std", torch.ones(_JOINTS, 2))

    def fit(self, batches: Sequence[Batch]) -> None:
        """Statistics of the keypoints.

        Raises:
            MissingFieldError: no keypoints.
        """
        chosen = [middle_frame(batch) for batch in batches]
        for batch in chosen:
            batch.require(("joints_2d",), by="fit")
        columns = {
            name: None
            if any(getattr(b, name) is None for b in chosen)
            else torch.cat([getattr(b, name) for b in chosen])
            for name in ("joints_2d", "confidence", "K")
        }
        joints = columns["joints_2d"]
        assert joints is not None
        self.normalizer.fit(joints, columns["confidence"], columns["K"])
        relative = _relative(self.normalizer(joints, columns["confidence"], columns["K"]))
        self.mean.copy_(relative.mean(0))
        self.std.copy_(relative.std(0).clamp(min=1e-6))

    def observe(self, batch: Batch) -> Normalized:
        """The keypoints, normalised and filled."""
        batch = middle_frame(batch)
        joints = batch.need("joints_2d", by="the joints_2d modality")
        return self.normalizer(joints, batch.confidence, batch.K)

    def values(self, batch: Batch) -> Tensor:
        """(B, 32)."""
        return self._read(self.observe(batch))

    def _read(self, observed: Normalized) -> Tensor:
        if self.root == "zeroed":
            return ((_relative(observed) - self.mean) / self.std).flatten(1)
        scale = self.distance if self.root == "head" else 1.0
        return (observed.values[:, 1:] * scale).flatten(1)

    def miss(self, decoded: Tensor, batch: Batch) -> Tensor:
        """(B,) mean squared error; joints that are not visible cost nothing."""
        observed = self.observe(batch)
        error = (decoded - self._read(observed)).unflatten(1, (_JOINTS, 2)).square()
        return (error * observed.visible[:, 1:, None]).flatten(1).mean(1)


def _relative(observed: Normalized) -> Tensor:
    """(B, 16, 2) joints on the plane z = 1 minus the root."""
    plane = observed.plane
    return plane[:, 1:] - plane[:, :1]


class Pose(Modality):
    """3D labels: camera axes, the pelvis at zero and left out, standardised over the training set."""

    fields: tuple[str, ...] = ("joints_3d",)
    elements = 3 * _JOINTS
    unit: PoseUnit = "m"

    def __init__(self) -> None:
        super().__init__()
        self.scaler = PoseScaler()

    def fit(self, batches: Sequence[Batch]) -> None:
        """Mean and standard deviation of the labels."""
        self.scaler.fit(labelled_poses(list(batches)))

    def values(self, batch: Batch) -> Tensor:
        """(B, 48); coordinates without a label are at their mean, 0."""
        values = self.scaler(batch.need("joints_3d", by="the joints_3d modality"))
        return torch.where(torch.isfinite(values), values, torch.zeros_like(values))

    def miss(self, decoded: Tensor, batch: Batch) -> Tensor:
        """(B,) mean squared error of standardised coordinates; those without a label cost nothing."""
        target = self.scaler(batch.need("joints_3d", by="the joints_3d modality"))
        known = torch.isfinite(target)
        return ((decoded - torch.where(known, target, 0.0)) * known).square().mean(1)

    def pose(self, decoded: Tensor) -> Tensor:
        """(B, 17, 3) in `unit`, the root at 0."""
        return self.scaler.inverse(decoded)


class SeenPose(Pose):
    """3D poses without labels: a decoded pose costs what its projection misses of the keypoints.

    Decoded values are joints in head lengths, seen by a unit camera; what no projection tells is left to a critic on
    other views (see `adversary.Adversary`).

    Args:
        keypoints: with root "head".
    """

    fields = ("joints_2d",)
    unit: PoseUnit = "head=1"

    def __init__(self, keypoints: Keypoints) -> None:
        super().__init__()
        if keypoints.root != "head":
            raise ValueError(f"keypoints must be relative to the head's size, not {keypoints.root!r}")
        self.shared = (keypoints,)  # in a tuple: it is registered as a module of its own elsewhere
        self.distance = keypoints.distance

    def fit(self, batches: Sequence[Batch]) -> None:
        """Nothing: there are no labels."""

    def values(self, batch: Batch) -> Tensor:
        """There is nothing to encode.

        Raises:
            ValueError: always.
        """
        raise ValueError("3D poses cannot be encoded where there are no 3D labels")

    def miss(self, decoded: Tensor, batch: Batch) -> Tensor:
        """(B,) mean squared error of the projection, in head lengths at the root's distance, over visible joints."""
        observed = self.shared[0].observe(batch)
        error = (self.project(self.pose(decoded)) - observed.values * self.distance)[:, 1:].square()
        return (error * observed.visible[:, 1:, None]).flatten(1).mean(1)

    def pose(self, decoded: Tensor) -> Tensor:
        """(B, 17, 3) in head lengths, the root at 0."""
        joints = decoded.unflatten(-1, (_JOINTS, 3))
        return torch.cat((torch.zeros_like(joints[..., :1, :]), joints), -2)

    def project(self, pose: Tensor) -> Tensor:
        """(..., 17, 3) -> (..., 17, 2), head lengths at the root's distance."""
        return unit_pinhole(pose, self.distance) * self.distance
