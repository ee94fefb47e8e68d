"""A round of self-training on real videos: pseudo-labels made once, weighted by how far they can be trusted, stored.

After Xie et al. 2020 (Noisy Student) and Sohn et al. 2020 (FixMatch: only trusted pseudo-labels are learned). The
teacher reads every frame with averaging and follows the likeliest left/right assignment through each clip. Trust is
label-free: frames are ranked by five signals, their mean rank decides; the worst quarter is dropped, the rest counts the
more the better its rank **[ours]**. Agreement measures, which need no labels either, say what a round has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsup3d.config.choices import Averaging
from selfsup3d.data.sampling.clip_pairs import PairSource
from selfsup3d.errors import InputError
from selfsup3d.evaluation.images import iou
from selfsup3d.io.files import atomic_path
from selfsup3d.io.limits import open_npz
from selfsup3d.models.part_guided.assignment_path import best_path, movement_cost
from selfsup3d.models.part_guided.averaging import Reading, averaged_reading
from selfsup3d.models.part_guided.network import PartGuidedNetwork, intrinsics_of
from selfsup3d.models.part_guided.pseudo_labels import taught_joints
from selfsup3d.puppet.labels import soft_silhouette

__all__ = [
    "AGREEMENT",
    "FILE",
    "SIGNALS",
    "PseudoLabels",
    "agreement",
    "agreement_lines",
    "make_pseudo_labels",
    "trust",
]

FILE = "pseudo_labels.npz"
"""In the run's folder."""
SIGNALS = ("assignment", "entropy", "keypoint_gap", "depth_gap", "spread")
"""Of each frame, more is worse: doubt about left and right, heat maps spread out, keypoints and depth maps against the
skeleton, averaged predictions against one another."""
DROPPED = 0.25
"""The worst share of the frames."""

AGREEMENT = {
    "spread_mm": "predictions of an image and its mirror image apart [mm, root-relative]",
    "keypoint_gap": "keypoints beside the projected joints [share of the crop's side]",
    "silhouette_iou": "silhouette of the predicted pose against the saliency [IoU]",
    "jumps": "steps between frames in which joints move more than 150 mm on average [share]",
}


@dataclass(frozen=True)
class PseudoLabels:
    """Of the N frames of a dataset, in its order.

    Attributes:
        joints: (N, 17, 3) float32 camera frame, metres. weight: (N,) float32, 0 = dropped, mean 1 of those kept.
        signals: (N, 5) see `SIGNALS`. teacher: whose they are.
    """

    joints: np.ndarray
    weight: np.ndarray
    signals: np.ndarray
    teacher: str = ""

    def save(self, path: Path) -> None:
        """Write npz, without pickled objects."""
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary, joints=self.joints, weight=self.weight, signals=self.signals, teacher=np.array(self.teacher)
            )

    @classmethod
    def load(cls, path: Path) -> PseudoLabels:
        """Read what `save` wrote.

        Raises:
            InputError: damaged or of another shape.
        """
        try:
            with open_npz(path) as data:
                joints, weight, signals = (
                    np.asarray(data[name], np.float32) for name in ("joints", "weight", "signals")
                )
                found = cls(joints, weight, signals, str(data["teacher"]))
        except Exception as error:  # whatever numpy raises for a damaged file
            raise InputError(
                f"{path}: damaged pseudo-labels ({error}); delete the file, they are made again"
            ) from error
        count = len(found.joints)
        shapes = (found.joints.shape, found.weight.shape, found.signals.shape)
        if shapes != ((count, 17, 3), (count,), (count, len(SIGNALS))) or not np.isfinite(found.joints).all():
            raise InputError(f"{path}: no pseudo-labels; delete the file, they are made again")
        return found


def make_pseudo_labels(
    teacher: PartGuidedNetwork, frames: PairSource, averaging: Averaging = "mirror", name: str = ""
) -> PseudoLabels:
    """Read every frame of the clips, follow the assignments through each clip, rank and weight.

    Args:
        teacher: in evaluation mode. frames: not augmented. name: of the teacher, kept in the file.
    """
    reading, K = _read(teacher, frames, averaging)
    choice = _paths(reading, frames)
    chosen = reading.at(choice)
    log_p = reading.log_probability.log_softmax(1).gather(1, choice[:, None])[:, 0]
    gaps = (chosen.entropy, chosen.keypoint_gap, chosen.depth_gap, chosen.spread)
    signals = torch.stack([-log_p, *(gap.mean(1) for gap in gaps)], 1).numpy()
    joints = taught_joints(teacher, chosen, K)
    return PseudoLabels(joints.numpy(), trust(signals), signals.astype(np.float32), name)


def trust(signals: np.ndarray) -> np.ndarray:
    """(N,) float32 weights of frames by signals (N, S), more being worse: 0 for the worst quarter by their mean rank, the
    others falling linearly with it, their mean 1."""
    ranks = signals.argsort(0, kind="stable").argsort(0, kind="stable").mean(1)  # (N,)
    order = ranks.argsort(kind="stable").argsort(kind="stable")
    kept = max(1, round((1.0 - DROPPED) * len(ranks)))
    weight = np.maximum(1.0 - order / kept, 0.0)
    return (weight * kept / weight.sum()).astype(np.float32)


def agreement(network: PartGuidedNetwork, frames: PairSource) -> dict[str, float]:
    """`AGREEMENT` of a system on clips, from predictions averaged with the mirror image's, each frame for itself."""
    reading = _read(network, frames, "mirror")[0]
    chosen = reading.at(reading.likeliest())
    overlap = torch.zeros(2, dtype=torch.float64)
    device = next(network.parameters()).device
    for rows in _chunks(len(frames)):
        batch = frames.frames(rows).to(device)
        saliency, K = batch.need("target_saliency", by="agreement"), intrinsics_of(batch)
        size = (saliency.shape[-2], saliency.shape[-1])
        with torch.no_grad():
            maps = network.maps(chosen.joints[torch.from_numpy(rows)].to(device), K, size)[0]
        overlap += iou(soft_silhouette(maps), saliency).double().sum(0).cpu()
    joints = chosen.joints - chosen.joints[:, :1]
    moved = (joints[1:] - joints[:-1]).norm(dim=-1).mean(1).numpy()
    clips = _clip_of(frames)
    inside = clips[1:] == clips[:-1]
    return {
        "spread_mm": float(chosen.spread.mean()) * 1000.0,
        "keypoint_gap": float(chosen.keypoint_gap.mean()),
        "silhouette_iou": float(overlap[0] / overlap[1].clamp_min(1e-9)),
        "jumps": float((moved[inside] > 0.15).mean()) if inside.any() else 0.0,
    }


def agreement_lines(before: dict[str, float], after: dict[str, float] | None = None) -> str:
    """One line a measure."""
    lines = ["Agreement on the clips (needs no labels)" + ("" if after is None else ": before, after")]
    for name, title in AGREEMENT.items():
        numbers = [before[name]] if after is None else [before[name], after[name]]
        lines.append(f"  {title:<72}" + "".join(f"{number:10.3f}" for number in numbers))
    return "\n".join(lines)


def _read(network: PartGuidedNetwork, frames: PairSource, averaging: Averaging) -> tuple[Reading, Tensor]:
    """Every frame's reading and pinhole (N, 3, 3)."""
    device = next(network.parameters()).device
    found, pinholes = [], []
    for rows in _chunks(len(frames)):
        batch = frames.frames(rows).to(device)
        target = batch.need("target", by="self-training")
        K = intrinsics_of(batch)
        reading = averaged_reading(network, target, K, averaging, second_crop=network.second_crop)
        found.append(reading.to("cpu"))
        pinholes.append(K.cpu())
    return Reading.joined(found), torch.cat(pinholes)


def _paths(reading: Reading, frames: PairSource) -> Tensor:
    """(N,) the likeliest assignments through each clip."""
    clips, choice = _clip_of(frames), np.zeros(len(frames), np.int64)
    poses, logs = reading.joints.numpy(), reading.log_probability.numpy()
    for clip in np.unique(clips):
        rows = np.flatnonzero(clips == clip)
        choice[rows] = best_path(logs[rows], movement_cost(poses[rows[:-1]], poses[rows[1:]]))
    return torch.from_numpy(choice)


def _clip_of(frames: PairSource) -> np.ndarray:
    return np.repeat(np.arange(len(frames.clips)), [len(clip) for clip in frames.clips])


def _chunks(count: int, size: int = 64) -> list[np.ndarray]:
    return np.array_split(np.arange(count), -(-count // size))
