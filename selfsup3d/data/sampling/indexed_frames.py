"""Crops of people from an index, with their joints, saliency and backgrounds; pairs of one person.

Every sample is what a virtual camera through the person's box sees (`crops.virtual_view`): `K` is its centred pinhole
and all joints are in its frame, so a root-relative error is the same as in the real camera's axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from selfsup3d.config.choices import Keypoints
from selfsup3d.data.datasets.backgrounds import Backgrounds, saliency_of_crop
from selfsup3d.data.datasets.frame_index import FrameIndex, Take
from selfsup3d.data.datasets.masks import GivenMasks
from selfsup3d.data.priors.pose_prior import PosePrior
from selfsup3d.data.sampling.augmentation import Augmentation
from selfsup3d.data.sampling.clip_pairs import CameraPrior
from selfsup3d.data.sampling.dataset import training_sample
from selfsup3d.data.sampling.row_sampler import Balance, RowDraws, meta_of
from selfsup3d.errors import InputError
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.io.crops import Frames, cube_squares, map_pixels, read_view, squares_of_boxes, virtual_view
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams

__all__ = ["Crop", "IndexedFrames"]

Crop = Literal["box", "cube"]
"""A square around the person's box, or one that shows a cube of 2.2 m about the pelvis."""


@dataclass(frozen=True)
class _View:
    """One crop before it is read.

    Attributes:
        matrix: (3, 3) crop pixels -> full pixels.
        rotation: (3, 3) real camera -> virtual camera.
        K: (3, 3) of the crop.
        square: (3,) x, y, side.
    """

    matrix: np.ndarray
    rotation: np.ndarray
    K: np.ndarray
    square: np.ndarray


class IndexedFrames:
    """Crops of people with, where wanted, their joints; saliency and backgrounds of still cameras.

    Args:
        index: the rows; takes without images are an error.
        size: S of the crops.
        labels: training samples hold joints too (supervised variants); evaluation frames always do.
        crop: square around the box, or a cube of 2.2 m about the pelvis (keeps the person's size; needs 3D).
        backgrounds: backgrounds of still cameras; None = no saliency, no backgrounds.
        given_masks: use the dataset's own person masks as the saliency, where it has them.
        pose_prior, camera_prior: of the unpaired poses; None = batches without them.
        pair: the second frame comes from the same person anywhere, or from the same take.
        keypoints: joints_2d from the ground truth or the dataset's detections.
        augmentation: changes to training samples.
        max_unreadable: evaluation frames whose image may be unreadable; they count as skipped.

    Raises:
        InputError: takes without images, detections that are not there, or saliency wanted of moving cameras.
    """

    def __init__(
        self,
        index: FrameIndex,
        size: int = 128,
        *,
        labels: bool = False,
        crop: Crop = "box",
        backgrounds: Backgrounds | None = None,
        given_masks: bool = False,
        pose_prior: PosePrior | None = None,
        camera_prior: CameraPrior | None = None,
        pair: Literal["person", "take"] = "person",
        balance: Balance = "person",
        keypoints: Keypoints = "projected",
        augmentation: Augmentation | None = None,
        max_unreadable: int = 100,
    ) -> None:
        bare = [t for t in index.takes if not t.image]
        if bare:
            raise InputError(f"{index.root}: {index.dataset} has no images of {bare[0].name} and {len(bare) - 1} more")
        if keypoints == "detected" and index.detected is None:
            raise InputError(f"{index.root}: {index.dataset} has no detected 2D joints here; use keypoints: projected")
        moving = [t for t in index.takes if not t.static_camera]
        if backgrounds is not None and moving:
            raise InputError(f"{index.root}: the camera of {moving[0].name} moves, so it has no background background")
        self.index = index
        self.name = index.dataset
        self.image_size = size
        self.notes = {**index.notes, "crops": "a virtual camera through the middle of the person's box"}
        self._labels = labels
        self._backgrounds = backgrounds
        self._masks = GivenMasks(index.root) if given_masks and all(t.mask for t in index.takes) else None
        self._priors = pose_prior, camera_prior
        self._pair = pair
        self._keypoints = keypoints
        self._augmentation = augmentation
        self._rows = RowDraws(index, balance)
        self._frames = Frames(index.root)
        self._K = index.K().astype(np.float64)
        self._squares = squares_of_boxes(index.box) if crop == "box" else cube_squares(index.joints_3d, self._K)
        self._max_unreadable = max_unreadable
        self._unreadable: list[str] = []

    def __len__(self) -> int:
        """Evaluation frames."""
        return len(self.index)

    @property
    def skipped(self) -> int:
        """Entries that the index left out. Unreadable images of evaluation frames are counted by the evaluator."""
        return sum(self.index.skipped.values())

    def batch(self, streams: RandomStreams) -> Batch:
        """Training samples.

        Raises:
            InputError: an image is missing or damaged (`step_dataset` replaces the sample and counts it).
        """
        target = self._rows.target(streams)
        source = (
            self._rows.of_same_person(streams, target) if self._pair == "person" else self._within_take(streams, target)
        )
        other = self._rows.target(streams)
        batch = self._gather(target, source, labels=self._labels)
        background = None if self._backgrounds is None else self._background(other)
        return training_sample(batch, streams, background, self._augmentation, *self._priors)

    def frames(self, indices: np.ndarray) -> Batch:
        """Evaluation frames with ground truth; `source` is another frame of the same take.

        An image that cannot be read is grey and its joints are unknown, so that it counts as skipped.

        Raises:
            InputError: more than `max_unreadable` images could not be read; the first is named.
        """
        indices = np.asarray(indices, dtype=np.int64)
        return replace(
            self._gather(indices, self._half_a_take_on(indices), labels=True, forgiving=True),
            index=torch.from_numpy(indices.copy()),
        )

    # ---- rows ----

    def _within_take(self, streams: RandomStreams, rows: np.ndarray) -> np.ndarray:
        first, count = self._takes(rows)
        return first + streams.integers(count)

    def _half_a_take_on(self, rows: np.ndarray) -> np.ndarray:
        first, count = self._takes(rows)
        return first + (rows - first + count // 2) % count

    def _takes(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows of each row's take."""
        first = np.searchsorted(self.index.take, self.index.take[rows], side="left")
        return first, np.searchsorted(self.index.take, self.index.take[rows], side="right") - first

    # ---- samples ----

    def _gather(self, target: np.ndarray, source: np.ndarray, *, labels: bool, forgiving: bool = False) -> Batch:
        views, seen = self._views(target), self._views(source)
        known = np.ones(len(target), dtype=bool)
        images: dict[str, list[np.ndarray]] = {name: [] for name in ("target", "source")}
        fields: dict[str, Any] = {}
        for place, (row, view) in enumerate(zip(target, views, strict=True)):
            images["target"].append(self._read(row, view, known, place if forgiving else None))
        for row, view in zip(source, seen, strict=True):
            images["source"].append(self._read(row, view, known, -1 if forgiving else None))
        for name, (rows, drawn) in {"target": (target, views), "source": (source, seen)}.items():
            if self._backgrounds is not None:
                bad = (known if name == "target" else np.ones_like(known)) if forgiving else None
                masks, backgrounds = self._behind(rows, drawn, images[name], bad)
                fields |= {f"{name}_saliency": _mask(masks), f"{name}_background": _image(backgrounds)}
            fields[name] = _image(images[name])
        if labels:
            fields |= self._labels_of(target, views, known)
        return Batch(
            K=torch.from_numpy(np.stack([v.K for v in views]).astype(np.float32)),
            bbox=torch.from_numpy(np.stack([[*v.square, v.square[2]] for v in views]).astype(np.float32)),
            meta=meta_of(self.index, target),
            **fields,
        )

    def _views(self, rows: np.ndarray) -> list[_View]:
        squares = self._squares[rows]
        parts = virtual_view(squares, self._K[rows], self.image_size)
        return [_View(*values) for values in zip(*parts, squares, strict=True)]

    def _take(self, row: int) -> Take:
        return self.index.takes[self.index.take[row]]

    def _read(self, row: int, view: _View, known: np.ndarray, place: int | None) -> np.ndarray:
        """One crop; unreadable ones raise, or (with a place) are grey, and unknown there unless it is -1."""
        take = self._take(row)
        try:
            return read_view(
                self._frames,
                take.image,
                int(self.index.frame[row]),
                view.matrix,
                self.image_size,
                take.width,
                take.height,
            )
        except InputError as error:
            if place is None:
                raise
            self._count_unreadable(str(error))
            if place >= 0:
                known[place] = False
            return np.full((self.image_size, self.image_size, 3), 127, np.uint8)

    def _count_unreadable(self, reason: str) -> None:
        if reason not in self._unreadable:
            self._unreadable.append(reason)
        if len(self._unreadable) > self._max_unreadable:
            raise InputError(
                f"{self.name}: {len(self._unreadable)} images cannot be read (limit {self._max_unreadable}); "
                f"the first: {self._unreadable[0]}"
            )

    def _behind(
        self, rows: np.ndarray, views: Sequence[_View], crops: Sequence[np.ndarray], known: np.ndarray | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Saliency and background of each crop. Damaged recordings have none: they raise, or (with `known`) are grey,
        without a person, and unknown there."""
        masks, backgrounds = [], []
        for place, (row, view, crop) in enumerate(zip(rows, views, crops, strict=True)):
            try:
                mask, background = self._behind_one(row, view, crop)
            except InputError as error:
                if known is None:
                    raise
                self._count_unreadable(str(error))
                known[place] = False
                mask, background = np.zeros(crop.shape[:2], np.uint8), np.full_like(crop, 127)
            masks.append(mask)
            backgrounds.append(background)
        return masks, backgrounds

    def _behind_one(self, row: int, view: _View, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self._backgrounds is not None
        take = self._take(row)
        background, noise = self._backgrounds.crop(take, view.matrix, self.image_size)
        if self._masks is None:
            return saliency_of_crop(crop, background, noise), background
        return self._masks.crop(take, int(self.index.frame[row]), view.matrix, self.image_size), background

    def _background(self, rows: np.ndarray) -> Tensor:
        assert self._backgrounds is not None
        size, views = self.image_size, self._views(rows)
        crops = [self._backgrounds.crop(self._take(r), v.matrix, size)[0] for r, v in zip(rows, views, strict=True)]
        return _image(crops)

    def _labels_of(self, rows: np.ndarray, views: Sequence[_View], known: np.ndarray) -> dict[str, Tensor]:
        index = self.index
        joints = np.stack([index.joints_3d[r] @ v.rotation.T for r, v in zip(rows, views, strict=True)])
        joints[~known] = np.nan
        observed, confidence = index.joints_2d[rows], index.confidence[rows]
        if self._keypoints == "detected" and index.detected is not None:
            observed, confidence = index.detected[rows][..., :2], index.detected[rows][..., 2]
        pixels = np.stack([map_pixels(v.matrix, p) for v, p in zip(views, observed, strict=True)])
        return {
            "joints_3d": torch.from_numpy(joints.astype(np.float32)),
            "bone_lengths": bone_lengths(torch.from_numpy(joints.astype(np.float32))),
            "joints_2d": torch.from_numpy(pixels.astype(np.float32)),
            "confidence": torch.from_numpy(confidence.copy()),
        }


def _image(crops: Sequence[np.ndarray]) -> Tensor:
    """(S, S, 3) uint8 crops -> (B, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous().float().mul_(1.0 / 255.0)


def _mask(masks: Sequence[np.ndarray]) -> Tensor:
    """(S, S) uint8 -> (B, 1, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(masks))[:, None].float().mul_(1.0 / 255.0)
