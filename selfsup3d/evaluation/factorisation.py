"""How a latent space is divided between modalities: active units, those that are shared, and what each part tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from selfsup3d.evaluation.metrics import root_relative

__all__ = ["active_units", "factorisation", "linear_fit"]

_ACTIVE = 0.01
"""Least variance over frames of a unit's mean (Burda et al. 2016, "Importance weighted autoencoders", sec. 5)."""

_AGREEING = 0.5
"""Least correlation between two modalities' means of a unit that counts as shared **[ours]**."""

_RIDGE = 1e-2  # of the probe, relative to the features' variance


def active_units(means: Tensor) -> Tensor:
    """(D,) bool, of posterior means (N, D): units that vary from frame to frame."""
    return means.double().var(0) > _ACTIVE


def factorisation(means: Mapping[str, Tensor], truth: Tensor | None, images: Tensor | None) -> dict[str, Any]:
    """Counts of units, and shares of variance (R^2, on held-out frames) that linear probes explain.

    Args:
        means: encoder -> (N, D) posterior means of the same frames.
        truth: (N, 17, 3) poses. images: (N, 3, S, S), whose mean colour is probed.
    """
    active = {name: active_units(values) for name, values in means.items()}
    results: dict[str, Any] = {"units": {name: int(units.sum()) for name, units in active.items()}}
    if len(means) < 2:
        return results | {"reason": "needs two modalities to be shared between"}
    first, second = list(means)[:2]
    agree = correlation(means[first], means[second]) > _AGREEING
    shared = active[first] & active[second] & agree
    results["shared"] = int(shared.sum())
    results["private"] = {name: int((active[name] & ~shared).sum()) for name in (first, second)}
    wanted: dict[str, Tensor] = {}
    if truth is not None and bool(torch.isfinite(truth).all()):
        wanted["pose"] = root_relative(truth)[:, 1:].flatten(1)
    if images is not None:
        wanted["colour"] = images.flatten(2).mean(2)
    results["explained"] = {
        f"{what} from {part} units of {name}": linear_fit(means[name][:, units], values)
        for what, values in wanted.items()
        for name in (first, second)
        for part, units in (("shared", shared), ("private", active[name] & ~shared))
        if bool(units.any())
    }
    return results


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """(D,) Pearson's correlation of the columns of (N, D) and (N, D); 0 where one is constant."""
    a, b = a.double() - a.double().mean(0), b.double() - b.double().mean(0)
    size = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return torch.where(size > 1e-12, (a * b).sum(0) / size.clamp(min=1e-12), torch.zeros_like(size))


def linear_fit(features: Tensor, values: Tensor) -> float | None:
    """R^2 of ridge regression, fitted on the first half of the frames and measured on the second; None for few frames.

    Frames stand in the order of their clips, so the halves share few people.
    """
    half = len(features) // 2
    if half < 2:
        return None
    x, y = features.double(), values.double()
    mean, scale = x[:half].mean(0), x[:half].std(0).clamp(min=1e-9)
    x = torch.cat(((x - mean) / scale, torch.ones(len(x), 1, dtype=x.dtype)), 1)
    train = x[:half]
    penalty = _RIDGE * half * torch.eye(x.shape[1], dtype=x.dtype)
    penalty[-1, -1] = 0.0
    weights = torch.linalg.solve(train.T @ train + penalty, train.T @ y[:half])
    left = (y[half:] - x[half:] @ weights).square().sum()
    total = (y[half:] - y[:half].mean(0)).square().sum().clamp(min=1e-12)
    return round(float(1.0 - left / total), 4)
