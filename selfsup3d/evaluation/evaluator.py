"""Run a system over the frames of a dataset and put every number, with its rules, into one result.

    result = evaluate(system, source, protocol=dataset_protocol("synthetic"))

The frames are split over the processes without padding, so that every frame counts once, whatever their number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from selfsup3d import __version__
from selfsup3d.data.sampling.dataset import Frames
from selfsup3d.errors import InputError
from selfsup3d.evaluation.baselines import Baselines, features_of, known_joints
from selfsup3d.evaluation.diagnostics import occluded_joints
from selfsup3d.evaluation.images import Lpips, iou, label_overlap
from selfsup3d.evaluation.keypoint_baselines import flat_pose
from selfsup3d.evaluation.protocols import Protocol
from selfsup3d.evaluation.records import Records
from selfsup3d.evaluation.summary import result_numbers, summarise
from selfsup3d.evaluation.synthesis import cycle, synthesis_values
from selfsup3d.geometry.rotation import minimal_rotation
from selfsup3d.models.system import System
from selfsup3d.puppet.puppet import Puppet, default_puppet
from selfsup3d.structures.batch import Batch, PoseOutput
from selfsup3d.structures.skeleton import NUM_JOINTS, joint_index

if TYPE_CHECKING:  # slow to load
    from accelerate import Accelerator

__all__ = ["collect", "evaluate", "evaluate_frames", "frame_indices", "parts_of_joint"]


def evaluate(system: System, source: Frames, **options: Any) -> dict[str, Any]:
    """Every metric of a system on a dataset, in the literal shape of a result file; see `evaluate_frames`."""
    return evaluate_frames(system, source, **options)[0]


def evaluate_frames(
    system: System,
    source: Frames,
    *,
    protocol: Protocol | None = None,
    baselines: Baselines | None = None,
    split: str = "",
    batch_size: int = 64,
    samples: int = 1,
    limit: int | None = None,
    accelerator: Accelerator | None = None,
    lpips: Lpips | None = None,
    images: bool = True,
    progress: bool = True,
    checkpoint: str = "",
    config_hash: str = "",
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Every metric of a system on a dataset, and the values of single frames behind them.

    Args:
        system: unwrapped; it is put into eval mode and back.
        source: the frames, see `Frames`.
        protocol: the rules; None = strict, 17 joints.
        baselines: guesses to print beside; None = none.
        split: of the dataset, for the result.
        batch_size: frames at a time in each process.
        samples: hypotheses to ask of a probabilistic system; the first is measured, and the best of them beside it.
        limit: at most so many frames, evenly spaced over the dataset.
        accelerator: processes and device; None = this process on the system's own device.
        lpips: see `evaluation.images.find_lpips`; None = reported as null.
        images: measure synthesis too, where system and data can.
        progress: bar on stderr.
        checkpoint, config_hash: what was evaluated, for the result.

    Returns:
        The result as a dict that JSON can hold; and by name (N,) arrays: "index", "dataset", "person", "action" where
        known, and metrics (NaN where a frame has no truth). Both are the same on every process.

    Raises:
        MissingFieldError: the system needs a field that the data lacks.
        InputError: the dataset has no frames.
    """
    protocol = protocol or Protocol()
    baselines = baselines or Baselines()
    records = collect(
        system,
        source,
        protocol=protocol,
        baselines=baselines,
        batch_size=batch_size,
        samples=samples,
        limit=limit,
        accelerator=accelerator,
        lpips=lpips,
        images=images,
        progress=progress,
    )
    summary = summarise(records, protocol, baselines)
    result = {
        "dataset": source.name,
        "split": split,
        "protocol": protocol.name,
        "flags": protocol.flags.as_dict(),
        **result_numbers(summary, baselines),
        "checkpoint": checkpoint,
        "config_hash": config_hash,
        "versions": {"selfsup3d": __version__, "torch": torch.__version__},
    }
    result["skipped"] += int(getattr(source, "skipped", 0))
    notes = _notes(source, protocol, records, result)
    if notes:
        result["notes"] = notes
    parts = _per_dataset(records, protocol, baselines)
    if parts:
        result["per_dataset"] = parts
    who = {name: records.values[name] for name in ("index", "dataset", "person", "action") if name in records}
    return result, who | summary.per_frame


@torch.inference_mode()
def collect(
    system: System,
    source: Frames,
    *,
    protocol: Protocol,
    baselines: Baselines,
    batch_size: int = 64,
    samples: int = 1,
    limit: int | None = None,
    accelerator: Accelerator | None = None,
    lpips: Lpips | None = None,
    images: bool = True,
    progress: bool = True,
) -> Records:
    """Per-frame records of all frames, on every process; arguments as in `evaluate_frames`."""
    indices = frame_indices(source, limit)
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    device = accelerator.device if accelerator else _device_of(system)
    chunks = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    if lpips is not None:
        lpips = lpips.to(device)
    pieces = []
    bar = tqdm(
        total=len(indices),
        desc=f"evaluate {source.name}",
        unit="frame",
        file=sys.stderr,
        disable=not progress or rank > 0,
    )
    with _evaluating(system), bar:
        for position in range(rank, len(chunks), world):
            batch = source.frames(chunks[position]).to(device)
            batch.require(system.predict_requires, by=type(system).__name__)
            output = system.predict(batch, samples)
            piece = frame_records(batch, output, chunks[position], protocol, baselines, takes_joints(system))
            if images:
                _add_images(piece, system, batch, lpips)
            pieces.append(piece)
            bar.update(sum(len(chunk) for chunk in chunks[position : position + world]))
    if accelerator is None or world == 1:
        everyone = pieces
    else:
        from accelerate.utils import gather_object

        everyone = gather_object(pieces)
    return Records.joined(everyone)


def frame_indices(source: Frames, limit: int | None = None) -> np.ndarray:
    """Indices of the frames to evaluate: all, or `limit` of them, evenly spaced.

    Raises:
        InputError: there is none, or the limit is below 1.
    """
    count = len(source)
    if count == 0:
        raise InputError(f"dataset {source.name}: it has no evaluation frames; check the split and the path")
    if limit is None or limit >= count:
        return np.arange(count)
    if limit < 1:
        raise InputError(f"the number of frames to evaluate must be at least 1, got {limit}")
    return np.unique(np.linspace(0, count - 1, limit).round().astype(np.int64))


def frame_records(
    batch: Batch,
    output: PoseOutput,
    indices: np.ndarray,
    protocol: Protocol,
    baselines: Baselines,
    from_joints: bool = False,
) -> Records:
    """What is kept of one batch: poses, truth, overlaps, and who is in it.

    `from_joints`: the system was given the 2D joints, so their confidence says nothing of the truth.
    """
    pose = output.pose
    if pose.dim() != 4 or pose.shape[0] != len(indices) or pose.shape[2:] != (NUM_JOINTS, 3):
        raise ValueError(f"predict must return poses ({len(indices)}, S, {NUM_JOINTS}, 3), got {tuple(pose.shape)}")
    if protocol.flags.crop_ray and batch.K is not None and batch.target is not None:
        pose = _along_the_ray(pose, batch.K, (batch.target.shape[-2], batch.target.shape[-1]))
    found: dict[str, Tensor] = {"pose": pose}
    if output.root is not None:
        found["root"] = output.root
    if batch.joints_3d is not None:
        found["target"], found["known"] = batch.joints_3d, known_joints(batch, not from_joints)
    if output.joints_2d is not None and batch.joints_2d is not None and batch.joints_2d.dim() == 3:
        distance = torch.linalg.vector_norm(output.joints_2d[:, 0] - batch.joints_2d, dim=-1)
        if batch.confidence is not None:
            distance = torch.where(batch.confidence > 0, distance, torch.full_like(distance, float("nan")))
        found["joints_2d_error"] = distance.nanmean(-1)
    flat = flat_pose(batch) if from_joints else None
    if flat is not None:
        found["flat"] = flat
    overlaps, reasons = _overlaps(batch, output)
    found |= overlaps
    if baselines.neighbour is not None:
        features = features_of(batch)
        if features is not None and features.shape[1] == baselines.neighbour.features.shape[1]:
            found["neighbour"] = baselines.neighbour(features)
    values = {name: value.detach().float().cpu().numpy() for name, value in found.items()}
    values["index"] = np.asarray(indices, np.int64)
    for key in ("dataset", "person", "action"):
        if any(key in meta for meta in batch.meta):
            values[key] = np.array(["" if meta.get(key) is None else str(meta[key]) for meta in batch.meta])
    return Records(values, reasons, unit=output.unit)


def takes_joints(system: System) -> bool:
    """Whether a system is given 2D joints (a lifter), and their confidence with them."""
    return "joints_2d" in system.predict_requires


