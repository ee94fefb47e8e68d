"""What a run shows while it goes: a progress bar, scalars (TensorBoard and scalars.jsonl), images, throughput.

Only the main process writes. Both logs are bounded: intervals widen in long runs (`bounded_interval`).
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from selfsup3d.io.files import write_text
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.viz.sheets import sheet

__all__ = ["Monitor", "add_scalars", "bounded_interval"]

SCALARS, EVENTS = "scalars.jsonl", "tensorboard"


def bounded_interval(every: int, steps: int, most: int) -> int:
    """`every`, or the shortest longer interval that makes at most `most` entries of `steps` steps."""
    return max(every, -(-steps // most))


class Monitor:
    """Collects what updates report and shows its means.

    Args:
        folder: of the run.
        accelerator: gathers means over processes.
        start, steps: of the run; what a log holds from `start` on, it holds from a run that was cut off, and is removed.
        samples_per_step: over all processes.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, start: int, steps: int, samples_per_step: int) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.main = accelerator.is_main_process
        self.samples_per_step = samples_per_step
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._settings: dict[str, float] = {}
        self._since = (time.perf_counter(), start)
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=steps,
            initial=start,
            desc="training",
            unit="step",
            disable=not self.main,
            dynamic_ncols=terminal,
            mininterval=0.2 if terminal else 15.0,
            file=sys.stderr,
        )
        self._writer: SummaryWriter | None = None
        if self.main:
            cut(folder / SCALARS, start)
            self._writer = SummaryWriter(folder / EVENTS, purge_step=start + 1 if start else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def add(self, values: dict[str, Tensor], settings: dict[str, float]) -> None:
        """Take the values of an update into the means; `settings` (learning rates) are logged as they last were."""
        for name, value in values.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._settings |= settings

    def advance(self) -> None:
        """A step is done."""
        self._bar.update()

    def log(self, step: int) -> None:
        """Write the means since the last call; `step` counts the steps taken. All processes call it."""
        if not self._sums:
            return
        names = sorted(self._sums)
        means = torch.stack([self._sums[name] / self._counts[name] for name in names])
        means = self.accelerator.reduce(means, "mean")
        values = dict(zip(names, means.tolist(), strict=True))
        now, (then, before) = time.perf_counter(), self._since
        speed = (step - before) * self.samples_per_step / max(now - then, 1e-9)
        self._since = (now, step)
        # Turns alternate between steps: weighted by how often each came, their losses make the mean of a step.
        total = sum(
            values[name] * self._counts[name] / max(step - before, 1)
            for name in names
            if name.startswith("loss/") and not name.rsplit("/", 1)[-1].startswith("_")
        )
        self._sums, self._counts = {}, {}
        self._bar.set_postfix({"loss": f"{total:.4g}", "samples/s": f"{speed:.0f}"}, refresh=False)
        self.scalars(step, values | self._settings | {"total_loss": total, "samples_per_second": speed})

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write named numbers (main process)."""
        if self._writer is not None:
            _write(self.folder, self._writer, step, values)

    def images(self, step: int, panels: dict[str, Tensor]) -> None:
        """Write a grid, one column a title and one row a sample (main process)."""
        if self._writer is not None and panels:
            self._writer.add_image("panels", sheet(panels), step, dataformats="HWC")

    def say(self, message: str) -> None:
        """Print a line on stderr, above the progress bar."""
        tqdm.write(message, file=sys.stderr)


def add_scalars(folder: Path, step: int, values: dict[str, float]) -> None:
    """Write named numbers to the logs of a run that is over: what its last evaluation measured (main process)."""
    with SummaryWriter(folder / EVENTS) as writer:
        _write(folder, writer, step, values)


def _write(folder: Path, writer: SummaryWriter, step: int, values: dict[str, float]) -> None:
    for name, value in values.items():
        writer.add_scalar(name, value, step)
    with (folder / SCALARS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step} | {k: _plain(v) for k, v in values.items()}, allow_nan=False) + "\n")


def cut(path: Path, step: int) -> None:
    """Remove lines after `step` from a log of scalars, and a half-written last line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if parse_json(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, TypeError, KeyError):
            continue
    write_text(path, "".join(kept))


def _plain(value: float) -> float | None:
    """Seven digits, which float32 has; None for what JSON cannot say."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
