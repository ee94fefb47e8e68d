"""Images for logs: each input, and every modality decoded from it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from selfsup3d.models.modules.pose_panels import lifted_panels
from selfsup3d.structures.batch import Batch
from selfsup3d.viz.view3d import skeleton_views

__all__ = ["cross_modal_panels"]

_SIZE = 192
_SHORT = {"image": "image", "joints_2d": "2D", "joints_3d": "3D"}


def cross_modal_panels(
    batch: Batch, decoded: Mapping[tuple[str, str], Tensor], image: Tensor | None
) -> dict[str, Tensor]:
    """Title -> (B, 3, S, S) in [0, 1] on the CPU.

    Args:
        batch: with whatever inputs there are; joints_3d where the truth is known.
        image: (B, 3, H, W) in [0, 1] as the system reads it, if it does.
        decoded: (source, target) -> poses (B, 17, 3) or images (B, 3, H, W).
    """
    columns: dict[str, Tensor] = {}
    if image is not None:
        columns["image"] = _enlarged(image)
    for (source, target), values in decoded.items():
        title = f"{_SHORT[source]} to {_SHORT[target]}"
        if target == "image":
            columns[title] = _enlarged(values)
        elif batch.joints_2d is not None:
            drawn = lifted_panels(batch, values)
            columns.setdefault("keypoints", drawn.pop("keypoints"))
            columns |= {f"{title}, {view.removeprefix('3D ')}": images for view, images in drawn.items()}
        else:
            views = skeleton_views(values, _SIZE)
            columns |= {f"{title}, {view}": views[:, k] for k, view in enumerate(("front", "side"))}
    return columns


def _enlarged(images: Tensor) -> Tensor:
    return nn.functional.interpolate(images.detach().float().cpu(), (_SIZE, _SIZE), mode="nearest").clamp(0.0, 1.0)
