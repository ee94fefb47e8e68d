"""Images beside the numbers: what the system saw, what it found, and what was true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.sampling.dataset import Frames
from selfsup3d.evaluation.baselines import known_joints
from selfsup3d.evaluation.metrics import root_relative
from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch, PoseOutput
from selfsup3d.structures.skeleton import H36M_17
from selfsup3d.viz.parts import colour_labels
from selfsup3d.viz.sheets import sheet, to_uint8
from selfsup3d.viz.skeleton import draw_skeleton
from selfsup3d.viz.view3d import FRONT, SIDE, draw_pose_3d

__all__ = ["error_sheet", "panels", "ranked_rows", "spread_rows"]

_CELL = 160


def ranked_rows(errors: np.ndarray, count: int, people: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Which frames to show: {"typical": evenly spaced from the best to the worst, "worst": the worst of each person}.

    Args:
        errors: (N,) per frame; NaN = not measured, shown only where nothing was.
        count: rows of each.
        people: (N,) who is in each frame, so that the worst frames are not all of one clip.

    Returns:
        Positions in `errors`: "typical" from the best, "worst" from the worst.
    """
    order = np.argsort(errors, kind="stable")[: int(np.isfinite(errors).sum())]
    if len(order) == 0:
        order = np.arange(len(errors))
    spread = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(np.int64))
    worst = order[::-1]
    if people is not None:
        share = -(-count // len(set(people[order].tolist())))  # as many of each as it takes
        taken: dict[str, int] = {}
        kept = []
        for row in worst:
            taken[people[row]] = taken.get(people[row], 0) + 1
            if taken[people[row]] <= share:
                kept.append(row)
        worst = np.array(kept)
    return {"typical": order[spread], "worst": worst[:count].copy()}


@torch.inference_mode()
def error_sheet(
    system: System,
    source: Frames,
    indices: np.ndarray,
    errors: Mapping[int, float],
    device: torch.device | str,
    kinds: Sequence[str] | None = None,
) -> np.ndarray:
    """One row a frame: input, poses, parts, images, and the pose in 3D over the truth (grey, differences red).

    Args:
        system: in evaluation mode.
        source: of the frames.
        indices: which frames.
        errors: frame -> MPJPE in mm, for the row's title.
        device: of the system.
        kinds: a word for each row's title ("best", "worst" ...).

    Returns:
        (height, width, 3) uint8 RGB.
    """
    batch = source.frames(np.asarray(indices)).to(device)
    output = system.predict(batch)
    titles = [
        f"{errors.get(int(i), float('nan')):.0f} mm {meta.get('action') or ''}".replace("nan mm ", "")
        for i, meta in zip(indices, batch.meta or ({},) * len(indices), strict=True)
    ]
    if kinds is not None:
        titles = [f"{kind}: {title}" for kind, title in zip(kinds, titles, strict=True)]
    return sheet(panels(system, batch, output), row_titles=titles, cell=_CELL)


def panels(system: System, batch: Batch, output: PoseOutput) -> dict[str, Tensor]:
    """Columns of a sheet, title -> (B, 3, H, W) on the CPU; those that system or data cannot fill are left out."""
    columns: dict[str, Tensor] = {}
    image = batch.target
    if image is not None:
        if batch.source is not None:
            columns["source"] = batch.source
        columns["target"] = image
        if output.joints_2d is not None:
            columns["found"] = _overlay(image, output.joints_2d[:, 0], None)
        if batch.joints_2d is not None and batch.joints_2d.dim() == 3:
            columns["true"] = _overlay(image, batch.joints_2d, batch.confidence)
        if output.segmentation is not None:
            columns["parts"] = colour_labels(output.segmentation.argmax(1), image)
    for method, needed, title, truth in (
        ("reconstruct", ("source", "target"), "reconstruction", None),
        ("novel_view", ("second_view_camera",), "novel view", "second_view"),
        ("transfer", ("source", "transfer_joints_3d"), "transfer", "transfer"),
    ):
        if callable(getattr(system, method, None)) and all(getattr(batch, name) is not None for name in needed):
            columns[title] = getattr(system, method)(batch)
            if truth is not None and getattr(batch, truth) is not None:
                columns[f"true {title}"] = getattr(batch, truth)
    for title, view in (("3D front", FRONT), ("3D side", SIDE)):
        columns[title] = _poses(batch, output, view, "joints_2d" not in system.predict_requires)
    return {title: images.detach().float().cpu() for title, images in columns.items()}


def _overlay(images: Tensor, joints: Tensor, confidence: Tensor | None) -> Tensor:
    """Skeletons over images, drawn at the size of a cell so that lines are thin beside the person."""
    factor = max(1, _CELL // images.shape[-1])
    large = to_uint8(torch.nn.functional.interpolate(images.float(), scale_factor=factor, mode="nearest"))
    seen = [None] * len(large) if confidence is None else list(confidence.cpu().numpy())
    pixels = joints.detach().float().cpu().numpy() * factor
    return _stack([draw_skeleton(*drawn, thickness=1) for drawn in zip(large, pixels, seen, strict=True)])


def _poses(batch: Batch, output: PoseOutput, view: tuple[float, float], by_confidence: bool) -> Tensor:
    found = output.pose[:, 0].detach().float().cpu()
    true: list[np.ndarray | None] = [None] * len(found)
    if batch.joints_3d is not None and output.unit == "m":
        nan = torch.full_like(batch.joints_3d, float("nan"))
        joints = root_relative(torch.where(known_joints(batch, by_confidence)[..., None], batch.joints_3d, nan))
        true = list(joints.float().cpu().numpy())
    if output.unit != "m":  # of unknown scale: drawn as large as a person
        height = (found - found[:, :1]).abs().amax((1, 2), keepdim=True).clamp_min(1e-6)
        found = found / height
    drawn = [
        draw_pose_3d(pose, truth=truth, view=view, size=_CELL)
        for pose, truth in zip((found - found[:, H36M_17.root : H36M_17.root + 1]).numpy(), true, strict=True)
    ]
    return _stack(drawn)


def _stack(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255.0


def spread_rows(errors: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Positions of the `count` best, median and worst measured frames; NaN = not measured."""
    order = np.argsort(errors, kind="stable")[: int(np.isfinite(errors).sum())]
    count = min(count, max(len(order) // 3, 1), len(order))
    middle = (len(order) - count) // 2
    return {"best": order[:count], "median": order[middle : middle + count], "worst": order[::-1][:count]}
