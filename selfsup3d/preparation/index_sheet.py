"""A sheet that shows at once whether joints, cameras and images of an index belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.datasets.backgrounds import Backgrounds
from selfsup3d.data.datasets.frame_index import FrameIndex
from selfsup3d.data.sampling.indexed_frames import IndexedFrames
from selfsup3d.geometry.camera import project
from selfsup3d.viz.sheets import sheet, to_uint8, write_png
from selfsup3d.viz.skeleton import draw_skeleton
from selfsup3d.viz.view3d import FRONT, SIDE, draw_pose_3d

__all__ = ["check_sheet", "chosen_rows"]

_CELL = 192


def chosen_rows(index: FrameIndex, count: int) -> np.ndarray:
    """Rows from as many takes as possible, spread over subjects, actions and cameras; of takes with images, if any."""
    present = np.unique(index.take)
    shown = np.array([bool(index.takes[take].image) for take in present])
    takes = present[shown] if shown.any() else present
    chosen = takes[np.unique(np.linspace(0, len(takes) - 1, min(count, len(takes))).round().astype(int))]
    per_take = -(-count // len(chosen))
    rows: list[int] = []
    for take in chosen:
        mine = np.flatnonzero(index.take == take)
        rows += list(mine[((np.arange(per_take) + 0.5) * len(mine) / per_take).astype(int)])
    return np.array(sorted(rows[:count]))


def check_sheet(path: str | Path, index: FrameIndex, count: int = 12, backgrounds: Backgrounds | None = None) -> Path:
    """Draw rows of an index: the crop, its 2D joints, the projected 3D joints, the pose from the front and the side.

    Left limbs are warm, right limbs cool. What is wrong shows: sides swapped (the colours sit on the wrong limbs),
    wrong cameras (the projected skeleton lies beside the person), wrong units or axes (the 3D views).

    Args:
        path: of the PNG.
        index: the rows; of takes without images, joints are drawn on a blank.
        count: rows of the sheet.
        backgrounds: show saliency and background of still cameras too.

    Returns:
        The path.

    Raises:
        InputError: every chosen image is unreadable.
    """
    rows = chosen_rows(index, count)
    shown = any(index.takes[t].image for t in index.take[rows])
    use = backgrounds if backgrounds is not None and all(t.static_camera for t in index.takes) else None
    columns = _with_images(index, rows, use) if shown else _without_images(index, rows)
    titles = [f"{index.takes[index.take[r]].name} #{index.frame[r]}" for r in rows]
    target = Path(path).with_suffix(".png")
    write_png(target, sheet(columns, row_titles=titles, cell=_CELL))
    return target


def _with_images(index: FrameIndex, rows: np.ndarray, backgrounds: Backgrounds | None) -> dict[str, Tensor]:
    part = index.select(rows)
    source = IndexedFrames(part, _CELL, backgrounds=backgrounds, max_unreadable=max(len(rows) - 1, 1))
    batch = source.frames(np.arange(len(rows)))
    assert batch.target is not None
    assert batch.joints_2d is not None
    assert batch.joints_3d is not None
    assert batch.K is not None
    projected = project(batch.joints_3d.nan_to_num(1.0), batch.K)
    known = torch.isfinite(batch.joints_3d).all(-1).float()
    columns = {
        "image": batch.target,
        "2D joints": _overlay(batch.target, batch.joints_2d, batch.confidence),
        "3D joints, projected": _overlay(batch.target, projected, known),
    }
    if part.detected is not None:
        seen = IndexedFrames(part, _CELL, keypoints="detected").frames(np.arange(len(rows)))
        assert seen.joints_2d is not None
        columns["detected"] = _overlay(batch.target, seen.joints_2d, seen.confidence)
    if batch.target_saliency is not None and batch.target_background is not None:
        columns["saliency"] = batch.target_saliency.expand(-1, 3, -1, -1)
        columns["background"] = batch.target_background
    return columns | _views(batch.joints_3d)


def _without_images(index: FrameIndex, rows: np.ndarray) -> dict[str, Tensor]:
    """Joints of the whole image, on a blank of its shape reduced to a cell."""
    blank = torch.full((len(rows), 3, _CELL, _CELL), 0.92)
    takes = [index.takes[t] for t in index.take[rows]]
    factor = np.array([_CELL / max(t.width, t.height) for t in takes])[:, None, None]
    joints = torch.from_numpy(index.joints_3d[rows])
    projected = project(joints.nan_to_num(1.0).double(), torch.from_numpy(index.K()[rows]).double()).numpy()
    known = torch.isfinite(joints).all(-1).float()
    columns = {
        "2D joints": _overlay(
            blank, torch.from_numpy(index.joints_2d[rows] * factor), torch.from_numpy(index.confidence[rows])
        ),
        "3D joints, projected": _overlay(blank, torch.from_numpy(projected * factor), known),
    }
    if index.detected is not None:
        found = index.detected[rows]
        columns["detected"] = _overlay(
            blank, torch.from_numpy(found[..., :2] * factor), torch.from_numpy(found[..., 2])
        )
    return columns | _views(joints)


def _overlay(images: Tensor, joints: Tensor, confidence: Tensor | None) -> Tensor:
    drawn = []
    seen = [None] * len(joints) if confidence is None else list(confidence.numpy())
    for image, pixels, known in zip(to_uint8(images), joints.numpy(), seen, strict=True):
        drawn.append(draw_skeleton(image, pixels, known, thickness=1))
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255.0


def _views(joints: Tensor) -> dict[str, Tensor]:
    """The pose from the front and the side."""
    columns = {}
    for title, view in (("3D, from the camera", FRONT), ("3D, from the side", SIDE)):
        drawn = [draw_pose_3d(pose, view=view, size=_CELL) for pose in joints.numpy()]
        columns[title] = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255.0
    return columns
