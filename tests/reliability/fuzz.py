"""Many damaged inputs at one door: each is read or refused by an InputError, and nothing else happens."""

import time
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from selfsup3d.errors import InputError
from tests.reliability.changes import CHANGES, changed
from tests.reliability.doors import Door

__all__ = ["Tally", "fuzz"]


@dataclass
class Tally:
    """What became of the inputs at a door: how many were read and refused, and CPU seconds of the slowest."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0

    @property
    def inputs(self) -> int:
        """All of them."""
        return self.read + self.refused


def fuzz(door: Door, folder: Path, inputs: int | None = None) -> Tally:
    """Try `inputs` damaged copies of the door's good files (by default as many as it asks for).

    Raises:
        Exception: whatever a reader raised that is no InputError; hypothesis names the smallest input that does it.
        AssertionError: a refusal that does not say which file it is about; a good input that is refused.
    """
    good = door.good()
    door.write(folder, good)
    door.read(folder)
    names, tally = sorted(good), Tally()

    @settings(max_examples=inputs or door.inputs, suppress_health_check=list(HealthCheck), deadline=None, database=None,
              derandomize=True)  # fmt: skip
    @given(changes=CHANGES)
    def check(changes):
        name = names[changes[0][1] % len(names)]
        door.write(folder, {**good, name: changed(good[name], changes)})
        started, told = time.process_time(), ""
        try:
            door.read(folder)
        except InputError as error:
            told = str(error)
        tally.slowest = max(tally.slowest, time.process_time() - started)
        tally.read += not told
        tally.refused += bool(told)
        assert not told or any(word in told for word in (str(folder), *door.says)), told

    check()
    return tally
