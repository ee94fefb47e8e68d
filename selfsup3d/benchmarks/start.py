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
from pathlib import Path

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings
from selfsup3d.io.resources import example_people

__all__ = ["BENCHMARK", "run"]


def _cpu_seconds(command: list[str], rounds: int) -> float:
    """Median CPU time, user and system, of a command that must end well."""
    found = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, capture_output=True, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(found)


def run(settings: Settings) -> Result:
    """See the module."""
    rounds = 1 if settings.quick else 5
    helped = _cpu_seconds(["-m", "selfsup3d", "predict", "--help"], rounds)
    torch = _cpu_seconds(["-c", "import torch"], rounds)
    imported = _cpu_seconds(["-c", "import torch, selfsup3d"], rounds)
    notes: dict[str, float | str] = {"torch_s": torch, "import_beyond_torch_s": imported - torch}
    person = example_people() / "person-2.png"
    with tempfile.TemporaryDirectory() as folder:
        predict = ["-m", "selfsup3d", "predict", "--checkpoint", "synth-v1", "--input", str(person)]
        notes["first_prediction_s"] = statistics.median(
            _cpu_seconds([*predict, "--output", str(Path(folder) / str(n))], 1) for n in range(rounds)
        )
    return Result(ours_ms=1e3 * helped, notes=notes)


BENCHMARK = Benchmark(
    run,
    "CPU time of --help; of the import and a first prediction (wanted: 2 s, .3 s, 4 s)",
)
