"""What flows between the parts: a camera, a batch of samples, a predicted pose. Plain dataclasses of tensors.

Frames and units, everywhere: metres; body (canonical) frame right-handed with +X the way the hips face, +Y left,
+Z from pelvis to neck; camera frame of OpenCV (+x right, +y down, +z forward); pixels (x, y) with centres at +0.5.
Images are float RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from selfsup3d.errors import InputError
from selfsup3d.structures.skeleton import H36M_17, Skeleton

__all__ = ["Batch", "Camera", "MissingFieldError", "PoseOutput", "TensorFields", "Unit"]


class TensorFields:
    """Device, dtype and slicing for a dataclass whose fields are tensors, nested dataclasses of tensors, or other."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply `function` to every tensor, nested ones included; all else is kept."""
        changes: dict[str, Any] = {}
        for entry in fields(self):  # type: ignore[arg-type]
            value = getattr(self, entry.name)
            if isinstance(value, Tensor):
                changes[entry.name] = function(value)
            elif isinstance(value, TensorFields):
                changes[entry.name] = value.map(function)
        return replace(self, **changes)  # type: ignore[type-var]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Move every tensor to `device`; dtypes are kept."""
        return self.map(lambda t: t.to(device, non_blocking=non_blocking))

    def detach(self) -> Self:
        """Cut every tensor from the graph."""
        return self.map(Tensor.detach)

    def pin_memory(self) -> Self:
        """Pin every tensor (called by the DataLoader)."""
        return self.map(Tensor.pin_memory)

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Samples `index` of every tensor's first dimension."""
        return self.map(lambda t: t[index])


Unit = Literal["m", "head=1", "relative"]
"""Of a pose: metres, head lengths, or no known scale."""


@dataclass(frozen=True)
class Camera(TensorFields):
    """A camera that sees the body frame: x_camera = rotation @ x_body + translation, then the pinhole K.

    Attributes:
        rotation: (..., 3, 3) body frame -> camera frame.
        translation: (..., 3) pelvis in the camera frame, metres.
        K: (..., 3, 3) pinhole of the crop, pixels.
    """

    rotation: Tensor
    translation: Tensor
    K: Tensor


class MissingFieldError(InputError):
    """A system needs a field of the batch that its data does not have."""


