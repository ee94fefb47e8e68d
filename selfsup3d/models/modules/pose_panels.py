"""Images of lifted poses for logs: the keypoints, and the pose from two sides beside the truth."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from selfsup3d.models.modules.poses import middle_frame, root_relative
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.skeleton import joint_index
from selfsup3d.viz.skeleton import draw_skeleton
from selfsup3d.viz.view3d import draw_pose_3d

__all__ = ["lifted_panels"]

_SIZE = 192
_TORSO = 0.48  # metres from pelvis to neck, by which poses of unknown scale are drawn where there is no truth
_VIEWS = {"3D front": (0.0, 8.0), "3D side": (90.0, 8.0)}


def lifted_panels(batch: Batch, pose: Tensor) -> dict[str, Tensor]:
    """Title -> (B, 3, S, S): the 2D input; the pose in colour over the truth in grey, with red lines between them.

    Args:
        batch: with joints_2d, and joints_3d where the truth is known.
        pose: (B, 17, 3) root-relative, any unit; it is scaled to the truth, or to a usual torso.
    """
    batch = middle_frame(batch)
    assert batch.joints_2d is not None
    truth = None if batch.joints_3d is None else root_relative(batch.joints_3d).cpu()
    scaled = _scaled(pose.detach().float().cpu(), truth)
    columns: dict[str, list[np.ndarray]] = {"keypoints": [], **{title: [] for title in _VIEWS}}
    for index, joints in enumerate(scaled):
        columns["keypoints"].append(_keypoints(batch.joints_2d[index].cpu(), batch.confidence, index))
        beside = None if truth is None or not torch.isfinite(truth[index]).all() else truth[index].numpy()
        for title, view in _VIEWS.items():
            columns[title].append(draw_pose_3d(joints.numpy(), truth=beside, view=view, size=_SIZE))
    return {
        title: torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255.0
        for title, images in columns.items()
        if images
    }


def _scaled(pose: Tensor, truth: Tensor | None) -> Tensor:
    torso = pose[:, joint_index("neck")].norm(dim=-1).clamp(min=1e-6)
    scale = _TORSO / torso
    if truth is not None:
        known = torch.isfinite(truth).flatten(1).all(1)
        fit = (pose * truth.nan_to_num(0.0)).sum((1, 2)) / pose.square().sum((1, 2)).clamp(min=1e-12)
        scale = torch.where(known, fit.clamp(min=0.0), scale)
    return pose * scale[:, None, None]


def _keypoints(joints: Tensor, confidence: Tensor | None, index: int) -> np.ndarray:
    """The 2D pose, as large as the image allows."""
    seen = torch.isfinite(joints).all(-1)
    if confidence is not None:
        seen = seen & (confidence[index].cpu() > 0)
    paper = np.full((_SIZE, _SIZE, 3), 250, np.uint8)
    if not bool(seen.any()):
        return paper
    low, high = joints[seen].amin(0), joints[seen].amax(0)
    scale = 0.85 * _SIZE / float((high - low).max().clamp(min=1e-6))
    placed = (joints - 0.5 * (low + high)) * scale + _SIZE / 2
    return draw_skeleton(paper, placed.numpy(), seen.float().numpy())
