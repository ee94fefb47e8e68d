"""What only a VAE across modalities can be asked: every pair, missing joints, and the four criteria of Shi et al. 2019.

    numbers = cross_modal_numbers(system, source, protocol=Protocol(), baselines=Baselines())

The criteria ("Variational mixture-of-experts autoencoders", sec. 1) are names; how each is measured is ours:

    latent factorisation  units of the latent that are active in every modality and agree (shared), those active in one
                          alone (private), and what a linear probe reads of pose and colour from each
    joint coherence       a draw from the prior, decoded to an image and to a pose: does the image's own encoder read
                          that pose off it?
    cross coherence       an image decoded from 2D joints: does it show the true pose?
    synergy               the error with both inputs, beside those with either
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.sampling.dataset import Frames
from selfsup3d.evaluation.baselines import Baselines, known_joints
from selfsup3d.evaluation.factorisation import factorisation
from selfsup3d.evaluation.measure import measure
from selfsup3d.evaluation.metrics import root_relative
from selfsup3d.evaluation.protocols import Protocol
from selfsup3d.models.cross_modal.fusion import fuse
from selfsup3d.models.cross_modal.modalities import ImageModality, Pose
from selfsup3d.models.cross_modal.system import CrossModalVAE
from selfsup3d.models.modules.gaussian import Gaussian
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams, gaussian_noise
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["MISSING", "Seen", "cross_modal_numbers", "see", "without_joints"]

MISSING = (0, 1, 2)
"""Joints that are taken away, at random."""

_MISSING_SEED = 0x315516
_PRIOR_DRAWS = 512

Numbers = dict[str, float | None]


@dataclass(frozen=True)
class Seen:
    """Frames of a dataset and their latents, on the CPU.

    Attributes:
        posteriors: of each encoder whose input is there, (N, D).
        truth: (N, 17, 3) metres, NaN where unknown; known: (N, 17). None = the data have no poses.
        images: (N, 3, S, S) where there are images.
        actions: N texts.
    """

    posteriors: dict[str, Gaussian]
    truth: Tensor | None
    known: Tensor | None
    images: Tensor | None
    actions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.actions)


@torch.no_grad()
def see(system: CrossModalVAE, source: Frames, indices: np.ndarray, batch_size: int = 64) -> Seen:
    """Encode frames of a dataset by every encoder that they have the input for (3D labels are no input)."""
    device = next(system.parameters()).device
    posteriors: dict[str, list[Gaussian]] = {}
    truth, known, images, actions = [], [], [], []
    for start in range(0, len(indices), batch_size):
        batch = source.frames(indices[start : start + batch_size]).to(device)
        for name in system.sources:
            if name != "joints_3d" and all(getattr(batch, f) is not None for f in system.modality(name).fields):
                found = system.posterior(batch, (name,), alone=True)
                posteriors.setdefault(name, []).append(found.map(Tensor.cpu))
        if batch.joints_3d is not None:
            truth.append(batch.joints_3d.cpu())
            known.append(known_joints(batch, by_confidence="joints_2d" not in system.sources).cpu())
        if batch.target is not None:
            images.append(_as_read(system, batch).cpu())
        actions += [str(meta.get("action") or "") for meta in batch.meta or ({},) * len(batch)]
    return Seen(
        {
            n: Gaussian(torch.cat([g.mean for g in gs]), torch.cat([g.log_variance for g in gs]))
            for n, gs in posteriors.items()
        },
        torch.cat(truth) if truth else None,
        torch.cat(known) if known else None,
        torch.cat(images) if images else None,
        tuple(actions),
    )


def _as_read(system: CrossModalVAE, batch: Batch) -> Tensor:
    """(B, 3, S, S) the images as the system sees them: cut out, where it is asked to."""
    if "image" not in system.modalities:
        return batch.need("target", by="the report")
    modality = system.modality("image")
    assert isinstance(modality, ImageModality)
    return modality.image(modality.values(batch))


def without_joints(batch: Batch, count: int) -> Batch:
    """The batch with `count` random 2D joints of each frame missing; which, depends on the frame's number only."""
    assert batch.joints_2d is not None
    assert batch.index is not None
    drawn = torch.from_numpy(RandomStreams(_MISSING_SEED, 0, batch.index.cpu().numpy()).uniform(NUM_JOINTS))
    rank = drawn.argsort(1).argsort(1).to(batch.joints_2d.device)
    seen = (rank >= count).to(batch.joints_2d.dtype)
    confidence = seen if batch.confidence is None else batch.confidence * seen
    joints = torch.where(confidence[..., None] > 0, batch.joints_2d, torch.full_like(batch.joints_2d, torch.nan))
    return batch.map(lambda t: joints if t is batch.joints_2d else confidence if t is batch.confidence else t)


