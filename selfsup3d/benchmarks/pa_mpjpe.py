"""Aligning 4096 poses (PA-MPJPE): ours, whose rotations are roma's, against roma's registration and a plain SVD.

A quarter each: noisy predictions, mirror images, coplanar predictions, unrelated poses. All are first compared, frame by
frame, with an SVD in float64. Timed is what a metric does: find the similarity, move the source, average the distances.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, check, measure, optional
from selfsup3d.benchmarks.machine import peak_memory_mb
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.align import align, aligned_distances

__all__ = ["BENCHMARK", "run"]

POSES = 4096
TOLERANCE = 1e-5  # metres, on every joint of every frame


def _pairs(count: int) -> tuple[Tensor, Tensor]:
    """Source and target (count, 17, 3): the four kinds in turn."""
    generator = torch.Generator().manual_seed(0)
    target = torch.from_numpy(ProceduralPrior(10 if count < POSES else 200).poses)
    target = target[torch.randperm(len(target), generator=generator)]
    target = target.repeat(-(-count // len(target)), 1, 1)[:count]
    source = target + 0.05 * torch.randn(target.shape, generator=generator)
    mirror, flat = torch.tensor([1.0, -1.0, 1.0]), torch.tensor([0.0, 1.0, 1.0])
    source[1::4] = target[1::4] * mirror
    source[2::4] = source[2::4] * flat
    source[3::4] = target[3::4].roll(1, 0)
    return source, target


def _by_svd(source: Tensor, target: Tensor) -> Tensor:
    """The plain version: one SVD for each frame (Umeyama 1991)."""
    mean_source, mean_target = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    x, y = source - mean_source, target - mean_target
    covariance = y.mT @ x
    u, _, vh = torch.linalg.svd(covariance)
    sign = torch.linalg.det(u @ vh).sign()
    rotation = torch.cat((u[..., :2], u[..., 2:] * sign[..., None, None]), dim=-1) @ vh
    size = (rotation * covariance).sum((-1, -2)) / (x * x).sum((-1, -2))
    return size[..., None, None] * (x @ rotation.mT) + mean_target


def _by_roma(registration: Callable[..., tuple[Tensor, Tensor, Tensor]], source: Tensor, target: Tensor) -> Tensor:
    rotation, translation, size = registration(source, target, compute_scaling=True)
    return size[..., None, None] * (source @ rotation.mT) + translation[..., None, :]


def _metric(method: Callable[[Tensor, Tensor], Tensor], source: Tensor, target: Tensor) -> Tensor:
    """(N) mean distances after alignment."""
    return (method(source, target) - target).square().sum(-1).sqrt().mean(-1)


def _our_metric(source: Tensor, target: Tensor) -> Tensor:
    return aligned_distances(source, target).mean(-1)


def run(settings: Settings) -> Result:
    """See the module."""
    source, target = (part.to(settings.device) for part in _pairs(64 if settings.quick else POSES))
    reference = _by_svd(source.double(), target.double())
    methods: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ours": align, "svd": _by_svd}
    roma = optional("roma")
    if roma is not None:
        methods["roma"] = partial(_by_roma, roma.rigid_points_registration)
    errors = {}
    for name, method in methods.items():
        allowed = TOLERANCE if name == "ours" else 1e-3  # peers are reported, not judged
        errors[name] = check(method(source, target), reference, allowed, f"{name} and an SVD in float64")
    contestants: dict[str, Callable[[], Tensor]] = {
        name: partial(_metric, method, source, target) for name, method in methods.items() if name != "ours"
    }
    contestants["ours"] = partial(_our_metric, source, target)
    check(contestants["ours"](), _metric(lambda *_: reference, source, target.double()), TOLERANCE, "our errors")
    times = measure(contestants, settings)
    notes: dict[str, float | str] = {
        "svd_ms": times["svd"].median_ms,
        "times_faster_than_svd": times["svd"].median_ms / times["ours"].median_ms,
        "svd_error": errors["svd"],
        "spread": times["ours"].spread,
    }
    if roma is not None:
        notes["roma_error"] = errors["roma"]
    return Result(
        ours_ms=times["ours"].median_ms,
        peer_ms=times["roma"].median_ms if roma is not None else None,
        peer="roma.rigid_points_registration",
        dtype="float32",
        max_error=errors["ours"],
        peak_mb=peak_memory_mb(contestants["ours"], settings),
        reason=None if roma is not None else "roma is not installed: pip install roma",
        notes=notes,
    )


BENCHMARK = Benchmark(run, f"alignment and error of {POSES} x 17, and roma's registration and a plain SVD", ">= 1")
