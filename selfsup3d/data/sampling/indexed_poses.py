"""Joints from an index, in full pixels and the camera frame: the data of lifters. No image is opened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from selfsup3d.config.choices import Keypoints
from selfsup3d.data.datasets.frame_index import FrameIndex
from selfsup3d.data.priors.pose_prior import PosePrior
from selfsup3d.data.sampling.clip_pairs import CameraPrior
from selfsup3d.data.sampling.dataset import draw_unpaired
from selfsup3d.data.sampling.row_sampler import Balance, RowDraws, meta_of
from selfsup3d.errors import InputError
from selfsup3d.geometry.kinematics import body_frame
from selfsup3d.geometry.rotation import rotate
from selfsup3d.structures.batch import Batch, Camera
from selfsup3d.structures.random import RandomStreams

__all__ = ["IndexedPoses"]


class IndexedPoses:
    """Joints in full pixels and the camera frame: the data of lifters.

    Args:
        index: the rows.
        frames_per_sample: T, odd; more than 1 gives joints_2d (B, T, 17, 2) and joints_3d of the middle.
        keypoints: 2D joints from the ground truth, or the dataset's detections.
        pose_prior, camera_prior: of `unpaired`; None = another row's pose with its own camera.
        balance: what training samples are drawn evenly over first.

    Raises:
        InputError: an even T, or detections that the dataset does not have.
    """

    def __init__(
        self,
        index: FrameIndex,
        *,
        frames_per_sample: int = 1,
        keypoints: Keypoints = "projected",
        pose_prior: PosePrior | None = None,
        camera_prior: CameraPrior | None = None,
        balance: Balance = "person",
    ) -> None:
        if frames_per_sample < 1 or frames_per_sample % 2 == 0:
            raise InputError(f"data.frames is {frames_per_sample}; expected an odd number, the middle is predicted")
        if keypoints == "detected" and index.detected is None:
            raise InputError(f"{index.root}: {index.dataset} has no detected 2D joints here; use keypoints: projected")
        self.index = index
        self.name = index.dataset
        self.image_size = max(max(t.width, t.height) for t in index.takes)
        self.skipped = sum(index.skipped.values())
        self.notes = {**index.notes, "keypoints": f"2D joints: {keypoints}"}
        self._frames = frames_per_sample
        self._keypoints = keypoints
        self._priors = pose_prior, camera_prior
        self._rows = RowDraws(index, balance)
        starts = np.flatnonzero(np.diff(index.take, prepend=-1))
        ends = np.append(starts[1:], len(index)) - 1
        self._first, self._last = (np.repeat(e, ends - starts + 1) for e in (starts, ends))  # of each row's take

    def __len__(self) -> int:
        """Evaluation frames."""
        return len(self.index)

    def batch(self, streams: RandomStreams) -> Batch:
        """Training samples, labels included."""
        rows = self._rows.target(streams)
        other = self._rows.target(streams)
        batch = self._gather(rows)
        pose_prior, camera_prior = self._priors
        unpaired, camera = draw_unpaired(streams, pose_prior, camera_prior, batch.K)
        if unpaired is None:
            unpaired, camera = self._posed(other)
        return replace(
            batch,
            index=torch.from_numpy(streams.indices.copy()),
            seeds=torch.from_numpy(streams.seeds),
            unpaired=unpaired,
            unpaired_camera=camera,
        )

    def frames(self, indices: np.ndarray) -> Batch:
        """Evaluation frames with ground truth."""
        indices = np.asarray(indices, dtype=np.int64)
        return replace(self._gather(indices), index=torch.from_numpy(indices.copy()))

    def _gather(self, rows: np.ndarray) -> Batch:
        index, half = self.index, self._frames // 2
        window = rows[:, None] + np.arange(-half, half + 1)
        window = np.clip(window, self._first[rows, None], self._last[rows, None])  # held at the ends of a take
        if self._keypoints == "detected" and index.detected is not None:
            observed, confidence = index.detected[window][..., :2], index.detected[window][..., 2]
        else:
            observed, confidence = index.joints_2d[window], index.confidence[window]
        if self._frames == 1:
            observed, confidence = observed[:, 0], confidence[:, 0]
        takes = [index.takes[t] for t in index.take[rows]]
        return Batch(
            joints_2d=torch.from_numpy(np.ascontiguousarray(observed)),
            confidence=torch.from_numpy(np.ascontiguousarray(confidence)),
            joints_3d=torch.from_numpy(index.joints_3d[rows]),
            K=torch.from_numpy(index.K()[rows]),
            bbox=torch.tensor([[0.0, 0.0, t.width, t.height] for t in takes]),
            meta=meta_of(index, rows),
        )

    def _posed(self, rows: np.ndarray) -> tuple[Tensor, Camera]:
        """Body-frame poses of rows and the cameras that saw them."""
        joints = torch.from_numpy(np.nan_to_num(self.index.joints_3d[rows]))
        rotation, translation = body_frame(joints)
        poses = rotate(rotation.transpose(-1, -2), joints - translation[:, None])
        return poses, Camera(rotation, translation, torch.from_numpy(self.index.K()[rows]))
