"""How long people wait before anything happens: CPU seconds of whole commands, each in a process of its own.

The row is of `selfsup3d predict --help`; the import beyond torch and the first prediction of a released model stand in the
notes, beside what importing torch alone costs.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings
from selfsup3d.io.resources import example_people

__all__ = ["BENCHMARK", "run"]


def _cpu_seconds(command: list[str]) -> float:
    """CPU time, user and system, of a command that must end well."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(settings: Settings) -> Result:
    """See the module."""
    commands = {
        "help": ["-m", "selfsup3d", "predict", "--help"],
        "torch_s": ["-c", "import torch"],
        "import_s": ["-c", "import torch, selfsup3d"],
        "first_prediction_s": ["-m", "selfsup3d", "predict", "--checkpoint", "synth-v1", "--overwrite", "--input"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        commands["first_prediction_s"] += [str(example_people() / "person-2.png"), "--output", folder]
        for _ in range(1 if settings.quick else 7):  # in turns: a machine's pace changes within minutes
            for name, command in commands.items():
                taken[name].append(_cpu_seconds(command))
    beyond = [both - torch for both, torch in zip(taken.pop("import_s"), taken["torch_s"], strict=True)]
    helped = statistics.median(taken.pop("help"))
    notes: dict[str, float | str] = {name: statistics.median(seconds) for name, seconds in taken.items()}
    return Result(ours_ms=1e3 * helped, notes=notes | {"import_beyond_torch_s": statistics.median(beyond)})


BENCHMARK = Benchmark(
    run,
    "CPU time of --help; of the import and a first prediction (wanted: 2 s, .3 s, 4 s)",
)
