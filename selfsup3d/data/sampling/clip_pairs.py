"""Training samples from prepared clips: two frames of one person, an unpaired pose, its camera and its background."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.priors.pose_prior import PosePrior
from selfsup3d.data.sampling.augmentation import Augmentation
from selfsup3d.data.sampling.clip_store import Clip, ClipStore
from selfsup3d.data.sampling.dataset import CameraPrior, training_sample
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import default_intrinsics
from selfsup3d.io.stored_arrays import StoredArray
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams

__all__ = ["PairSource"]

_MEMORY_LIMIT = 2 * 2**30  # bytes of frames that are copied into memory rather than mapped


class PairSource:
    """Batches from clips. It reads frames, saliency, backgrounds and their meta, a detector's keypoints where they are
    asked for, and no ground truth.

    Args:
        clips: a store, or clips of one size.
        pose_prior: gives the unpaired poses; None = batches without them.
        camera_prior: gives their cameras; None = batches without them.
        name: of the dataset, kept in every sample's meta.
        min_gap: least distance in time between source and target, seconds where the clip's fps is known, else frames
            at 10 a second. Clips too short for it use the largest distance they have.
        augmentation: changes to training samples; None = none.
        balance: draw clips alike, or frames alike (long clips then count more).
        memory: keep everything in memory, map the files, or decide by size.
        keypoints: training samples have the target's `joints_2d` and `confidence`, as a detector marked them.

    Raises:
        InputError: keypoints are asked for, and a clip has none.
    """

    def __init__(
        self,
        clips: ClipStore | Sequence[Clip],
        pose_prior: PosePrior | None = None,
        camera_prior: CameraPrior | None = None,
        *,
        name: str = "videos",
        min_gap: float = 0.4,
        augmentation: Augmentation | None = None,
        balance: Literal["clip", "frame"] = "clip",
        memory: Literal["auto", "keep", "map"] = "auto",
        keypoints: bool = False,
    ) -> None:
        self.clips = tuple(clips)
        self._pseudo: tuple[Tensor, Tensor] | None = None
        self._keypoints = _joined_keypoints(self.clips) if keypoints else None
        if not self.clips:
            raise ValueError("a PairSource needs at least one clip")
        self.name = name
        self.image_size = int(self.clips[0].frames.shape[1])
        self._augmentation = augmentation
        self._pose_prior = pose_prior
        self._camera_prior = camera_prior
        self._lengths = np.array([len(clip) for clip in self.clips])  # (C,)
        self._first = np.cumsum(self._lengths) - self._lengths  # (C,) row of each clip's frame 0
        rate = np.array([float(clip.meta.get("fps") or 10.0) for clip in self.clips])
        self._gap = np.clip(np.ceil(min_gap * rate).astype(int), 0, (self._lengths - 1) // 2)
        weight = np.ones(len(self.clips)) if balance == "clip" else self._lengths.astype(float)
        self._cumulative = np.cumsum(weight / weight.sum())
        self._K = torch.from_numpy(self._intrinsics())  # (N, 3, 3)
        size = int(self._lengths.sum()) * self.image_size**2 * 4
        self._arrays = (
            _InMemory(self.clips) if memory == "keep" or (memory == "auto" and size < _MEMORY_LIMIT) else None
        )
        self._mapped = None if self._arrays is not None else _Mapped(self.clips, self._first)

    def __len__(self) -> int:
        """Frames, each once: the evaluation set."""
        return int(self._lengths.sum())

    def _intrinsics(self) -> np.ndarray:
        """(N, 3, 3) float32 of every frame; the default field of view where a clip does not know."""
        default = np.asarray(default_intrinsics(self.image_size), dtype=np.float32)
        known = [clip.K() for clip in self.clips]
        return np.concatenate(
            [
                np.broadcast_to(default, (len(clip), 3, 3)) if K is None else K
                for clip, K in zip(self.clips, known, strict=True)
            ]
        )

    def draw_pairs(self, streams: RandomStreams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Clip, source frame and target frame (each (B,)); frames are counted inside their clip."""
        clip = np.searchsorted(self._cumulative, streams.uniform(), side="right")
        clip = np.minimum(clip, len(self.clips) - 1)
        length, gap = self._lengths[clip], self._gap[clip]
        target = streams.integers(length)
        # Sources stand at least `gap` before or after: pick among both stretches by one number.
        before = np.where(gap > 0, np.maximum(target - gap + 1, 0), target)
        after_from = target + np.maximum(gap, 1)
        after = np.maximum(length - after_from, 0)
        choice = streams.integers(np.maximum(before + after, 1))
        source = np.where(choice < before, choice, after_from + choice - before)
        return clip, np.where(before + after > 0, source, target), target

    def learn_from(self, joints: np.ndarray, weight: np.ndarray) -> None:
        """Add pseudo-labels to the training samples: joints (N, 17, 3) camera frame, metres, and weights (N,) of all
        frames in their order.

        Raises:
            ValueError: of another number of frames.
        """
        if joints.shape != (len(self), 17, 3) or weight.shape != (len(self),):
            raise ValueError(f"pseudo-labels {joints.shape}, {weight.shape} of {len(self)} frames")
        self._pseudo = torch.from_numpy(joints).float(), torch.from_numpy(weight).float()

    def batch(self, streams: RandomStreams) -> Batch:
        """One sample for each draw."""
        clip, source, target = self.draw_pairs(streams)
        other = streams.integers(self._lengths.sum())  # any frame of any clip lends its background
        rows = self._first[clip]
        batch = self._gather(rows + source, rows + target, clip)
        if self._pseudo is not None:
            chosen = torch.from_numpy(rows + target)
            batch = replace(batch, pseudo_joints_3d=self._pseudo[0][chosen], pseudo_weight=self._pseudo[1][chosen])
        if self._keypoints is not None:
            marked = self._keypoints[torch.from_numpy(rows + target)]
            batch = replace(batch, joints_2d=marked[..., :2], confidence=marked[..., 2])
        background = _to_float(self._read("background", other))
        sample = training_sample(batch, streams, background, self._augmentation, self._pose_prior, self._camera_prior)
        return replace(sample, meta=self._meta(clip, target))

    def frames(self, indices: np.ndarray) -> Batch:
        """Evaluation frames `indices` in [0, len(self)); `source` is the frame half a clip away. No ground truth."""
        indices = np.asarray(indices, dtype=np.int64)
        clip = np.searchsorted(self._first, indices, side="right") - 1
        length, target = self._lengths[clip], indices - self._first[clip]
        source = (target + length // 2) % length
        batch = self._gather(self._first[clip] + source, indices, clip)
        return replace(batch, index=torch.from_numpy(indices.copy()), meta=self._meta(clip, target))

    def _gather(self, source: np.ndarray, target: np.ndarray, clip: np.ndarray) -> Batch:
        return Batch(
            source=_to_float(self._read("frames", source)),
            target=_to_float(self._read("frames", target)),
            source_saliency=_to_float(self._read("saliency", source)),
            target_saliency=_to_float(self._read("saliency", target)),
            source_background=_to_float(self._read("background", source)),
            target_background=_to_float(self._read("background", target)),
            K=self._K[torch.from_numpy(target)],
        )

    def _read(self, part: str, rows: np.ndarray) -> Tensor:
        store = self._arrays or self._mapped
        assert store is not None
        return store.read(part, rows)

    def _meta(self, clip: np.ndarray, frame: np.ndarray) -> tuple[dict[str, object], ...]:
        return tuple(
            {
                "dataset": self.name,
                "clip": self.clips[c].name,
                "file": str(self.clips[c].meta.get("name", self.clips[c].name)),
                "person": self.clips[c].person,
                "action": self.clips[c].meta.get("action"),
                "frame": int(f),
            }
            for c, f in zip(clip.tolist(), frame.tolist(), strict=True)
        )


def _joined_keypoints(clips: Sequence[Clip]) -> Tensor:
    """(N, 17, 3) of all frames: x, y px, NaN where nothing is found, and confidence."""
    found = []
    for clip in clips:
        if clip.keypoints is None:
            raise InputError(
                f"{clip.frames.path.parent}: has no keypoints; prepare the clips with a detector: selfsup3d prepare-data "
                "--dataset videos --detector mediapipe --detector-weights FILE"
            )
        found.append(np.asarray(clip.keypoints))
    marked = torch.from_numpy(np.concatenate(found))
    marked[..., :2] = torch.where(marked[..., 2:] > 0, marked[..., :2], torch.nan)
    return marked


class _InMemory:
    """All clips in three tensors; a still background is kept once."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        images = clips[0].frames.shape[1:]
        self._parts = {
            "frames": _joined([clip.frames for clip in clips], images),
            "saliency": _joined([clip.saliency for clip in clips], (*images[:2], 1)),
            "background": _joined([clip.background for clip in clips], images),
        }
        rows, first = [], 0
        for clip in clips:
            moving = clip.background.ndim == 4
            rows.append(first + (np.arange(len(clip)) if moving else np.zeros(len(clip), dtype=np.int64)))
            first += len(clip) if moving else 1
        self._background_row = np.concatenate(rows)

    def read(self, part: str, rows: np.ndarray) -> Tensor:
        """(B, H, W, C) uint8."""
        rows = self._background_row[rows] if part == "background" else rows
        return self._parts[part][torch.from_numpy(rows)]


def _joined(arrays: Sequence[StoredArray], shape: tuple[int, ...]) -> Tensor:
    """All images of files in one tensor (N, *shape), one file in memory beside it at a time."""
    counts = [array.size // math.prod(shape) for array in arrays]
    joined = np.empty((sum(counts), *shape), dtype=np.uint8)
    first = 0
    for array, count in zip(arrays, counts, strict=True):
        joined[first : first + count] = np.asarray(array).reshape(count, *shape)
        first += count
    return torch.from_numpy(joined)


class _Mapped:
    """The same, straight from the files."""

    def __init__(self, clips: Sequence[Clip], first: np.ndarray) -> None:
        self._clips = clips
        self._first = first

    def read(self, part: str, rows: np.ndarray) -> Tensor:
        """(B, H, W, C) uint8."""
        clip = np.searchsorted(self._first, rows, side="right") - 1
        size = self._clips[0].frames.shape[1:3]
        out = np.empty((len(rows), *size, 1 if part == "saliency" else 3), dtype=np.uint8)
        for position, (c, row) in enumerate(zip(clip, rows, strict=True)):
            array: StoredArray = getattr(self._clips[c], part)
            image = array[:] if part == "background" and array.ndim == 3 else array[row - self._first[c]]
            out[position] = image.reshape(out.shape[1:])
        return torch.from_numpy(out)


def _to_float(images: Tensor) -> Tensor:
    """(B, H, W, C) uint8 -> (B, C, H, W) float32 in [0, 1]."""
    return images.permute(0, 3, 1, 2).contiguous().to(torch.float32).mul_(1.0 / 255.0)
