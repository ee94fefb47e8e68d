"""The machine that a run finds: processes, device, precision, threads."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, PartialState
from torch import nn

from selfsup3d.config.trainer import TrainerConfig
from selfsup3d.errors import InputError
from selfsup3d.training.signals import launched

__all__ = ["any_process", "cpu_has_bf16", "is_depthwise", "make_accelerator", "same_buffers"]

_TIMEOUT = timedelta(minutes=30)
"""A process that waits longer than this for the others gives up; rendering a data cache is the longest wait."""


def make_accelerator(config: TrainerConfig, network: nn.Module | None = None) -> Accelerator:
    """Accelerate for this process, with precision, threads and determinism as configured.

    Args:
        network: what will be trained; `mixed_precision: auto` depends on its convolutions. None = without depthwise ones.

    Raises:
        InputError: a precision that the device lacks, or a launcher that asks for FSDP or DeepSpeed.
    """
    _check_launcher()
    state = PartialState(cpu=config.device == "cpu" or not torch.cuda.is_available(), timeout=_TIMEOUT)
    precision = _precision(config.mixed_precision, state.device, network is not None and is_depthwise(network))
    AcceleratorState._reset_state()  # a second run in one process may use another precision
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=state.device.type == "cpu",
        kwargs_handlers=[
            # Updates leave parameters unused, which DistributedDataParallel otherwise fails on at the second step.
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=_TIMEOUT),
        ],
    )
    threads = config.threads or _threads(accelerator.num_processes)
    if threads:
        torch.set_num_threads(threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a workspace
    torch.use_deterministic_algorithms(config.deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not config.deterministic
    return accelerator


def _check_launcher() -> None:
    """Refuse what `accelerate launch` may ask for and training here does not follow."""
    for name in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() in ("1", "true"):
            raise InputError(
                f"accelerate launch asks for {name}, which is not supported: the networks fit one device, and optimizers and "
                "checkpoints are kept by name; use --config_file configs/accelerate/ddp.yaml"
            )


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether the flag is set in any process; all processes must ask."""
    if accelerator.num_processes == 1:
        return flag
    value = torch.tensor(float(flag), device=accelerator.device)
    return bool(accelerator.reduce(value, "sum") > 0)


def same_buffers(accelerator: Accelerator, module: nn.Module) -> None:
    """Give all processes the main one's buffers, such as running statistics; all processes call it.

    Each process normalises by its own samples, and its statistics follow them; what is saved are the main one's.
    """
    if accelerator.num_processes > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, 0)


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 natively (AVX512-BF16, AMX, or ARM's BF16); emulation is slower than
    float32, so a library that merely accepts bf16 does not count."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:  # no Linux
        return False
    words = set(flags.split())
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def is_depthwise(network: nn.Module) -> bool:
    """Whether any convolution has a filter for each channel, as EfficientNet's and MobileNet's do."""
    return any(isinstance(m, nn.Conv2d) and 1 < m.groups == m.in_channels for m in network.modules())


def _precision(wanted: str, device: torch.device, depthwise: bool) -> str:
    cuda = device.type == "cuda"
    native = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else cpu_has_bf16()
    if wanted == "auto":
        # On CPUs, depthwise filters leave bf16's matrix units idle and pay for the conversions all the same.
        return "bf16" if native and (cuda or not depthwise) else "no"
    if wanted == "fp16" and not cuda:
        raise InputError("trainer.mixed_precision: fp16 needs a GPU, and there is none; use auto, bf16 or no")
    if wanted == "bf16" and cuda and not native:
        raise InputError("trainer.mixed_precision: this GPU has no bf16; use auto, fp16 or no")
    return wanted


def _threads(processes: int) -> int:
    """Threads that `threads: 0` stands for; 0 = leave torch's own choice.

    Launchers (accelerate, torchrun) set OMP_NUM_THREADS=1 where nobody set it, which would leave all cores but one
    idle: a 1 is therefore not believed under a launcher. Without a launcher torch counts the cores of the machine,
    of which a container may have a few.
    """
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is not None and not (launched() and threads == "1"):
        return 0
    return max(1, _cores() // int(os.environ.get("LOCAL_WORLD_SIZE", processes)))


def _cores(system: Path = Path("/sys")) -> int:
    """Physical cores that this process may use: by its affinity, and by the quota of its container."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    logical = os.sched_getaffinity(0)
    siblings = "devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        cores = len({(system / siblings.format(cpu)).read_text(encoding="ascii") for cpu in logical})
    except OSError:
        cores = len(logical)
    try:
        quota, period = (system / "fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores
