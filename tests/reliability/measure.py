"""One hostile file in a process of its own: what its reader said, and what that took."""

import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsup3d.errors import InputError
from tests.reliability.hostile import CANARY, HOSTILE

__all__ = ["Outcome", "measure"]

LONGEST = 60.0
"""Seconds of CPU after which a case has hung."""
_MOST = 8 << 30
"""Bytes of address space beyond what a process begins with: a case that takes more is stopped."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        kind, name: of the case. result: "refused", "read", or what went wrong. message: of the refusal.
        cpu: seconds of its reader. memory: bytes at its peak beyond what was there before.
    """

    kind: str
    name: str
    result: str
    message: str = ""
    cpu: float = 0.0
    memory: int = 0


def measure(context: Any, number: int) -> Outcome:
    """Try `HOSTILE[number]` in a process made by `kills.processes()`."""
    case = HOSTILE[number]
    with tempfile.TemporaryDirectory() as folder:
        here, there = context.Pipe(False)
        process = context.Process(target=_try, args=(number, Path(folder), there))
        process.start()
        there.close()
        process.join(2 * LONGEST)
        if process.is_alive():
            process.kill()
            process.join()
            return Outcome(case.kind, case.name, "hangs")
        if not here.poll():
            return Outcome(case.kind, case.name, f"ends the process (exit {process.exitcode})")
        return here.recv()  # type: ignore[no-any-return]


def _try(number: int, folder: Path, pipe: Any) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    case = HOSTILE[number]
    path = case.write(folder)
    before = set(folder.rglob("*"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    started, standing = time.process_time(), _memory("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + _MOST,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + LONGEST),) * 2)
    result, message = "read", ""
    try:
        case.read(path)
    except InputError as error:
        result, message = "refused", str(error)
    except BaseException as error:  # what this is about
        result, message = f"raises {type(error).__name__}", str(error)
    cpu, memory = time.process_time() - started, _memory("VmHWM") - standing
    if (folder / CANARY).exists() or Path(CANARY).exists():
        result = "runs what a file says"
    elif set(folder.rglob("*")) != before:
        result = "writes"
    pipe.send(Outcome(case.kind, case.name, result, message.replace(str(folder), "FOLDER")[:300], cpu, max(memory, 0)))


def _memory(name: str) -> int:
    """Bytes of this process, by the kernel's name for them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
