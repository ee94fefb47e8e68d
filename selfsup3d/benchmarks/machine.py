"""The machine that figures are taken on: what it is, whether it is idle, how fast it multiplies matrices."""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from selfsup3d import __version__
from selfsup3d.benchmarks.harness import Settings, measure, synchronize

__all__ = ["busy_shares", "describe", "gemm_peak", "peak_memory_mb", "pin", "resident_mb", "versions"]

PACKAGES = ("torch", "numpy", "torchvision", "kornia", "timm", "accelerate", "roma", "smplx")


def allowed_cpus() -> list[int]:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def busy_shares(seconds: float = 1.0) -> dict[int, float]:
    """How busy each allowed CPU is with other work, 0 to 1, observed while this process sleeps.

    From /proc/stat; elsewhere the load average, spread evenly.
    """
    before = _proc_stat()
    if before is None:
        cpus = allowed_cpus()
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        return {cpu: min(load / len(cpus), 1.0) for cpu in cpus}
    time.sleep(seconds)
    after = _proc_stat() or before
    shares = {}
    for cpu in allowed_cpus():
        idle, total = (now - then for now, then in zip(after[cpu], before[cpu], strict=True))
        shares[cpu] = 1.0 - idle / total if total else 0.0
    return shares


def _proc_stat() -> dict[int, tuple[int, int]] | None:
    """CPU -> (idle, total) ticks since boot."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return None
    table = {}
    for line in lines:
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(value) for value in fields[:8]]  # user nice system idle iowait irq softirq steal
            table[int(name[3:])] = (ticks[3] + ticks[4], sum(ticks))
    return table


def pin(cpus: Sequence[int]) -> None:
    """Keep every thread of this process on `cpus`, and torch on as many threads."""
    torch.set_num_threads(len(cpus))
    if not hasattr(os, "sched_setaffinity"):
        return
    os.sched_setaffinity(0, cpus)
    tasks = Path("/proc/self/task")
    for task in tasks.iterdir() if tasks.is_dir() else ():  # threads that libraries started at import
        try:
            os.sched_setaffinity(int(task.name), cpus)
        except (OSError, ValueError):  # it has ended meanwhile
            continue


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, cores, memory, system, and the GPU where it is used."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    found: dict[str, Any] = {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": memory,
        "system": f"{platform.system()} {platform.release()}",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "device": str(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def versions() -> dict[str, str]:
    """Python, ours, and those packages and peers that are installed."""
    found = {"python": sys.version.split()[0], "selfsup3d": __version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=8)
def gemm_peak(dtype: torch.dtype, settings: Settings) -> float:
    """FLOP/s of the best square matrix product of this type, with the threads in force.

    The denominator of every "share of the peak": what the machine's own library reaches, not what its maker promises.
    A multiply and an add count as two.
    """
    sizes = (64,) if settings.quick else (4096, 8192) if settings.device.type == "cuda" else (512, 1024, 2048)
    best = 0.0
    for size in sizes:
        first = torch.randn(size, size, device=settings.device).to(dtype)
        second = torch.randn(size, size, device=settings.device).to(dtype)
        out = torch.empty_like(first)
        call = {"gemm": lambda a=first, b=second, c=out: torch.mm(a, b, out=c)}
        timing = measure(call, settings, warmup=2, rounds=3 if settings.quick else 15)["gemm"]
        best = max(best, 2.0 * size**3 / (1e-3 * timing.median_ms))
    return best


def peak_memory_mb(call: Callable[[], object], settings: Settings) -> float | None:
    """Memory that one call needs at its peak beyond what was there before, MB; None where it is not known.

    On the CPU the resident set's high-water mark, reset through /proc (Linux); warm the call up first.
    """
    gc.collect()
    if settings.device.type == "cuda":
        synchronize(settings.device)
        torch.cuda.reset_peak_memory_stats(settings.device)
        before = torch.cuda.memory_allocated(settings.device)
        call()
        synchronize(settings.device)
        return (torch.cuda.max_memory_allocated(settings.device) - before) / 1e6
    _return_free_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        start = _status_kb("VmRSS")
        call()
        peak = _status_kb("VmHWM")
    except OSError:
        return None
    return None if start is None or peak is None else max(peak - start, 0) * 1024 / 1e6


def resident_mb(which: Literal["now", "peak"], device: torch.device) -> float:
    """Memory that this process holds now, or held at its peak, MB; on a GPU, its tensors there.

    The kernel's high-water mark of this very program (VmHWM): ru_maxrss also counts what the parent held when it
    started this process. Where there is no /proc, ru_maxrss stands in for both.
    """
    if device.type == "cuda":
        held = torch.cuda.max_memory_allocated if which == "peak" else torch.cuda.memory_allocated
        return held(device) / 1e6
    try:
        found = _status_kb("VmHWM" if which == "peak" else "VmRSS")
    except OSError:
        found = None
    if found is not None:
        return found * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _return_free_memory() -> None:
    """Give freed memory back to the system, or the next allocation would not show."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return


def _status_kb(key: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    return None
