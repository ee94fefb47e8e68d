"""Images of what a cross-modal VAE has learnt: predictions, its latent space, walks through it, draws from its prior."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.sampling.dataset import Frames
from selfsup3d.evaluation.baselines import known_joints
from selfsup3d.evaluation.cross_modal import Seen
from selfsup3d.evaluation.embedding import embed
from selfsup3d.evaluation.metrics import root_relative
from selfsup3d.models.cross_modal.modalities import Pose
from selfsup3d.models.cross_modal.system import CrossModalVAE
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import gaussian_noise
from selfsup3d.viz.charts import scatter, titled
from selfsup3d.viz.colours import PREDICTION
from selfsup3d.viz.sheets import tile, to_uint8
from selfsup3d.viz.view3d import draw_pose_3d

__all__ = ["arithmetic_strips", "interpolation_strips", "latent_maps", "predictions_sheet", "prior_sheet", "thumbnails"]

_CELL = 144
_SEED = 0x1A7E27
_VIEW = (25.0, 10.0)
_OBLIQUE = (50.0, 12.0)  # from the front, errors of depth would not be seen


def chosen(count: int, among: int, stream: int = 0) -> np.ndarray:
    """`count` different numbers below `among`, always the same."""
    generator = np.random.Generator(np.random.Philox(key=[_SEED, stream]))
    return generator.permutation(among)[:count]


@torch.no_grad()
def predictions_sheet(system: CrossModalVAE, source: Frames, count: int = 25) -> np.ndarray:
    """Random frames in 3D: prediction blue, truth grey, error red, with the mean error in mm; five in a row."""
    device = next(system.parameters()).device
    batch = source.frames(np.sort(chosen(min(count, len(source)), len(source)))).to(device)
    batch.require(system.predict_requires, by="the sheet of predictions")
    poses = system.predict(batch).pose[:, 0].cpu()
    metric = _metric(system)
    truth = _truth(batch)
    cells = []
    for index, pose in enumerate(poses):
        beside = None if truth is None else truth[index]
        if beside is not None and not metric:
            fit = (pose * beside.nan_to_num(0.0)).sum() / pose.square().sum().clamp(min=1e-12)
            pose = pose * fit.clamp(min=0.0)
        shown = None if beside is None else beside.numpy()
        cell = draw_pose_3d(pose.numpy(), truth=shown, view=_OBLIQUE, size=_CELL, extent=1.0, colour=PREDICTION)
        if beside is not None:
            error = 1000.0 * (pose - beside)[1:].norm(dim=-1).nanmean()
            _label(cell, f"{error:.0f} mm{'' if metric else ', scaled'}")
        cells.append(cell)
    return tile([cells[k : k + 5] for k in range(0, len(cells), 5)])


def _truth(batch: Batch) -> Tensor | None:
    if batch.joints_3d is None:
        return None
    known = known_joints(batch, by_confidence=False)
    joints = torch.where(known[..., None], batch.joints_3d, torch.full_like(batch.joints_3d, torch.nan))
    return root_relative(joints).cpu()


def latent_maps(latents: Tensor, actions: Sequence[str], images: np.ndarray | None) -> dict[str, np.ndarray]:
    """File name -> image: the latents by action at several neighbour counts, and with thumbnails.

    Args:
        latents: (N, D). actions: N texts. images: (N, h, w, 3) uint8, or None.
    """
    maps = embed(latents.numpy())
    plain = [scatter(points, actions, title=title) for title, points in maps.items()]
    figures = {"latent_by_action": tile([plain])}
    if images is not None:
        title, points = list(maps.items())[len(maps) // 2]
        figures["latent_thumbnails"] = scatter(points, actions, title=title, size=1100, thumbnails=images, side=48)
    return figures


def thumbnails(seen: Seen, side: int = 64) -> np.ndarray | None:
    """(N, side, side, 3) uint8: each frame's image, or its pose where there are no images; None with neither."""
    if seen.images is not None:
        return to_uint8(seen.images)
    if seen.truth is None:
        return None
    poses = root_relative(seen.truth).numpy()
    return np.stack([draw_pose_3d(pose, view=_VIEW, size=side, extent=1.0, ground=False) for pose in poses])


@torch.no_grad()
def interpolation_strips(system: CrossModalVAE, latents: Tensor, rows: int = 4, steps: int = 8) -> np.ndarray:
    """From one frame's latent to another's in straight lines: a strip of poses, and one of images, for each pair."""
    ends = chosen(2 * rows, len(latents), stream=1).reshape(-1, 2)
    strips = []
    for first, last in ends:
        share = torch.linspace(0.0, 1.0, steps)[:, None]
        strips += _strips(system, torch.lerp(latents[first], latents[last], share))
    return tile(strips)


@torch.no_grad()
def arithmetic_strips(system: CrossModalVAE, latents: Tensor, actions: Sequence[str], rows: int = 4) -> np.ndarray:
    """A frame of action B plus (mean of A - mean of B), in steps of 0, 1/4 ... 1: what makes A differ from B, added.

    Actions are taken by number of frames; with fewer than two, frames stand for actions: c + (a - b).
    """
    names, counts = np.unique([action for action in actions if action], return_counts=True)
    names = names[np.argsort(-counts, kind="stable")]
    labels = np.array(actions)
    strips = []
    for row in range(rows):
        if len(names) >= 2:
            to, origin = names[row % len(names)], names[(row + 1) % len(names)]
            start = np.flatnonzero(labels == origin)
            frame = int(start[chosen(1, len(start), stream=10 + row)[0]])
            change = latents[labels == to].mean(0) - latents[labels == origin].mean(0)
            title = f"{origin} + ({to} - {origin})"
        else:
            a, b, frame = (int(k) for k in chosen(3, len(latents), stream=10 + row))
            change, title = latents[a] - latents[b], f"frame {frame} + ({a} - {b})"
        made = _strips(system, latents[frame] + torch.linspace(0.0, 1.0, 5)[:, None] * change)
        strips.append([titled(tile(made), title)])
    return tile(strips)


@torch.no_grad()
def prior_sheet(system: CrossModalVAE, count: int = 16) -> np.ndarray:
    """What draws from N(0, I) are decoded to; pose and image of one draw under each other."""
    z = gaussian_noise(torch.arange(count), (system.settings.latent,))
    return tile([strip for part in z.split(8) for strip in _strips(system, part)])


def _strips(system: CrossModalVAE, z: Tensor) -> list[list[np.ndarray]]:
    """Rows of cells: poses and images of latents (N, D)."""
    z = z.to(next(system.parameters()).device)
    strips = []
    if "joints_3d" in system.targets:
        poses = system.decode(z, "joints_3d").float().cpu()
        if not _metric(system):
            poses = 0.5 * poses / poses[:, 9].norm(dim=-1).mean().clamp(min=1e-6)  # necks half a metre from pelvises
        strips.append([draw_pose_3d(p.numpy(), view=_VIEW, size=_CELL, extent=1.0) for p in poses])
    if "image" in system.targets:
        images = to_uint8(system.decode(z, "image"))
        strips.append([cv2.resize(image, (_CELL, _CELL), interpolation=cv2.INTER_NEAREST) for image in images])
    return strips


def _metric(system: CrossModalVAE) -> bool:
    modality = system.modalities["joints_3d"] if "joints_3d" in system.targets else None
    return isinstance(modality, Pose) and modality.unit == "m"


def _label(cell: np.ndarray, text: str) -> None:
    cv2.putText(cell, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (30, 30, 30), 1, cv2.LINE_AA)
