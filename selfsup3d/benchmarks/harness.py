"""How a kernel is measured: correctness first, then medians of interleaved runs beside its peers.

A benchmark is one file in this folder with one function and one line in `registry.BENCHMARKS`:

    def run(settings: Settings) -> Result:
        ours, theirs = ...                                          # callables without arguments, all data made before
        error = check(ours(), theirs(), tolerance=1e-5)             # raises Disagreement: wrong code is not timed
        times = measure({"ours": ours, "peer": theirs}, settings)   # warm-up, then round after round, each once
        return Result(ours_ms=times["ours"].median_ms, peer_ms=times["peer"].median_ms, peer="roma",
                      dtype="float32", max_error=error, peak_mb=peak_memory_mb(ours, settings))

Rules: everything runs in one process with the same threads; sizes and data are fixed (a seed, never the clock), smaller
where `settings.quick`; a peer that is not installed (`optional`) gives a Result with `peer_ms=None` and a `reason`; further
figures go into `notes`, name -> number, and are printed below the table. `machine` has the GEMM peak and the peak memory.
"""

from __future__ import annotations

import gc
import importlib
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Benchmark",
    "Disagreement",
    "Result",
    "Settings",
    "Timing",
    "check",
    "measure",
    "optional",
    "synchronize",
]


@dataclass(frozen=True)
class Settings:
    """What the person asked for.

    Attributes:
        threads: CPU threads of every contestant.
        device: where to run.
        seconds: time for one call of `measure`, warm-up apart.
        quick: small sizes, to test that a benchmark works; its figures mean nothing.
    """

    threads: int = 2
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seconds: float = 5.0
    quick: bool = False


@dataclass(frozen=True)
class Result:
    """One row of the table; None where a figure does not apply.

    Attributes:
        ours_ms, peer_ms: medians, milliseconds per call.
        peer: who that is.
        ratio: how many times faster we are; by default peer_ms / ours_ms. For shares, the share.
        bound: the best ratio (or share) that arithmetic admits, where that is known.
        dtype: of our computation.
        max_error: largest deviation from the peer or from the reference, in the unit of the result.
        peak_mb: memory that our call allocated beyond its arguments, MB.
        reason: why figures are absent.
        notes: further figures by name.
    """

    ours_ms: float | None = None
    peer_ms: float | None = None
    peer: str | None = None
    ratio: float | None = None
    bound: float | None = None
    dtype: str | None = None
    max_error: float | None = None
    peak_mb: float | None = None
    reason: str | None = None
    notes: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ratio is None and self.ours_ms and self.peer_ms is not None:
            object.__setattr__(self, "ratio", self.peer_ms / self.ours_ms)

    def to_json(self) -> dict[str, Any]:
        """The eight figures of every row; `reason` and `notes` only where there are any. NaN becomes null."""
        names = ("ours_ms", "peer_ms", "peer", "ratio", "bound", "dtype", "max_error", "peak_mb")
        row = {name: _finite(getattr(self, name)) for name in names}
        if self.reason:
            row["reason"] = self.reason
        if self.notes:
            row["notes"] = {name: _finite(value) for name, value in self.notes.items()}
        return row


@dataclass(frozen=True)
class Benchmark:
    """A kernel as the registry knows it.

    Attributes:
        run: measures it.
        summary: one line, for `--list`.
        reach: what we want, as printed beside the ratio: ">= 3".
        limit: where a committed figure falls short of it: what it is bound by, in words.
        beside_others: it meets other libraries' code, as calls in a script of one's own; all else is measured as commands
            run, with freed memory kept (`cli.keep_freed_memory`), which would help the others too.
    """

    run: Callable[[Settings], Result]
    summary: str
    reach: str = ""
    limit: str = ""
    beside_others: bool = False


@dataclass(frozen=True)
class Timing:
    """Of one contestant: the median, the distance between the quartiles as a share of it, and the slowest twentieth."""

    median_ms: float
    spread: float
    calls: int
    p95_ms: float


class Disagreement(ArithmeticError):
    """Two ways to compute one thing give different results: there is nothing to time."""


def check(ours: Tensor, reference: Tensor, tolerance: float, what: str = "results") -> float:
    """The largest absolute difference; raises Disagreement above `tolerance` or where either is not finite."""
    if ours.shape != reference.shape:
        raise Disagreement(f"{what}: shapes differ, {tuple(ours.shape)} and {tuple(reference.shape)}")
    if not ours.numel():
        return 0.0
    error = float((ours.detach().double() - reference.detach().double()).abs().max())
    if not error <= tolerance:
        raise Disagreement(f"{what} differ by {error:.3g}, allowed is {tolerance:.3g}")
    return error


def measure(
    contestants: Mapping[str, Callable[[], object]], settings: Settings, warmup: int = 5, rounds: int | None = None
) -> dict[str, Timing]:
    """Time contestants side by side.

    Each round calls every contestant once, beginning with another each time, so that whatever disturbs the machine
    disturbs all of them. Garbage collection waits outside the timed calls.

    Args:
        contestants: by name, without arguments.
        settings: `seconds` bounds the rounds (at least 5 are run, 2 where `quick`); `device` is waited for.
        warmup: calls of each before anything is timed.
        rounds: exactly so many instead.
    """
    names = list(contestants)
    for _ in range(2 if settings.quick else warmup):
        for name in names:
            contestants[name]()
    synchronize(settings.device)
    taken: dict[str, list[float]] = {name: [] for name in names}
    least, most = (2, 2) if settings.quick else (5, 100_000)
    least, most = (rounds, rounds) if rounds is not None else (least, most)
    collected = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        turn = 0
        while turn < least or (turn < most and time.perf_counter() - start < settings.seconds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                call = contestants[name]
                synchronize(settings.device)
                begin = time.perf_counter()
                call()
                synchronize(settings.device)
                taken[name].append(1e3 * (time.perf_counter() - begin))
            turn += 1
    finally:
        if collected:
            gc.enable()
    return {name: _timing(values) for name, values in taken.items()}


def optional(module: str) -> ModuleType | None:
    """A peer's module, or None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timing(values: list[float]) -> Timing:
    median = statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (median, median, median)
    p95 = sorted(values)[math.ceil(0.95 * len(values)) - 1]
    return Timing(median, (high - low) / median if median else 0.0, len(values), p95)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