@dataclass(frozen=True)
class Batch(TensorFields):
    """A batch of samples; a field that the data does not have is None.

    Attributes:
        index: (B,) global sample index of each sample (rank- and worker-independent).
        seeds: (B,) int64, one per sample, from (seed, step, index): the root of any draw made later for that sample.
        source, target: (B, 3, H, W) two frames of one person.
        source_saliency, target_saliency: (B, 1, H, W) in [0, 1].
        source_background, target_background: (B, 3, H, W) the background behind the person.
        unpaired: (B, 17, 3) poses in the body frame, unrelated to the images.
        unpaired_camera: cameras for these poses.
        unpaired_background: (B, 3, H, W) a background to draw these poses over.
        rendered: (B, 3, H, W) a rendered person in the unpaired pose, seen by its camera (synthetic pre-training).
        rendered_parts: (B, H, W) int64 part ids of `rendered`, background last.
        rendered_source: (B, 3, H, W) another rendering of that person, in another pose or from another side.
        rendered_source_K: (B, 3, 3) its pinhole.
        rendered_source_parts: (B, H, W) int64 its part ids, background last.
        joints_2d: (B, 17, 2) px of `target`; (B, T, 17, 2) for sequences. Labels: absent from unsupervised batches.
        confidence: (B, 17) or (B, T, 17); 0 = missing.
        joints_3d: (B, 17, 3) camera frame, metres, of `target`. Labels.
        source_joints_2d, source_joints_3d: the same of `source`.
        pseudo_joints_3d: (B, 17, 3) camera frame, metres, of `target`: a trained system's prediction, no label.
        pseudo_weight: (B,) how much it counts, 0 = not at all.
        bone_lengths: (B, 17) of the person, metres, where they are known and may be used (a label).
        K: (B, 3, 3) pinhole of the crop, px; None = the default focal length.
        bbox: (B, 4) x, y, width, height of the crop in the full frame, px.
        part_labels: (B, H, W) int64 part ids of `target`, background last. Labels.
        second_view, second_view_camera, second_view_joints_3d: a true other view of `target` at the same instant.
        second_view_labels, transfer_labels: (B, H, W) part labels of these two images, as `part_labels`. Labels.
        transfer, transfer_joints_3d: a true image of the person of `source` in another's pose, seen by K.
        skeleton: of every joint field.
        meta: B dicts: dataset, person, action, file, frame ... for reports and error messages.
    """

    index: Tensor | None = None
    seeds: Tensor | None = None
    source: Tensor | None = None
    target: Tensor | None = None
    source_saliency: Tensor | None = None
    target_saliency: Tensor | None = None
    source_background: Tensor | None = None
    target_background: Tensor | None = None
    unpaired: Tensor | None = None
    unpaired_camera: Camera | None = None
    unpaired_background: Tensor | None = None
    rendered: Tensor | None = None
    rendered_parts: Tensor | None = None
    rendered_source: Tensor | None = None
    rendered_source_K: Tensor | None = None
    rendered_source_parts: Tensor | None = None
    joints_2d: Tensor | None = None
    confidence: Tensor | None = None
    joints_3d: Tensor | None = None
    source_joints_2d: Tensor | None = None
    source_joints_3d: Tensor | None = None
    pseudo_joints_3d: Tensor | None = None
    pseudo_weight: Tensor | None = None
    bone_lengths: Tensor | None = None
    K: Tensor | None = None
    bbox: Tensor | None = None
    part_labels: Tensor | None = None
    second_view: Tensor | None = None
    second_view_camera: Camera | None = None
    second_view_joints_3d: Tensor | None = None
    transfer: Tensor | None = None
    transfer_joints_3d: Tensor | None = None
    second_view_labels: Tensor | None = None
    transfer_labels: Tensor | None = None
    skeleton: Skeleton = H36M_17
    meta: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Tensor):
                return value.shape[0]
        return 0

    def __getitem__(self, index: slice | Tensor) -> Batch:
        """Samples `index` of every field, `meta` included."""
        batch = super().__getitem__(index)
        if not self.meta:
            return batch
        if isinstance(index, slice):
            return replace(batch, meta=self.meta[index])
        keep = index.nonzero().flatten() if index.dtype == torch.bool else index
        return replace(batch, meta=tuple(self.meta[i] for i in keep.tolist()))

    def require(self, names: Sequence[str], by: str) -> None:
        """Raise MissingFieldError unless every field in `names` is present; `by` names who needs it."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            present = [f.name for f in fields(self) if getattr(self, f.name) is not None and f.name != "meta"]
            raise MissingFieldError(
                f"{by} needs {', '.join(missing)}, which this data lacks (it has: {', '.join(present)})"
            )

    def need(self, name: str, by: str) -> Tensor:
        """The tensor field `name`, or MissingFieldError; `by` names who needs it."""
        self.require((name,), by)
        value: Tensor = getattr(self, name)
        return value

    def joints_missing_as_zero(self) -> Batch:
        """2D joints with confidence 0 or non-finite values set to 0 with confidence 0, so they reach no network."""
        if self.joints_2d is None:
            return self
        seen = torch.isfinite(self.joints_2d).all(-1)
        confidence = torch.ones_like(self.joints_2d[..., 0]) if self.confidence is None else self.confidence
        confidence = torch.where(seen, confidence.nan_to_num(0.0), 0.0)
        joints = torch.where((confidence > 0)[..., None], self.joints_2d, torch.zeros_like(self.joints_2d))
        return replace(self, joints_2d=joints, confidence=confidence)


@dataclass(frozen=True)
class PoseOutput(TensorFields):
    """Predicted poses: S hypotheses for each of B samples.

    Attributes:
        pose: (B, S, J, 3) root-relative, camera axes, root kept as zeros.
        unit: "m", "head=1" (head length) or "relative" (scale unknown).
        root: (B, S, 3) root in the camera frame, metres, where the head predicts it.
        camera: the predicted body -> camera transform, where the head has one.
        canonical: (B, S, J, 3) body frame, where the head has one.
        joints_2d: (B, S, J, 2) px, where the head has them.
        keypoints: (B, J, 2) px, the means of the heat maps, where the head has any; `joints_2d` are the pose, projected.
        confidence: (B, J) the probability that a joint lies within 150 mm, where the model was calibrated.
        latent: (B, D).
        image: (B, 3, H, W) the reconstruction.
        segmentation: (B, P+1, H, W) probabilities, background last.
    """

    pose: Tensor
    unit: Unit = "m"
    root: Tensor | None = None
    camera: Camera | None = None
    canonical: Tensor | None = None
    joints_2d: Tensor | None = None
    keypoints: Tensor | None = None
    confidence: Tensor | None = None
    latent: Tensor | None = None
    image: Tensor | None = None
    segmentation: Tensor | None = None
