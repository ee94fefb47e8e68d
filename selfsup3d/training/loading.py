"""Batches from data workers, on machines with little shared memory, and what becomes of workers that die.

Workers hand tensors over in shared memory. Where /dev/shm is too small for that (64 MB in many containers), a batch that
does not fit is lost without a word and the loop would wait for it for ever: batches then go through pipes, as bytes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from selfsup3d.config.trainer import TrainerConfig
from selfsup3d.data.sampling.step_dataset import StepStream
from selfsup3d.errors import InputError, RunFailedError
from selfsup3d.structures.batch import Batch
from selfsup3d.training.signals import ignore_stop_signals

__all__ = ["loading"]

_PREFETCH = 2  # steps that each worker prepares ahead
_TIMEOUT = 1800.0  # s that the loop waits for a step's samples: as long as processes wait for one another
_AMPLE = 4 * 2**30  # bytes of shared memory beyond which nobody counts
_FEW_FILES = 512


@contextlib.contextmanager
def loading(
    stream: StepStream, settings: TrainerConfig, start: int, pin: bool
) -> Iterator[Iterator[tuple[int, list[Batch]]]]:
    """The steps that are left with their micro-batches; workers are closed at the end.

    Args:
        stream: of the run. settings: its workers. start: first step. pin: hand over page-locked tensors.

    Raises:
        InputError: of the data. RunFailedError: a worker was killed, or gave nothing for half an hour.
    """
    piped = settings.workers > 0 and _shared_memory_is_short(stream, settings.workers, start)
    loader: Any = DataLoader(
        _Piped(stream) if piped else stream,
        batch_size=None,
        sampler=range(start, settings.steps),
        num_workers=settings.workers,
        prefetch_factor=_PREFETCH if settings.workers else None,
        timeout=_TIMEOUT if settings.workers else 0,
        worker_init_fn=ignore_stop_signals,
        pin_memory=pin and not piped,
    )
    batches = iter(loader)
    # Workers otherwise live until the iterator is collected, which the traceback of an error puts off.
    close = getattr(batches, "_shutdown_workers", lambda: None)  # absent without workers
    whole = (pickle.loads(batch) if piped else batch for batch in batches)
    try:
        yield _errors_of_workers(zip(range(start, settings.steps), whole, strict=True), close)
    finally:
        close()


class _Piped(Dataset):
    """The same steps as bytes, which need no shared memory."""

    def __init__(self, stream: StepStream) -> None:
        self.stream = stream

    def __getitem__(self, step: int) -> bytes:
        return pickle.dumps(self.stream[step], protocol=pickle.HIGHEST_PROTOCOL)


def _shared_memory_is_short(stream: StepStream, workers: int, start: int) -> bool:
    """Whether the steps that workers prepare ahead do not fit in shared memory or in the limit of open files; one sample
    is made to know, where either is scarce. Said on stderr."""
    free, limit = _free(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    ahead = workers * (_PREFETCH + 1) + 1
    if free >= _AMPLE and limit >= _FEW_FILES:
        return False
    tensors = list(_tensors(StepStream(stream.source, stream.seed, 1)[start]))
    step = sum(t.numel() * t.element_size() for t in tensors) * stream.batch_size * stream.accumulation
    if 1.5 * step * ahead > free:
        reason = (
            f"/dev/shm has {free / 2**20:.0f} MB free, {workers} workers may need {1.5 * step * ahead / 2**20:.0f} MB"
        )
    elif len(tensors) * stream.accumulation * ahead + 64 > limit:
        reason = f"this process may have {limit} open files"
    else:
        return False
    print(
        f"{reason}: batches go through pipes, which is slower (docker: --shm-size 1g; ulimit -n 4096)", file=sys.stderr
    )
    return True


def _free(place: Path = Path("/dev/shm")) -> int:
    """Bytes left in shared memory; unlimited where it is not a file system."""
    try:
        status = os.statvfs(place)
    except OSError:
        return sys.maxsize
    return status.f_bavail * status.f_frsize


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))


def _errors_of_workers(
    steps: Iterator[tuple[int, list[Batch]]], close: Callable[[], None]
) -> Iterator[tuple[int, list[Batch]]]:
    """Workers wrap an error's message in a traceback; give InputErrors their own message back."""
    try:
        yield from steps
    except InputError as error:
        text = "\n".join(map(str, error.args))
        wrapped = re.search(r"in DataLoader worker process .*\n\S*Error: (?P<message>.*)", text, re.DOTALL)
        raise InputError(*(wrapped["message"].strip().splitlines() if wrapped else error.args)) from None
    except RuntimeError as error:
        if "timed out after" in str(error):
            _close_in_spite_of_deaths(close)
            raise RunFailedError(f"no samples came for {_TIMEOUT / 60:.0f} minutes: a data worker hangs") from None
        if not re.search(r"DataLoader worker \(pid.*(killed|exited)", str(error)):
            raise
        _close_in_spite_of_deaths(close)
        raise _killed(str(error).splitlines()[0].rstrip(". ")) from None
    except (ConnectionError, EOFError) as error:  # it died between announcing a batch and handing it over
        _close_in_spite_of_deaths(close)
        raise _killed(type(error).__name__) from None


def _close_in_spite_of_deaths(close: Callable[[], None]) -> None:
    """Torch raises wherever Python is when the system reports a worker's death; once all are closed it no longer does, and
    the state can be saved undisturbed."""
    for _ in range(20):
        try:
            close()
            return
        except RuntimeError:
            continue


def _killed(how: str) -> RunFailedError:
    return RunFailedError(
        f"a data worker was killed ({how}): often memory has run out; fewer trainer.workers or a smaller "
        "trainer.batch_size need less"
    )
