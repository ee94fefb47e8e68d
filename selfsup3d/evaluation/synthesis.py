"""Images made by a system against true ones: reconstruction, novel view, pose transfer; whom they show, and the cycle back
to a pose.

A system takes part by offering the methods of `Synthesizes`; those that it lacks are reported as null.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from selfsup3d.evaluation.baselines import mean_colour
from selfsup3d.evaluation.identity import part_colours
from selfsup3d.evaluation.images import Lpips, masked_psnr, masked_ssim
from selfsup3d.evaluation.metrics import mpjpe, pa_mpjpe
from selfsup3d.models.part_guided.network import PartGuidedNetwork
from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch

__all__ = ["TASKS", "Synthesizes", "Task", "cycle", "synthesis_values"]

_OUTSIDE = 0.5  # grey behind people whose background is unknown


@runtime_checkable
class Synthesizes(Protocol):
    """Images of people, (B, 3, H, W) in [0, 1]. Each method is optional."""

    def redraw(self, batch: Batch) -> Tensor:
        """`target` from its own appearance and the pose predicted from it."""
        ...

    def reconstruct(self, batch: Batch) -> Tensor:
        """`target` from the appearance of `source` and the pose predicted from `target`."""
        ...

    def novel_view(self, batch: Batch) -> Tensor:
        """The person of `target`, at the same instant, from `second_view_camera`."""
        ...

    def transfer(self, batch: Batch) -> Tensor:
        """The person of `source` in the given pose `transfer_joints_3d`."""
        ...

    def continued(self, batch: Batch, method: str) -> dict[str, tuple[Tensor, Tensor]]:
        """By name, what these methods are to be compared with, at the same poses: images whose person goes on beyond
        their outline ("continued" = the system's own), and the share (B, 1, H, W) of each pixel inside it."""
        ...


@dataclass(frozen=True)
class Task:
    """One kind of synthesis.

    Attributes:
        method: of the system.
        suffix: of its metrics ("psnr" + suffix).
        truth: field of the batch with the true image.
        labels: field with the part labels of the true image: they say where the person is. Where real data has
            none, `target_saliency` stands in for those of `target`.
        appearance: field with the image that shows the person to the system, which "copy the source" copies, unless it is
            the true image itself.
    """

    method: str
    suffix: str
    truth: str
    labels: str
    appearance: str


TASKS: tuple[Task, ...] = (
    Task("redraw", "_same_frame", "target", "part_labels", "target"),
    Task("reconstruct", "", "target", "part_labels", "source"),
    Task("novel_view", "_novel_view", "second_view", "second_view_labels", "target"),
    Task("transfer", "_transfer", "transfer", "transfer_labels", "source"),
)


def synthesis_values(
    system: object, batch: Batch, parts: int, lpips: Lpips | None
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, Tensor]]:
    """Per-frame image metrics inside the true person's mask.

    Args:
        system: may offer the methods of `Synthesizes`.
        batch: with the true images and their part labels.
        parts: P, the label of the background.
        lpips: see `evaluation.images.find_lpips`.

    Returns:
        values: (B,) by name: "psnr", "ssim", "lpips" + suffix, and the same under "copy_source/", "mean_colour/", and
            what the system's `continued` gives; beside them "colours" + suffix, see `identity.part_colours`, also under
            "truth/".
        reasons: name of the metric -> why it is missing.
        transferred: whole images by the same prefixes, to be read again by `cycle`.
    """
    values: dict[str, Tensor] = {}
    reasons: dict[str, str] = {}
    transferred: dict[str, Tensor] = {}
    for task in TASKS:
        names = [metric + task.suffix for metric in ("psnr", "ssim", "lpips")]
        reason = _why_not(system, batch, task)
        if reason:
            reasons |= dict.fromkeys(names, reason)
            continue
        truth, labels = getattr(batch, task.truth).float(), getattr(batch, task.labels)
        mask = batch.target_saliency if labels is None else (labels != parts)[:, None]
        assert mask is not None
        painted = getattr(system, task.method)(batch).float()
        shown = getattr(batch, task.appearance).float()
        guesses = {"": painted, "mean_colour/": mean_colour(shown, _person(batch, task, parts))}
        if task.appearance != task.truth:
            guesses["copy_source/"] = shown
        whole = guesses | {"truth/": truth}
        if callable(getattr(system, "continued", None)):
            for name, (colour, cover) in system.continued(batch, task.method).items():  # type: ignore[attr-defined]
                guesses[f"{name}/"] = colour
                if name != "continued":  # that one is seen as `painted`
                    behind = _OUTSIDE if batch.target_background is None else batch.target_background
                    whole[f"{name}/"] = cover * colour + (1.0 - cover) * behind
        if task.method == "transfer":
            transferred = whole
        shown_parts = torch.where(mask[:, 0] > 0.5, 0, parts) if labels is None else labels
        for prefix, image in (guesses | {"truth/": truth}).items():
            values[f"{prefix}colours{task.suffix}"] = part_colours(image, shown_parts, parts)
        for prefix, image in guesses.items():
            values[prefix + names[0]] = masked_psnr(image, truth, mask)
            values[prefix + names[1]] = masked_ssim(image, truth, mask)
            if lpips is not None:
                values[prefix + names[2]] = lpips(image, truth, mask)
        if lpips is None:
            reasons[names[2]] = "weights absent"
    return values, reasons, transferred


def cycle(system: System, batch: Batch, transferred: Tensor) -> dict[str, Tensor]:
    """Encode a transferred image again: how far is the pose found in it from the one that drove it?

    Returns:
        "cycle_mpjpe" and "cycle_pa_mpjpe" (B,) mm, strict rules; to be read beside those of the true images.
    """
    assert batch.transfer_joints_3d is not None
    read = partial(system.predict, decode=False) if isinstance(system, PartGuidedNetwork) else system.predict
    found = read(replace(batch, target=transferred, target_saliency=None, part_labels=None))
    target = batch.transfer_joints_3d.double()
    pose = found.pose[:, 0].double()
    return {"cycle_mpjpe": mpjpe(pose, target), "cycle_pa_mpjpe": pa_mpjpe(pose, target)}


def _why_not(system: object, batch: Batch, task: Task) -> str:
    """Why a task cannot be measured, or ""."""
    if not callable(getattr(system, task.method, None)):
        return f"the system has no {task.method}()"
    if not getattr(system, "paints", True):
        return "its decoder was not trained"
    by_saliency = task.truth == "target" and batch.part_labels is None
    needed = [task.truth, "target_saliency" if by_saliency else task.labels, task.appearance]
    needed += {"novel_view": ["second_view_camera"], "transfer": ["transfer_joints_3d"]}.get(task.method, [])
    missing = [name for name in needed if getattr(batch, name) is None]
    return f"the data has no {', '.join(missing)}" if missing else ""


def _person(batch: Batch, task: Task, parts: int) -> Tensor:
    """Where the person is in the image of the appearance (B, 1, H, W): saliency, else labels, else everywhere."""
    saliency = batch.source_saliency if task.appearance == "source" else batch.target_saliency
    if saliency is not None:
        return saliency
    if task.appearance == "target" and batch.part_labels is not None:
        return (batch.part_labels != parts)[:, None]
    assert batch.target is not None
    return torch.ones_like(batch.target[:, :1])
