"""Sweeps: configs x budgets x seeds, each trained, measured under several conditions and kept in one JSON file.

A *cell* is one run. Cells that are done are skipped, a run that was cut off goes on, and every finished cell is written
at once, so a sweep can be done in several sittings. Budgets in minutes are turned into steps by a short run that
measures the speed; the number is kept, and schedules depend on steps alone, so a cell is the same however often it was
interrupted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsup3d.config.load import load_config, nearest
from selfsup3d.config.run import Config
from selfsup3d.config.sweep import SweepConfig, reference, references
from selfsup3d.errors import InputError
from selfsup3d.experiments.run_facts import run_facts
from selfsup3d.io.files import write_json
from selfsup3d.io.json_yaml import parse_json

__all__ = ["Cell", "Launcher", "Sweep", "plateau_reached"]

_STDERR = 2  # the file descriptor: stdout is kept for the table


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    experiment: str
    budget: str
    seed: int

    @property
    def key(self) -> str:
        """In results.json."""
        return f"{self.experiment} | {self.budget} | {self.seed}"

    def other(self, reference: str) -> Cell:
        """The cell that "{run:ID}" or "{run:ID@BUDGET}" refers to."""
        experiment, _, budget = reference.partition("@")
        return Cell(experiment, budget or self.budget, self.seed)

    @property
    def folder(self) -> str:
        """Below runs/."""
        return f"{self.experiment}-{self.budget}-{self.seed}".replace(" ", "_").replace("/", "_")


Launcher = Callable[[str, Sequence[str], int], None]
"""Runs a command of selfsup3d with arguments in so many processes; raises InputError where that fails."""


def run_script(name: str, arguments: Sequence[str], processes: int = 1) -> None:
    """Run a command in a process of its own, or several that train together, its output passed through to stderr.

    Raises:
        InputError: it fails.
        KeyboardInterrupt: it was stopped by a signal.
    """
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(together if processes > 1 else []), "-m", "selfsup3d", name, *arguments]
    done = subprocess.run(command, stdout=_STDERR, check=False)
    if done.returncode in (130, -2, -15):
        raise KeyboardInterrupt
    if done.returncode != 0:
        raise InputError(f"selfsup3d {name} failed with exit code {done.returncode}: {' '.join(command)}")


class Sweep:
    """Runs the cells of a sweep that are not done yet.

    Args:
        config: see `SweepConfig`.
        extra: further flags for every training run that change where data lie, not what is trained.
        launch: runs a command.
        facts: what to show of a finished run's folder besides its errors.
    """

    def __init__(
        self,
        config: SweepConfig,
        extra: Sequence[str] = (),
        launch: Launcher = run_script,
        facts: Callable[[Path], dict[str, str]] = run_facts,
    ) -> None:
        self.config, self.extra, self.launch, self.facts = config, tuple(extra), launch, facts
        self.path = config.output / "results.json"
        self.results: dict[str, Any] = {"cells": {}, "speeds": {}}
        if self.path.exists():
            try:
                self.results = parse_json(self.path.read_text(encoding="utf-8"))
                self.results["cells"], self.results["speeds"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{self.path}: no results of a sweep ({error}); move it away") from None

    def cells(self, experiments: Sequence[str] = (), budgets: Sequence[str] = ()) -> list[Cell]:
        """Every cell, budget by budget; only these experiments and budgets where any are named.

        Raises:
            InputError: no such experiment or budget.
        """
        known_names = (("experiment", experiments, self.config.experiments), ("budget", budgets, self.config.budgets))
        for kind, names, known in known_names:
            for name in names:
                if name not in known:
                    raise InputError(f"no {kind} {name!r}{nearest(name, known)}; there are {', '.join(known)}")
        return [
            Cell(experiment, budget, seed)
            for budget in (budgets or self.config.budgets)
            for experiment in self.config.experiments_of(budget)
            if not experiments or experiment in experiments
            for seed in self.config.seeds_of(budget)
        ]

    def folder(self, cell: Cell) -> Path:
        """Of its run."""
        return self.config.output / "runs" / cell.folder

    def done(self, cell: Cell) -> bool:
        """Whether its results are there and were made with the settings of now."""
        found = self.results["cells"].get(cell.key)
        return found is not None and found["settings"] == self.settings(cell)

    def settings(self, cell: Cell) -> str:
        """A hash of everything that a cell's numbers depend on but the code."""
        experiment, budget = self.config.experiments[cell.experiment], self.config.budgets[cell.budget]
        # What is shown, or chosen, changes no number; one process is the default.
        unrelated = {"title", "experiments", "seeds"} | ({"processes"} if budget.processes == 1 else set())
        values = [
            load_config(experiment.config).hash,
            experiment.flags,
            experiment.protocol,
            self.config.flags,
            budget.model_dump(exclude=unrelated),
            self.config.evaluations,
            cell.seed,
            [self.settings(cell.other(name)) for name in references(experiment)],
        ]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def run(self, cells: Sequence[Cell], minutes: float | None = None, say: Callable[[str], None] = print) -> bool:
        """Run cells that are not done; False where the time was up first.

        Args:
            cells: in order.
            minutes: no cell is begun once this long has passed.
            say: gets a line for each cell.
        """
        start = time.monotonic()
        for number, cell in enumerate(cells, 1):
            if self.done(cell):
                continue
            if minutes is not None and time.monotonic() - start > 60.0 * minutes:
                say(f"{minutes:g} minutes are over; the same command goes on")
                return False
            say(f"[{number}/{len(cells)}] {cell.key}")
            self.results["cells"][cell.key] = self._run(cell)
            self._write()
        return True

    # ------------------------------------------------------------------------------------------------------ one cell

    def _run(self, cell: Cell) -> dict[str, Any]:
        budget = self.config.budgets[cell.budget]
        folder = self.folder(cell)
        steps = budget.steps or self._steps_for(cell, budget.minutes or 0.0, budget.processes)
        stamp, settings = folder / "sweep.json", self.settings(cell)
        if stamp.exists() and parse_json(stamp.read_text(encoding="utf-8")) != [settings, steps]:
            shutil.rmtree(folder)  # left by other settings
        write_json(stamp, [settings, steps])
        began = time.monotonic()
        flags = ["--trainer.steps", str(steps), "--output-dir", str(folder), "--resume", "auto"]
        if budget.plateau is not None:
            flags += ["--trainer.evaluate-every", str(max(1, steps // 10))]
        if not (folder / "metrics.json").exists():
            self.launch("train", [*self._train_flags(cell), *flags], budget.processes)
        seconds = time.monotonic() - began
        numbers = {}
        for name, given in self.config.evaluations.items():
            place = folder / f"evaluation-{name.replace(' ', '_')}.json"
            given = tuple(flag.format(protocol=self.config.experiments[cell.experiment].protocol) for flag in given)
            self.launch("evaluate", ["--checkpoint", str(folder), *given, "--json", str(place)], 1)
            result = parse_json(place.read_text(encoding="utf-8"))
            kept = ("metrics", "reasons", "flags", "baselines", "frames", "cross_modal")
            numbers[name] = {key: result[key] for key in kept if key in result}
        converged = None
        if budget.plateau is not None:
            curve = validation_curve(folder, self.config.watched)
            converged = plateau_reached(curve, budget.plateau)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the model stays
        return {
            "settings": settings,
            "steps": steps,
            "seconds": round(seconds, 1),
            "course": validation_course(folder, self.config.metrics, budget.processes),
            "converged": converged,
            "facts": self.facts(folder),
            "evaluations": numbers,
            "folder": str(folder),
        }

    def _train_flags(self, cell: Cell) -> list[str]:
        experiment = self.config.experiments[cell.experiment]
        flags = list(experiment.flags)
        for index, flag in enumerate(flags):
            if (name := reference(flag)) is not None:
                other = cell.other(name)
                if not self.done(other):
                    raise InputError(f"{cell.key} needs the run of {other.key}, which is not done")
                flags[index] = str(self.folder(other))
        return ["--config", str(experiment.config), *self.config.flags, *flags, *self.extra, "--seed", str(cell.seed)]

    def _steps_for(self, cell: Cell, minutes: float, processes: int) -> int:
        """Steps that take so long, by a run measured once for each experiment."""
        speeds = self.results["speeds"]
        name = cell.experiment if processes == 1 else f"{cell.experiment}, {processes} processes"
        if name not in speeds:
            folder = self.config.output / "runs" / f"{cell.experiment}-speed".replace(" ", "_")
            shutil.rmtree(folder, ignore_errors=True)
            steps = self.config.calibration_steps
            short = [
                "--trainer.steps",
                str(steps),
                "--trainer.log-every",
                str(max(1, steps // 6)),
                "--trainer.images",
                "0",
            ]
            self.launch("train", [*self._train_flags(cell), *short, "--output-dir", str(folder)], processes)
            speeds[name] = seconds_per_step(folder, processes)
            shutil.rmtree(folder, ignore_errors=True)
            self._write()
        return max(1, int(60.0 * minutes / speeds[name]))

    def _write(self) -> None:
        write_json(self.path, self.results)


def _lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "scalars.jsonl").read_text(encoding="utf-8")
    return [parse_json(line) for line in text.splitlines()]


def seconds_per_step(folder: Path, processes: int = 1) -> float:
    """Mean over a run's log; the first entry, in which caches and threads warm up, is left out."""
    config: Config = load_config(folder / "config.yaml")
    samples = config.trainer.batch_size * config.trainer.accumulation * processes
    speeds = [line["samples_per_second"] for line in _lines(folder) if "samples_per_second" in line]
    speeds = speeds[1:] or speeds
    if not speeds:
        raise InputError(f"{folder}: its log holds no speed; raise calibration_steps")
    return sum(samples / speed for speed in speeds) / len(speeds)


def validation_curve(folder: Path, metric: str) -> list[tuple[int, float]]:
    """(step, error) of the evaluations during a run, and of the one at its end."""
    curve = [(line["step"], line[f"val/{metric}"]) for line in _lines(folder) if line.get(f"val/{metric}") is not None]
    final = parse_json((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"].get(metric)
    steps = load_config(folder / "config.yaml").trainer.steps
    return [*curve, *([(steps, final)] if final is not None else [])]


def validation_course(folder: Path, metrics: Sequence[str], processes: int) -> dict[str, list[float]]:
    """Each evaluation on the validation split, the last at the end: samples and minutes of training before it, metrics.

    Minutes are of steps alone, by the speeds in the run's log; an interruption does not count.
    """
    config: Config = load_config(folder / "config.yaml")
    per_step = config.trainer.batch_size * config.trainer.accumulation * processes
    course: dict[str, list[float]] = {}
    step, seconds = 0, 0.0
    for line in [*_lines(folder), None]:
        if line is not None and "samples_per_second" in line:
            seconds += max(line["step"] - step, 0) * per_step / line["samples_per_second"]
            step = line["step"]
        if line is None or any(key.startswith("val/") for key in line):
            found = (
                parse_json((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]
                if line is None
                else {key.removeprefix("val/"): value for key, value in line.items()}
            )
            at = config.trainer.steps if line is None else line["step"]
            if course and course["samples"][-1] == at * per_step:
                continue  # the last step was evaluated twice
            values = {"samples": at * per_step, "minutes": round(seconds / 60.0, 2)}
            for name, value in (values | {m: found.get(m) for m in metrics}).items():
                course.setdefault(name, []).append(value)
    return course


def plateau_reached(curve: Sequence[tuple[int, float]], largest_fall: float) -> bool:
    """Whether the error fell by less than `largest_fall` (relative) over the last fifth of a curve of (step, error)."""
    if len(curve) < 2:
        return False
    last_step, last = curve[-1]
    before = [error for step, error in curve if step <= 0.8 * last_step]
    return bool(before) and (before[-1] - last) / before[-1] < largest_fall
