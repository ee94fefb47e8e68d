"""Putting batches together: what mixtures, replacements of bad samples and evaluation need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from selfsup3d.structures.batch import Batch, Camera

__all__ = ["concatenate"]


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Batches one after another. A field that any of them lacks is None: a system must not see half a field.

    Raises:
        ValueError: no batches, or different skeletons.
    """
    if not batches:
        raise ValueError("no batches to concatenate")
    if len(batches) == 1:
        return batches[0]
    if len({b.skeleton.name for b in batches}) > 1:
        raise ValueError("batches of different skeletons cannot be concatenated")
    changes: dict[str, Any] = {}
    for entry in fields(Batch):
        values = [getattr(b, entry.name) for b in batches]
        if entry.name == "meta":
            changes["meta"] = tuple(m for b in batches for m in b.meta) if all(values) else ()
        elif entry.name == "skeleton":
            changes["skeleton"] = values[0]
        elif any(value is None for value in values):
            changes[entry.name] = None
        elif isinstance(values[0], Camera):
            parts = [[getattr(v, name) for v in values] for name in ("rotation", "translation", "K")]
            changes[entry.name] = Camera(*(torch.cat(part) for part in parts))
        else:
            changes[entry.name] = torch.cat(values)
    return replace(batches[0], **changes)
