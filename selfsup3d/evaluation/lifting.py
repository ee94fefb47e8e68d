"""Image -> 2D -> 3D: the 2D joints of a system that takes images feed a lifter, on the frames that the system's
own 3D poses are measured on.

    result["lifted"], frames = lifted_frames(system, lifter, source, protocol=protocol, checkpoint="runs/martinez")

The lifter is evaluated as ever, on frames whose keypoints are those that the system predicts (`SeenJoints`); and on the
data's own keypoints, which is the most that better 2D joints could bring.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from selfsup3d.data.sampling.dataset import Frames
from selfsup3d.errors import InputError
from selfsup3d.evaluation.baselines import Baselines
from selfsup3d.evaluation.evaluator import evaluate_frames
from selfsup3d.evaluation.protocols import Protocol
from selfsup3d.models.lifters.base import require_lifter
from selfsup3d.models.part_guided.network import intrinsics_of
from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch

if TYPE_CHECKING:  # slow to load
    from accelerate import Accelerator

__all__ = ["SeenJoints", "lifted_frames"]

_KEPT = ("frames", "skipped", "metrics", "reasons")


class SeenJoints:
    """Frames of a source with the 2D joints that a system finds in their images, every one of them seen.

    Args:
        system: takes images, in evaluation mode, on its device.
        source: frames that have what it needs.

    Joints are pixels of the crop, K is the crop's (the default one where the data have none): as the system saw it.
    """

    def __init__(self, system: System, source: Frames) -> None:
        self._system, self._source = system, source
        self._device = next(iter(system.parameters())).device

    @property
    def name(self) -> str:
        """Of the source."""
        return self._source.name

    def __len__(self) -> int:
        return len(self._source)

    @torch.inference_mode()
    def frames(self, indices: np.ndarray) -> Batch:
        """`joints_2d` as predicted, K, and the truth in `joints_3d` and `meta`; no images.

        Raises:
            MissingFieldError: the data lack what the system needs.
            InputError: the system predicts no 2D joints.
        """
        batch = self._source.frames(indices).to(self._device)
        batch.require(self._system.predict_requires, by=type(self._system).__name__)
        joints = self._system.predict(batch).joints_2d
        if joints is None:
            raise InputError(
                f"{type(self._system).__name__} predicts no 2D joints that a lifter could lift; a part-guided system does"
            )
        return Batch(
            index=batch.index,
            joints_2d=joints[:, 0].float(),
            joints_3d=batch.joints_3d,
            K=intrinsics_of(batch),
            skeleton=batch.skeleton,
            meta=batch.meta,
        )


def lifted_frames(
    system: System,
    lifter: System,
    source: Frames,
    *,
    protocol: Protocol,
    batch_size: int = 64,
    limit: int | None = None,
    accelerator: Accelerator | None = None,
    checkpoint: str = "",
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A lifter's numbers from a system's 2D joints and from the data's own, by the rules of the system's own poses.

    Args:
        system: takes images.
        lifter: see `require_lifter`; for temporal ones every image is a person who stands still.
        source: frames with images and, for the second, joints_2d in pixels of the crop, as is K.
        protocol, batch_size, limit, accelerator: as in `evaluate_frames`.
        checkpoint: of the lifter, for the result.

    Returns:
        {"checkpoint", "unit", "own_joints", "given_joints"}, the last two with frames, skipped, metrics and reasons of a
        result file (null where the data have no 2D joints); and per-frame values from the system's own joints.

    Raises:
        InputError: the lifter is none, or the system predicts no 2D joints; before anything is measured.
    """
    require_lifter(lifter, checkpoint)
    seen = SeenJoints(system, source)
    first = source.frames(np.arange(1))
    unit = lifter.predict(seen.frames(np.arange(1)).to(next(iter(lifter.parameters())).device)).unit
    measure = partial(
        evaluate_frames,
        lifter,
        protocol=protocol,
        baselines=Baselines(),
        batch_size=batch_size,
        limit=limit,
        accelerator=accelerator,
        images=False,
    )
    own, frames = measure(seen)
    given = None if first.joints_2d is None else measure(source)[0]
    numbers = {"own_joints": own, "given_joints": given}
    return {
        "checkpoint": checkpoint,
        "unit": unit,
        **{k: None if found is None else {name: found[name] for name in _KEPT} for k, found in numbers.items()},
    }, frames
