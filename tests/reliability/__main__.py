"""Kills, hostile files, fuzzed inputs and faults of the machine, tried and written down.

    python -m tests.reliability --output assets/results
    python -m tests.reliability --output /tmp/x --quick

The page is reliability.md, its figures reliability.json. It is the same code that the tests run (tests/reliability);
--quick tries a few of each. Exit code 1: something else happened than what is claimed; the page says what.
"""

import argparse
import os
import platform
import sys
import tempfile
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from selfsup3d.cli import set_environment
from selfsup3d.io.files import write_json, write_text
from tests.reliability import faults, kills
from tests.reliability.doors import DOORS
from tests.reliability.fuzz import fuzz
from tests.reliability.hostile import HOSTILE
from tests.reliability.measure import measure
from tests.reliability.process_counts import STEPS, weights_apart

PARTS = ("doors", "hostile", "faults", "kills", "processes")
MOST = 500e6
LONGEST = 1.0


def told(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    """What went wrong, and the last place in our own code."""
    places = [f for f in traceback.extract_tb(error.__traceback__) if "selfsup3d/" in f.filename]
    where = f" ({Path(places[-1].filename).name}:{places[-1].lineno})" if places else ""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}{where}"


def tried(name: str, action: Callable[[], Any]) -> dict[str, Any]:
    """A named attempt: its result, or what went wrong."""
    started = os.times()
    record: dict[str, Any] = {"name": name, "fault": ""}
    try:
        record["result"] = action()
    except faults.Unavailable as error:
        record["unavailable"] = str(error)
    except (Exception, BaseExceptionGroup) as error:
        record["fault"] = first_line(error)
    ended = os.times()
    record["cpu_s"] = round(sum(ended[:4]) - sum(started[:4]), 2)
    told(f"{name}: {record['fault'] or record.get('unavailable') or 'as it should be'} ({record['cpu_s']:.1f} s)")
    return record


def try_kills(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Half of the kills at random moments, half of them while a checkpoint is written."""
    context = kills.processes()
    whole = kills.whole_run(context, folder / "whole")
    writing = kills.WRITING[:1] if quick else kills.WRITING
    often = 1 if quick else 18

    def at_random() -> str:
        kills.kill_at_random(context, folder / "random", often)
        kills.assert_same_end(whole, folder / "random")
        return "bit-equal"

    def within(number: int) -> str:
        kills.kill_while_writing(context, folder / f"writing {number}", *writing[number])
        kills.assert_same_end(whole, folder / f"writing {number}")
        return "bit-equal"

    found = [{**tried(f"{often} kills of one run at random moments", at_random), "kills": often}]
    for number, (module, name, call) in enumerate(writing):
        one = tried(f"within call {call} of {module}.{name}", lambda number=number: within(number))  # type: ignore[misc]
        found.append({**one, "kills": 1})
    return found


def try_hostile(quick: bool) -> list[dict[str, Any]]:
    """Every hostile file in a process of its own."""
    context = kills.processes()
    found = []
    for number in range(0, len(HOSTILE), 40 if quick else 1):
        outcome = measure(context, number)
        wrong = "" if outcome.result == "refused" else outcome.result
        if not wrong and (outcome.cpu > LONGEST or outcome.memory > MOST):
            wrong = f"{outcome.cpu:.1f} s and {outcome.memory / 1e6:.0f} MB to refuse"
        found.append({"kind": outcome.kind, "name": outcome.name, "fault": wrong, "message": outcome.message,
                      "cpu_s": round(outcome.cpu, 3), "memory_mb": round(outcome.memory / 1e6, 1)})  # fmt: skip
        if wrong:
            told(f"{outcome.kind}: {outcome.name}: {wrong} {outcome.message[:200]}")
    return found


def try_doors(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Damaged inputs at every door."""
    found = []
    for number, door in enumerate(DOORS):
        place = folder / str(number)
        place.mkdir(parents=True)
        one = tried(door.name, lambda door=door, place=place: fuzz(door, place, 3 if quick else None))  # type: ignore[misc]
        tally = one.pop("result", None)
        found.append({**one, "read": tally.read if tally else 0, "refused": tally.refused if tally else 0,
                      "slowest_s": round(tally.slowest, 3) if tally else None})  # fmt: skip
    return found


def try_faults(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Faults of the machine."""
    place = faults.Place(folder / "place")
    chosen = ["64 open files, 400 clips", "data worker killed"] if quick else list(faults.FAULTS)
    found = []
    for name in chosen:
        one = tried(name, lambda name=name: faults.FAULTS[name](place))  # type: ignore[misc]
        if isinstance(one.get("result"), str):
            one["result"] = one["result"].replace(str(folder), "FOLDER").replace(sys.executable, "python")
        found.append(one)
    return found


def try_process_counts(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """One process and two."""
    return [] if quick else [tried("one process and two", lambda: weights_apart(faults.Place(folder / "place")))]


def page(record: dict[str, Any]) -> str:
    """The page of a record."""
    doors, hostile, killed, machine = (record[name] for name in ("doors", "hostile", "kills", "faults"))
    inputs, classes = sum(d["read"] + d["refused"] for d in doors), defaultdict(list)
    for case in hostile:
        classes[case["kind"]].append(case)
    number = sum(k["kills"] for k in killed)
    writing = sum(k["kills"] for k in killed[1:])
    wrong = [one for part in PARTS for one in record[part] if one["fault"]]
    lines = [
        "# Reliability", "",
        "What was done to the package on purpose, and what came of it. Written by", "",
        "    python -m tests.reliability --output assets/results", "",
        f"on {record['date']}, {record['machine']}; {record['cpu_s']:.0f} s of CPU. Times are of the CPU, so that a busy "
        "machine counts for nothing. The tests run the same code (tests/reliability).", "",
        f"**{number} kills, {len(hostile)} hostile files, {inputs:,} damaged inputs at {len(doors)} doors, {len(machine)} "
        f"faults of the machine: {len(wrong) or 'no'} surprise{'' if len(wrong) == 1 else 's'}.**", "",
        "## Kills", "",
        f"A run of {kills.STEPS} steps with a checkpoint at each is killed by SIGKILL {number} times, {writing} of them while a "
        "checkpoint is being written or an older one removed. After each kill every checkpoint under its name is whole; the run "
        "that goes on ends with the weights, averages, optimizers, log and metrics of an undisturbed one, bit for bit.", "",
        "| Where | Kills | Resumed run |", "|---|---|---|",
        *(f"| {k['name']} | {k['kills']} | {k['fault'] or k['result']} |" for k in killed), "",
        "## Hostile files", "",
        f"Each is read in a process of its own. Refused means one line that names the file (InputError), within {LONGEST:g} s "
        f"and {MOST / 1e6:.0f} MB beyond what the process, with its libraries imported, held; nothing of the file ran, and nothing was written.", "",
        "| Class | Files | Refused | Longest, s | Most memory, MB |", "|---|---|---|---|---|",
        *(
            f"| {kind} | {len(cases)} | {sum(not c['fault'] for c in cases)} | {max(c['cpu_s'] for c in cases):.2f} "
            f"| {max(c['memory_mb'] for c in cases):.0f} |"
            for kind, cases in classes.items()
        ), "",
        "## Damaged inputs", "",
        "Good files with one to four changes each: bytes turned, removed, repeated or put in, words and numbers replaced. "
        "Archives are damaged behind right checksums. Each input is read or refused; a traceback would be a surprise.", "",
        "| Door | Inputs | Read | Refused | Slowest, s | Traceback |", "|---|---|---|---|---|---|",
        *(
            f"| {d['name']} | {d['read'] + d['refused']} | {d['read']} | {d['refused']} | {d['slowest_s']} "
            f"| {d['fault'] or 'none'} |"
            for d in doors
        ), "",
        "## Faults of the machine", "",
        "Commands are run as people run them. The line that they print stands beside.", "",
        "| Fault | Came of it |", "|---|---|",
        *(
            f"| {f['name']} | {_cell(f['fault'] or ('could not be made here: ' + f['unavailable'] if 'unavailable' in f else f['result']))} |"
            for f in machine
        ), "",
    ]  # fmt: skip
    for one in record["processes"]:
        figures = one.get("result", {"largest": float("nan"), "relative": float("nan")})
        lines += [
            "## Process count", "",
            f"One process with 4 samples a step and two with 2 each train the tiny part-guided system on the same samples. Their "
            f"sums are rounded in another order: after {STEPS} steps the weights differ by up to {figures['largest']:.1e}, and no "
            f"tensor by more than {figures['relative']:.1e} of its norm. These are tensors that began at zero: a first step of Adam "
            "is as long as the learning rate, however small the gradient, so where one is nearly zero rounding decides its "
            "sign. So samples do not depend on the process count; weights do, by as much as rounding does. Resuming with the "
            "same number of processes is exact (above).", "",
        ]  # fmt: skip
    if wrong:
        lines += ["## Surprises", "", *(f"- {one['name']}: {_cell(one['fault'])}" for one in wrong), ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")[:300]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of reliability.md and reliability.json")
    parser.add_argument("--quick", action="store_true", help="a few of each: figures of no worth")
    args = parser.parse_args(argv)
    set_environment()
    warnings.simplefilter("ignore")
    settings.register_profile("page", deadline=None, derandomize=True, database=None,
                              suppress_health_check=list(HealthCheck))  # fmt: skip
    settings.load_profile("page")
    started = os.times()
    record: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        record["doors"] = try_doors(folder / "doors", args.quick)
        record["hostile"] = try_hostile(args.quick)
        record["faults"] = try_faults(folder / "faults", args.quick)
        record["kills"] = try_kills(folder / "kills", args.quick)
        record["processes"] = try_process_counts(folder / "processes", args.quick)
    ended = os.times()
    record["cpu_s"] = round(sum(ended[:4]) - sum(started[:4]), 1)
    write_json(args.output / "reliability.json", record)
    write_text(args.output / "reliability.md", page(record))
    told(str(args.output / "reliability.md"))
    return int(any(one["fault"] for name in PARTS for one in record[name]))


if __name__ == "__main__":
    sys.exit(main())
