"""Which term, sample and step brought a NaN or Inf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from selfsup3d.models.modules.critic import alone
from selfsup3d.models.system import System, Update
from selfsup3d.structures.batch import Batch
from selfsup3d.training.ema import evaluating

__all__ = ["describe_nonfinite"]

_MAY_BE_MISSING = ("joints_2d", "source_joints_2d", "joints_3d", "source_joints_3d")
"""Joint fields mark missing joints by NaN; every other field must be finite."""


def describe_nonfinite(
    system: System,
    batches: Sequence[Batch],
    terms: Sequence[dict[str, Tensor]],
    gradients: Mapping[str, Tensor],
    update: Update,
    step: int,
    progress: float,
) -> str:
    """One line on what is not finite: an input, a loss term or a gradient, with the samples it comes from.

    Called after the backward of an update that went wrong. Finding the samples, and of a gradient the term, runs the update
    again for each sample alone, in evaluation mode.

    Args:
        system: plain and whole, not wrapped. batches: micro-batches of this process. terms: what the update gave for
            each of them. gradients: by parameter, or this process's part of them.
    """
    place = f"step {step}, update {update.name!r}"
    for batch in batches:
        for entry in fields(batch):
            value = getattr(batch, entry.name)
            if isinstance(value, Tensor) and value.is_floating_point() and entry.name not in _MAY_BE_MISSING:
                bad = (~torch.isfinite(value)).flatten(1).any(1) if value.dim() > 1 else ~torch.isfinite(value)
                if bool(bad.any()):
                    return f"{place}: input {entry.name!r} is not finite in {_samples(batch, bad)}"
    for batch, values in zip(batches, terms, strict=True):
        for name, value in values.items():
            if not bool(torch.isfinite(value)) and not name.startswith("_"):
                bad = _samples_with(system, batch, update, progress, name)
                where = _samples(batch, bad) if bool(bad.any()) else "the batch, in no sample alone"
                return f"{place}: loss term {name!r} is {value.item()} in {where}"
    groups = system.parameter_groups()
    updated = {id(parameter) for group in update.parameters for parameter in groups[group]}
    for name, parameter in system.named_parameters():
        gradient = gradients.get(name) if id(parameter) in updated else None
        if gradient is not None and not bool(torch.isfinite(gradient).all()):
            origin = _origin_of_gradient(system, batches, update, progress, parameter)
            return f"{place}: the gradient of {name} is not finite, though every loss term is: {origin}"
    return f"{place}: not finite in another process"


def _samples_with(system: System, batch: Batch, update: Update, progress: float, term: str) -> Tensor:
    """(B,) bool: samples that make the term non-finite by themselves."""
    bad = torch.zeros(len(batch), dtype=torch.bool)
    with evaluating(system), alone():
        for i in range(len(batch)):
            value = system(batch[i : i + 1], update.name, progress).get(term)
            bad[i] = value is not None and not bool(torch.isfinite(value))
    return bad


def _origin_of_gradient(
    system: System, batches: Sequence[Batch], update: Update, progress: float, parameter: nn.Parameter
) -> str:
    """The first loss term that gives the parameter a non-finite gradient, with the samples in which it does so."""
    bad: dict[str, list[int]] = {}
    for batch in batches:
        with evaluating(system), alone(), torch.enable_grad():
            for i in range(len(batch)):
                for term, value in system(batch[i : i + 1], update.name, progress).items():
                    if term.startswith("_") or not value.requires_grad:
                        continue
                    gradient = torch.autograd.grad(value, parameter, retain_graph=True, allow_unused=True)[0]
                    if gradient is not None and not bool(torch.isfinite(gradient).all()):
                        bad.setdefault(term, []).append(i)
        for term, rows in bad.items():
            return f"it comes from loss term {term!r} in {_samples(batch, _marked(rows, len(batch)))}"
    return "it comes from no loss term of a sample alone"


def _marked(rows: Sequence[int], count: int) -> Tensor:
    """(count,) bool, true in these rows."""
    marked = torch.zeros(count, dtype=torch.bool)
    marked[list(rows)] = True
    return marked


def _samples(batch: Batch, bad: Tensor) -> str:
    """The first bad samples by number and, where the data tells, by file."""
    rows = bad.nonzero().flatten().tolist()
    names = []
    for row in rows[:3]:
        number = row if batch.index is None else int(batch.index[row])
        meta: dict[str, Any] = batch.meta[row] if batch.meta else {}
        details = ", ".join(
            f"{k} {v}" for k, v in meta.items() if k in ("dataset", "file", "person", "frame", "action")
        )
        names.append(f"sample {number}" + (f" ({details})" if details else ""))
    return ", ".join(names) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")
