"""What grows over a training run: memory, open files, TensorBoard and checkpoints, over 2,000 steps of the real loop.

The `tiny` part-guided networks at 32 px in the joint stage, which uses all of them, with data workers, checkpoints and
images as in any run; what the process holds is noted where a run would evaluate.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from selfsup3d.benchmarks.harness import Settings
from selfsup3d.benchmarks.machine import describe, versions
from selfsup3d.builders.systems import build_source, build_system
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.experiments.release import example_frames
from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch
from selfsup3d.training.loop import train

__all__ = ["page", "run_long"]

STEPS = 2000
EVERY = 100
WARM = 500
"""Steps after which nothing may grow: until then libraries load and allocators settle."""
ALLOWED_MB = 16.0


def run_long(settings: Settings) -> str:
    """Train and give the page.

    Raises:
        InputError: a system without /proc, which memory and open files are read from.
    """
    if not Path("/proc/self/statm").exists():
        raise InputError("--long-run: memory and open files are read from /proc, which this system does not have")
    steps, every = (20, 5) if settings.quick else (STEPS, EVERY)
    held: dict[int, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder), settings, steps, every)
        source, validation = build_source(config, "train"), build_source(config, "val")

        def note(_: System) -> dict[str, float]:
            """Called every `every` steps, in the process that trains."""
            held[len(held) * every + every] = _held()
            return {"open_files": float(held[max(held)][1])}

        images: Batch | None = example_frames(validation, 2)
        train(config, build_system(config), source, images=images, evaluate=note)
        run = config.folder
        kept = {
            "checkpoints": len(list((run / "checkpoints").iterdir())),
            "TensorBoard MB": sum(f.stat().st_size for f in (run / "tensorboard").iterdir()) / 1e6,
            "scalars.jsonl MB": (run / "scalars.jsonl").stat().st_size / 1e6,
        }
    return page(held, kept, settings, steps)


def _config(folder: Path, settings: Settings, steps: int, every: int) -> Config:
    """A run that logs each step, saves often and draws as often as the log allows."""
    trainer = {
        "steps": steps, "batch_size": 2, "workers": 2, "threads": settings.threads, "device": settings.device.type,
        "mixed_precision": "no", "log_every": 1, "image_every": 10, "checkpoint_every": every, "keep_checkpoints": 2,
        "evaluate_every": every, "fit_batches": 2,
    }  # fmt: skip
    return Config.model_validate({
        "output_dir": folder / "run",
        "system": {"kind": "part_guided", "preset": "tiny", "stages": {"pretrain": 0.0, "decoder": 0.0, "joint": 1.0}},
        "data": {"kind": "synthetic", "preset": "tiny-test", "size": 32, "root": folder / "cache"},
        "trainer": trainer,
    })  # fmt: skip


def _held() -> tuple[float, int]:
    """Resident MB and open files of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd"))


def page(held: Mapping[int, tuple[float, int]], kept: Mapping[str, float], settings: Settings, steps: int) -> str:
    """Markdown of what was held at which step."""
    machine = describe(torch.device("cpu"))
    late = {step: value for step, value in held.items() if step >= min(WARM, steps // 2)}
    first = next(iter(late.values()))
    memory = max(value[0] for value in late.values()) - first[0]
    files = max(value[1] for value in late.values()) - first[1]
    flat = memory <= ALLOWED_MB and files <= 0
    lines = [
        f"# What a run holds over {steps:,} steps",
        "",
        "The real loop, `tiny` networks at 32 px in the joint stage, two data workers, a checkpoint every "
        f"{EVERY} steps, each step logged, images drawn; {machine['processor']}, torch {versions()['torch']}.",
        "",
        "    selfsup3d benchmark --long-run assets/results/long_run.md --threads 1",
        "",
        f"From step {min(late):,} on resident memory rose by at most {memory:.1f} MB and open files by {files}: "
        f"{'flat' if flat else 'NOT FLAT'} (allowed: {ALLOWED_MB:.0f} MB, 0 files).",
        "",
        *(f"- {name}: {value:.3g}" for name, value in kept.items()),
        "",
        "| step | resident MB | open files |",
        "|---:|---:|---:|",
        *(f"| {step:,} | {value[0]:.1f} | {value[1]} |" for step, value in held.items()),
        "",
    ]
    return "\n".join(lines)