@torch.no_grad()
def cross_modal_numbers(
    system: CrossModalVAE,
    source: Frames,
    *,
    protocol: Protocol,
    baselines: Baselines,
    limit: int = 1000,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Every pair, missing joints and the four criteria, as a dict that JSON can hold; mm, or 0-1 of an image.

    Args:
        system: in evaluation mode. source: of the frames. protocol: rules of the errors. baselines: its mean pose.
        limit: at most so many frames, evenly spaced.
    """
    count = min(limit, len(source))
    indices = np.unique(np.linspace(0, len(source) - 1, count).round().astype(np.int64))
    seen = see(system, source, indices, batch_size)
    meter = _Meter(system, seen, protocol)
    numbers: dict[str, Any] = {
        "frames": len(seen),
        "pairs": _pairs(meter),
        "missing_joints": _missing(system, source, indices, batch_size, meter),
        "criteria": {
            "latent_factorisation": factorisation(
                {name: posterior.mean for name, posterior in seen.posteriors.items()}, seen.truth, seen.images
            ),
            "joint_coherence": _joint_coherence(meter),
            "cross_coherence": _cross_coherence(meter, baselines),
            "synergy": _synergy(meter),
        },
    }
    return numbers


class _Meter:
    """Decodes latents of the frames and measures them."""

    def __init__(self, system: CrossModalVAE, seen: Seen, protocol: Protocol) -> None:
        self.system, self.seen, self.protocol = system, seen, protocol
        self.device = next(system.parameters()).device
        modality = system.modalities["joints_3d"] if "joints_3d" in system.targets else None
        self.metric = isinstance(modality, Pose) and modality.unit == "m"

    def has(self, source: str, target: str) -> bool:
        """Whether a target can be measured when it is decoded from a source."""
        there = self.seen.truth is not None if target == "joints_3d" else self.seen.images is not None
        return source in self.seen.posteriors and target in self.system.targets and target != "joints_2d" and there

    def latent(self, sources: Sequence[str]) -> Tensor:
        """(N, D) mean latent of one or several encoders."""
        return fuse([self.seen.posteriors[name] for name in sources], self.system.settings.fusion).mean

    def decode(self, z: Tensor, target: str) -> Tensor:
        """Decoded latents, on the CPU."""
        return torch.cat([self.system.decode(part.to(self.device), target).float().cpu() for part in z.split(256)])

    def encode_images(self, images: Tensor) -> Tensor:
        """(N, D) mean latents of images in [0, 1]."""
        parts = [
            self.system.posterior(Batch(target=part.to(self.device)), ("image",)).mean for part in images.split(128)
        ]
        return torch.cat(parts).cpu()

    def numbers(self, z: Tensor, target: str) -> Numbers:
        """Errors of what is decoded from latents."""
        decoded = self.decode(z, target)
        return self.pose_errors(decoded) if target == "joints_3d" else self.image_errors(decoded)

    def pose_errors(self, pose: Tensor, truth: Tensor | None = None) -> Numbers:
        """Mean errors against the truth of the frames, or against other poses; mm."""
        truth = self.seen.truth if truth is None else truth
        assert truth is not None
        known = self.seen.known if truth is self.seen.truth else torch.ones(truth.shape[:2], dtype=torch.bool)
        assert known is not None
        found = measure(pose.double(), truth.double(), known, self.protocol.flags, self.protocol.joints)
        names = ("mpjpe", "pa_mpjpe") if self.metric else ("pa_mpjpe", "n_mpjpe")
        return {name: _mean(found.frame[name][found.counted]) for name in names}

    def image_errors(self, images: Tensor) -> Numbers:
        """Mean absolute error and PSNR of images in [0, 1]."""
        assert self.seen.images is not None
        error = images - self.seen.images
        squared = error.square().flatten(1).mean(1).clamp(min=1e-10)
        return {"l1": _mean(error.abs().flatten(1).mean(1)), "psnr": _mean(-10.0 * squared.log10())}


def _pairs(meter: _Meter) -> dict[str, Numbers]:
    """Each source alone, and all together, to each target; whether a pair was trained or comes by the shared latent."""
    sources = [name for name in meter.system.sources if name in meter.seen.posteriors]
    table: dict[str, Numbers] = {}
    for target in meter.system.targets:
        groups: list[tuple[str, ...]] = [(name,) for name in sources]
        if len(sources) > 1:
            groups.append(tuple(sources))
        for group in groups:
            if all(meter.has(name, target) for name in group):
                table[f"{'+'.join(group)}->{target}"] = meter.numbers(meter.latent(group), target)
    if "image" in meter.system.targets and meter.seen.images is not None:
        mean = meter.seen.images.mean(0, keepdim=True).expand_as(meter.seen.images)
        table["mean of these images->image"] = meter.image_errors(mean)
    return table


def _missing(
    system: CrossModalVAE, source: Frames, indices: np.ndarray, batch_size: int, meter: _Meter
) -> dict[str, Numbers]:
    """Errors of predictions from 2D joints with some of them missing."""
    if not meter.has("joints_2d", "joints_3d"):
        return {}
    table: dict[str, Numbers] = {}
    for count in MISSING:
        poses = []
        for start in range(0, len(indices), batch_size):
            batch = source.frames(indices[start : start + batch_size])
            if batch.joints_2d is None or batch.joints_2d.dim() != 3:
                return {}
            poses.append(system.predict_with(without_joints(batch, count).to(meter.device), ("joints_2d",)).pose[:, 0])
        table[str(count)] = meter.pose_errors(torch.cat(poses).cpu())
    return table


def _joint_coherence(meter: _Meter) -> dict[str, Any]:
    """Distance between the pose decoded from a prior draw and the one read off the image decoded from it."""
    system = meter.system
    if "image" not in system.sources or not {"image", "joints_3d"} <= set(system.targets):
        return {"reason": "needs an encoder of images, and decoders of images and poses"}
    z = gaussian_noise(torch.arange(_PRIOR_DRAWS), (system.settings.latent,))
    poses = meter.decode(z, "joints_3d")
    read = meter.decode(meter.encode_images(meter.decode(z, "image")), "joints_3d")
    return {
        "draws": _PRIOR_DRAWS,
        "distance": meter.pose_errors(read, poses),
        "chance": meter.pose_errors(read.roll(1, 0), poses),
    }


def _cross_coherence(meter: _Meter, baselines: Baselines) -> dict[str, Any]:
    """Errors of poses read off images: the true ones, and those decoded from 2D joints."""
    needed = meter.has("joints_2d", "image") and meter.has("image", "joints_3d")
    if not needed:
        return {"reason": "needs encoders of joints_2d and images, and decoders of images and poses"}
    assert meter.seen.truth is not None
    made = meter.decode(meter.latent(("joints_2d",)), "image")
    results: dict[str, Any] = {
        "image from 2D": meter.numbers(meter.encode_images(made), "joints_3d"),
        "true image": meter.numbers(meter.latent(("image",)), "joints_3d"),
    }
    if baselines.mean_pose is not None and meter.metric:
        truth = root_relative(meter.seen.truth)
        results["mean pose"] = meter.pose_errors(baselines.mean_pose.float().cpu().expand_as(truth))
    return results


def _synergy(meter: _Meter) -> dict[str, Any]:
    """For each target: errors from each source and from both, and what the second input gains over the better one."""
    sources = [name for name in ("joints_2d", "image") if name in meter.seen.posteriors]
    if len(sources) < 2:
        return {"reason": "needs encoders of joints_2d and of images, and data with both"}
    results: dict[str, Any] = {}
    for target in ("joints_3d", "image"):
        if not meter.has("image", target):
            continue
        metric = "l1" if target == "image" else ("mpjpe" if meter.metric else "pa_mpjpe")
        alone = {name: meter.numbers(meter.latent((name,)), target)[metric] for name in sources}
        both = meter.numbers(meter.latent(sources), target)[metric]
        known = [value for value in alone.values() if value is not None]
        gain = min(known) - both if both is not None and len(known) == len(alone) else None
        results[target] = {"metric": metric, **alone, "both": both, "gain": gain}
    return results


def _mean(values: Tensor) -> float | None:
    mean = float(values.double().mean()) if len(values) else float("nan")
    return round(mean, 6) if np.isfinite(mean) else None