def parts_of_joint(puppet: Puppet) -> dict[int, tuple[int, ...]]:
    """Joint -> the parts that show it: those it is an anchor of, and for joints inside the body head or torso."""
    inside = {"nose": "head", "pelvis": "torso", "spine": "torso", "neck": "torso"}
    shown: dict[int, list[int]] = {joint_index(name): [puppet[part].id] for name, part in inside.items()}
    for part in puppet.parts:
        for name in part.anchors:
            shown.setdefault(joint_index(name), []).append(part.id)
    return {joint: tuple(sorted(set(parts))) for joint, parts in sorted(shown.items())}


def _overlaps(batch: Batch, output: PoseOutput) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Part and saliency overlaps with the true labels, and the joints that other parts hide; or why they are missing."""
    if batch.part_labels is None:
        return {}, dict.fromkeys(("miou_fg", "miou_parts", "saliency_iou"), "the data has no part labels")
    reasons: dict[str, str] = {}
    puppet = default_puppet()
    labels = batch.part_labels
    found: dict[str, Tensor] = {"labelled": torch.ones(len(labels))}
    if output.segmentation is not None:
        scores = output.segmentation.float()
        if scores.shape[1] != len(puppet) + 1:
            raise ValueError(
                f"segmentation has {scores.shape[1]} channels, the part table {len(puppet)} parts + background"
            )
        if scores.shape[-2:] != labels.shape[-2:]:
            scores = torch.nn.functional.interpolate(scores, labels.shape[-2:], mode="bilinear", align_corners=False)
        found["overlap"] = label_overlap(scores.argmax(1), labels, puppet.background)
    else:
        reasons |= dict.fromkeys(("miou_fg", "miou_parts"), "the system gives no segmentation")
    if batch.target_saliency is None:
        reasons["saliency_iou"] = "the data has no saliency"
    else:
        found["saliency_overlap"] = iou(batch.target_saliency, (labels != puppet.background)[:, None].float())
    if batch.joints_2d is not None and batch.joints_2d.dim() == 3:
        found["hidden"] = occluded_joints(batch.joints_2d, labels, parts_of_joint(puppet))
    return found, reasons


def _add_images(piece: Records, system: System, batch: Batch, lpips: Lpips | None) -> None:
    values, reasons, transferred = synthesis_values(system, batch, default_puppet().background, lpips)
    if "target" in system.predict_requires:
        for prefix, image in transferred.items():
            values |= {prefix + name: value for name, value in cycle(system, batch, image).items()}
    piece.values |= {name: value.detach().float().cpu().numpy() for name, value in values.items()}
    piece.reasons |= reasons


def _along_the_ray(pose: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
    """Poses (B, S, 17, 3) rotated from the virtual camera that looks through the crop's centre into the true one's axes."""
    centre = pose.new_tensor([0.5 * size[1], 0.5 * size[0], 1.0])
    ray = torch.linalg.solve(K.to(pose.dtype), centre.expand(len(K), 3))
    rotation = minimal_rotation(pose.new_tensor([0.0, 0.0, 1.0]).expand_as(ray), ray)
    return torch.einsum("bij,bsnj->bsni", rotation, pose)


def _notes(source: Frames, protocol: Protocol, records: Records, result: dict[str, Any]) -> dict[str, str]:
    """What must be said beside the numbers: where joints, boxes and masks come from."""
    notes = {**protocol.notes, **getattr(source, "notes", {})}
    if protocol.joints != "h36m_17":
        notes["joint_set"] = protocol.joints
    if result["metrics"].get("psnr") is not None and "labelled" not in records:
        notes["mask"] = "images are compared inside the saliency: the data has no true masks"
    if result["metrics"].get("identity") is not None:
        people = len(set(records.values["person"].tolist()))
        notes["own person nearest"] = f"by the colours of parts, among {people} people; chance {1 / people:.3f}"
    return notes


def _per_dataset(records: Records, protocol: Protocol, baselines: Baselines) -> dict[str, dict[str, Any]]:
    """The numbers of each dataset of a mixture; nothing where there is only one."""
    if "dataset" not in records:
        return {}
    datasets = records.values["dataset"]
    names = sorted(set(datasets.tolist()) - {""})
    if len(names) < 2:
        return {}
    return {
        name: result_numbers(summarise(records.where(datasets == name), protocol, baselines), baselines)
        for name in names
    }


def _device_of(system: System) -> torch.device:
    parameter = next(system.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def _evaluating(system: System) -> Iterator[None]:
    """Eval mode inside, the former mode after."""
    training = system.training
    system.eval()
    try:
        yield
    finally:
        system.train(training)
