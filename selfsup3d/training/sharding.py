"""Fully sharded training (FSDP2): every process keeps a part of the weights, of their average, of the gradients and of
the optimizer's state, and puts the weights together for the time of a forward and backward pass.

`accelerate launch` asks for it (configs/accelerate/fsdp.yaml). Accelerate ties a model to one optimizer made before
sharding; here torch's `fully_shard` is called instead, with the system as a single group. What is written stays whole:
checkpoints and models are the same files as those of any other run, read by any number of processes, sharded or not.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from selfsup3d.config.trainer import TrainerConfig
from selfsup3d.errors import InputError
from selfsup3d.models.system import System

__all__ = [
    "Shards",
    "check_launcher",
    "check_shardable",
    "joined",
    "local",
    "not_accelerates",
    "part_of",
    "parts_like",
    "requested",
    "whole",
    "whole_tensors",
]

_FSDP = "ACCELERATE_USE_FSDP"


# ------------------------------------------------------------------------------------------------- what can be sharded


def requested() -> bool:
    """Whether `accelerate launch` was told to shard."""
    return _on(_FSDP)


def check_launcher() -> None:
    """The settings by which `accelerate launch` announces sharding must be ones that training here follows.

    Raises:
        InputError: DeepSpeed, FSDP 1, or an option of FSDP that would be left unheard.
    """
    if _on("ACCELERATE_USE_DEEPSPEED"):
        raise InputError(
            "DeepSpeed is not supported: it owns the optimizer and the checkpoints, which are kept whole and by name here; "
            "use --config_file configs/accelerate/fsdp.yaml (systems with one optimizer) or configs/accelerate/ddp.yaml"
        )
    if not requested():
        return
    unheard = {
        "fsdp_version": os.environ.get("FSDP_VERSION", "1") != "2",
        "fsdp_auto_wrap_policy": os.environ.get("FSDP_AUTO_WRAP_POLICY", "NO_WRAP") != "NO_WRAP",
        "fsdp_offload_params": _on("FSDP_OFFLOAD_PARAMS"),
        "fsdp_activation_checkpointing": _on("FSDP_ACTIVATION_CHECKPOINTING"),
    }
    for name, wrong in unheard.items():
        if wrong:
            raise InputError(
                f"{name}: FSDP is supported as configs/accelerate/fsdp.yaml has it: fsdp_version 2, NO_WRAP, without "
                "offloading and activation checkpointing"
            )


def check_shardable(system: System, config: TrainerConfig) -> None:
    """A system that is to be sharded has one update and one optimizer from beginning to end.

    Raises:
        InputError: it has several, or the config asks for what was never made to work with shards.
    """
    if not requested():
        return
    told = [system.updates(step, step / 1000) for step in range(1000)]
    names = sorted({update.optimizer for updates in told for update in updates})
    if len(names) > 1 or any(len(updates) > 1 for updates in told):
        raise InputError(
            f"FSDP is for systems that one optimizer trains from beginning to end, in one update a step; "
            f"{type(system).__name__} takes up to {max(len(updates) for updates in told)} updates a step with {len(names)} "
            f"optimizers ({', '.join(names)}), each over networks of its own, and every update would gather and free the "
            "weights of all; use --config_file configs/accelerate/ddp.yaml"
        )
    if config.compile:
        raise InputError(
            "trainer.compile: FSDP exchanges the parameters that compiled code refers to; add --trainer.no-compile"
        )
    if config.channels_last:
        raise InputError(
            "trainer.channels_last: FSDP divides weights in their usual order; add --trainer.no-channels-last"
        )
    if config.mixed_precision == "fp16":
        raise InputError(
            "trainer.mixed_precision: fp16 sets its scale by gradients of whole weights; with FSDP use bf16 or no"
        )
    for name, parameter in system.named_parameters():
        if parameter.dim() == 0:
            raise InputError(f"FSDP cannot divide {name}, which is a single number; use configs/accelerate/ddp.yaml")


@contextmanager
def not_accelerates() -> Iterator[None]:
    """Inside, Accelerate does not know of FSDP, which it would insist to set up itself."""
    before = os.environ.get(_FSDP)
    os.environ.pop(_FSDP, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_FSDP] = before


def _on(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("1", "true")


# --------------------------------------------------------------------------------------------------- parts and wholes


class Shards:
    """Divides systems among the processes, and puts together plain ones again.

    Args:
        system: on its device and not divided yet; its architecture is remembered, without its weights.
    """

    def __init__(self, system: System) -> None:
        weightless = {
            id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
            for p in system.parameters()
        }
        self._blueprint = copy.deepcopy(system, weightless)

    def divide(self, system: System, device: torch.device) -> None:
        """Divide the parameters of a system among all processes, in place; buffers stay whole."""
        mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        fully_shard(system, mesh=mesh)

    def assemble(self, system: System) -> System:
        """A plain copy of a divided system, whole in every process; all processes call it."""
        assembled = copy.deepcopy(self._blueprint)
        # What a system knows beside its weights and buffers does not change in training.
        tensors = {name: whole(tensor).detach().clone() for name, tensor in system.state_dict().items()}
        assembled.load_state_dict(tensors, assign=True)
        return assembled.train(system.training)


def local(tensor: Tensor) -> Tensor:
    """This process's part, in the same memory; a tensor that is not divided is its own part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor; all processes call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_tensors(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Whole tensors by name; all processes call it, and those that do not `keep` them get none.

    Divided ones arrive on the CPU one by one, so that no device has to hold all of them.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = whole(tensor).cpu() if isinstance(tensor, DTensor) else tensor
        if keep:
            kept[name] = value
    return kept


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, divided as `like` is."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def parts_like(tensors: Mapping[str, Tensor], likes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors, each divided as the one of its name."""
    return {name: part_of(value, likes[name]) if name in likes else value for name, value in tensors.items()}


def joined(part: Tensor, like: Tensor) -> Tensor:
    """What belongs to a parameter (its optimizer's state), known by this process's part, as divided as it is."""
    if not isinstance(like, DTensor) or part.dim() == 0:
        return part
    return DTensor.from_local(
        part, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )
