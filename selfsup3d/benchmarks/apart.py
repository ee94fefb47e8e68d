"""A training step measured in processes of its own: the peak of memory is then the step's and nobody else's.

    figures = measure_apart(Cell(size=64, batch=16))

starts `python -m selfsup3d.benchmarks.apart` once for each process of the cell; several are joined by gloo (nccl on
GPUs) and share the work as in training, a batch each.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

from selfsup3d.benchmarks.harness import synchronize
from selfsup3d.benchmarks.machine import resident_mb
from selfsup3d.benchmarks.training_step import TrainingStep, count_flops, made_up_batch, make_system
from selfsup3d.cli import keep_freed_memory

__all__ = ["Cell", "Figures", "measure_apart"]

_TIMEOUT = 1800


@dataclass(frozen=True)
class Cell:
    """What is measured: a fused joint step.

    Attributes:
        preset: of the networks. size: px. batch: samples of each process. parts: of the puppet.
        processes: that share the work. threads: CPU threads of each. seconds: to measure for; 0 = two steps.
        bf16: compute in bfloat16. device: "cpu" or "cuda".
    """

    preset: str = "tiny"
    size: int = 64
    batch: int = 16
    parts: int = 10
    processes: int = 1
    threads: int = 2
    seconds: float = 5.0
    bf16: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Figures:
    """Of a cell: median milliseconds of a step, peak memory of the largest process (MB), what that process held before
    its first step (MB), GFLOP of a step of one process, trainable parameters."""

    step_ms: float
    peak_mb: float
    before_mb: float
    gflop: float
    parameters: int


def measure_apart(cell: Cell) -> Figures:
    """Run a cell in new processes.

    Raises:
        RuntimeError: a process failed; the message ends with what it said.
    """
    port = _free_port() if cell.processes > 1 else 0
    workers = []
    for rank in range(cell.processes):
        env = os.environ | {"RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        env |= {"OMP_NUM_THREADS": str(cell.threads), "WORLD_SIZE": str(cell.processes)}
        command = [sys.executable, "-m", "selfsup3d.benchmarks.apart", json.dumps(asdict(cell))]
        workers.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    try:
        outputs = [worker.communicate(timeout=_TIMEOUT) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, (_, errors) in zip(workers, outputs, strict=True):
        if worker.returncode:
            raise RuntimeError(f"{cell} ended with {worker.returncode}: {errors.strip()[-500:]}")
    found = [Figures(**json.loads(out.splitlines()[-1])) for out, _ in outputs]
    return max(found, key=lambda figures: figures.peak_mb)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def run_cell(cell: Cell, rank: int) -> Figures:
    """Measure a cell in this process."""
    torch.set_num_threads(cell.threads)
    device = torch.device(cell.device)
    system = make_system(cell.preset, parts=cell.parts)
    wrap = (lambda s: DistributedDataParallel(s, find_unused_parameters=True)) if cell.processes > 1 else (lambda s: s)
    batch = made_up_batch(cell.size, cell.batch, seed=rank)
    dtype = torch.bfloat16 if cell.bf16 else torch.float32
    step = TrainingStep(system, batch, "joint", dtype, device, wrap)
    before = resident_mb("now", device)
    step.pair()  # makes the optimizers' state and chooses kernels
    synchronize(device)
    taken: list[float] = []
    start = time.perf_counter()
    # Two processes must stop together, so the number of steps is settled by the first one's speed.
    step.pair()
    synchronize(device)
    once = torch.tensor(time.perf_counter() - start)
    if cell.processes > 1:
        torch.distributed.broadcast(once, 0)
    rounds = 0 if cell.seconds == 0 else max(3, min(50, int(cell.seconds / float(once))))
    for _ in range(rounds):
        begin = time.perf_counter()
        step.pair()
        synchronize(device)
        taken.append(time.perf_counter() - begin)
    milliseconds = 1e3 * statistics.median(taken or [float(once)]) / 2
    peak = resident_mb("peak", device)  # before FLOPs are counted, which keeps tensors of its own
    single = TrainingStep(system, batch, "joint", dtype, device)
    flops = count_flops(single.pair) / 2e9
    return Figures(milliseconds, peak, before, flops, sum(p.numel() for p in system.parameters()))


def _main() -> None:
    keep_freed_memory()
    cell = Cell(**json.loads(sys.argv[1]))
    rank = int(os.environ["RANK"])
    if cell.processes > 1:
        torch.distributed.init_process_group("nccl" if cell.device == "cuda" else "gloo")
    figures = run_cell(cell, rank)
    print(json.dumps(asdict(figures)))
    if cell.processes > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    _main()
