"""The optimizers of a run: one for each name that updates use, stepping an update's parameters and no others.

All algorithms here work on each parameter by itself, so an optimizer of several parameter groups is kept as one
`torch.optim` instance per (name, group), made when an update first needs it. An update then steps exactly its own groups, and
a loss that a system never uses costs no memory.

"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from selfsup3d.config.load import nearest
from selfsup3d.config.trainer import OptimizerConfig, TrainerConfig
from selfsup3d.config.upgrade import OPTIMIZERS, upgrade_name
from selfsup3d.errors import InputError
from selfsup3d.models import schedules
from selfsup3d.models.system import System, Update

__all__ = ["UpdateOptimizers", "check_names", "learning_rate", "make_optimizer"]


def make_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The `torch.optim` optimizer that a config describes, in its fused form where there is one.

    Fused kernels go through memory once: on CPUs several times faster than torch's default, one operation at a time.
    """
    parameters = list(parameters)
    lr, decay = config.lr, config.weight_decay
    kinds = {parameter.device.type for parameter in parameters}
    fused = True if kinds <= {"cpu", "cuda"} else None
    match config.kind:
        case "adamw":
            return torch.optim.AdamW(
                parameters, lr=lr, betas=config.betas, weight_decay=decay, amsgrad=config.amsgrad, fused=fused
            )
        case "adam":
            return torch.optim.Adam(
                parameters, lr=lr, betas=config.betas, weight_decay=decay, amsgrad=config.amsgrad, fused=fused
            )
        case "adagrad":
            return torch.optim.Adagrad(parameters, lr=lr, weight_decay=decay, fused=True if kinds == {"cpu"} else None)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, momentum=config.momentum, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr, momentum=config.momentum, weight_decay=decay, fused=fused)


def learning_rate(config: OptimizerConfig, progress: float) -> float:
    """Learning rate at a progress in [0, 1]: the warm-up times the schedule's shape."""
    match config.schedule:
        case "constant":
            shape = 1.0
        case "linear":
            shape = schedules.linear(progress, 1.0, config.end)
        case "cosine":
            shape = schedules.cosine(progress, 1.0, config.end)
        case "exponential":
            shape = schedules.exponential(progress, 1.0, config.end)
        case "piecewise":
            shape = schedules.piecewise(progress, config.milestones, config.factor)
    return config.lr * shape * schedules.warmup(progress, config.warmup)


def check_names(system: System, config: TrainerConfig) -> None:
    """Settings in `trainer.optimizers` must be of optimizers that the system's updates use, at some of 500 moments.

    Raises:
        InputError: a name that no update uses, with the nearest that one does.
    """
    if not config.optimizers:
        return
    moments = range(0, config.steps, max(1, config.steps // 500))
    steps = sorted({step for moment in moments for step in (moment, min(moment + 1, config.steps - 1))})
    used = sorted({update.optimizer for step in steps for update in system.updates(step, step / config.steps)})
    longer = {update.optimizer for k in range(1000) for update in system.updates(k, k / 1000)}
    for name in config.optimizers:
        if name in longer and name not in used:
            raise InputError(
                f"trainer.optimizers.{name}: in a run of {config.steps} steps no step uses it, its stage is shorter than "
                "one; raise trainer.steps"
            )
        if name not in used:
            raise InputError(
                f"trainer.optimizers.{name}: no update of the system uses it{nearest(name, used)}; used: {', '.join(used)}"
            )


class UpdateOptimizers:
    """Steps the optimizer of an update over the update's parameters.

    Args:
        system: on its device; its parameters are looked up by group.
        config: settings of all optimizers, and of single ones by name.
        scaler: of fp16 training, else None.

    Raises:
        ValueError: a parameter stands in two groups.
    """

    def __init__(
        self, system: System, config: TrainerConfig, scaler: torch.amp.grad_scaler.GradScaler | None = None
    ) -> None:
        self.groups: dict[str, list[nn.Parameter]] = {k: list(v) for k, v in system.parameter_groups().items()}
        self.names = {id(parameter): name for name, parameter in system.named_parameters()}
        owner: dict[int, str] = {}
        for group, parameters in self.groups.items():
            for parameter in parameters:
                if owner.setdefault(id(parameter), group) != group:
                    raise ValueError(f"{self.names[id(parameter)]} stands in groups {owner[id(parameter)]} and {group}")
        self.config = config
        self.scaler = scaler
        self._optimizers: dict[tuple[str, str], torch.optim.Optimizer] = {}

    def parameters(self, update: Update) -> list[nn.Parameter]:
        """Parameters that an update updates."""
        unknown = [group for group in update.parameters if group not in self.groups]
        if unknown:
            raise ValueError(
                f"update {update.name!r} names unknown parameter groups {unknown}; known: {list(self.groups)}"
            )
        return [parameter for group in update.parameters for parameter in self.groups[group]]

    def clip(self, update: Update) -> Tensor:
        """Clip the gradients of an update's parameters to the configured norm; returns the norm before (unscaled)."""
        if self.scaler is not None:
            for optimizer in self._of(update):
                self.scaler.unscale_(optimizer)
        parameters = [p for p in self.parameters(update) if p.grad is not None]
        if self.config.clip > 0:
            return nn.utils.clip_grad_norm_(parameters, self.config.clip)
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def step(self, update: Update, progress: float) -> None:
        """Change the update's parameters that have a gradient; `clip` comes first."""
        lr = self.learning_rate(update, progress)
        for optimizer in self._of(update):
            for group in optimizer.param_groups:
                group["lr"] = lr
            if self.scaler is None:
                optimizer.step()
            else:
                self.scaler.step(optimizer)
        if self.scaler is not None:
            self.scaler.update()

    def skip(self) -> None:
        """Called in place of `step` where gradients overflowed: fp16 training then lowers its scale."""
        if self.scaler is not None:
            self.scaler.update()

    def learning_rate(self, update: Update, progress: float) -> float:
        """Learning rate of an update's optimizer."""
        return learning_rate(self._config_of(update.optimizer), update.progress(progress))

    def _config_of(self, name: str) -> OptimizerConfig:
        return self.config.optimizers.get(name, self.config.optimizer)

    def _of(self, update: Update) -> list[torch.optim.Optimizer]:
        """Optimizers of the update's groups that have any gradient."""
        used = [g for g in update.parameters if any(p.grad is not None for p in self.groups[g])]
        return [self._get(update.optimizer, group) for group in used]

    def _get(self, name: str, group: str) -> torch.optim.Optimizer:
        if (name, group) not in self._optimizers:
            self._optimizers[name, group] = make_optimizer(self._config_of(name), self.groups[group])
        return self._optimizers[name, group]

    # --------------------------------------------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Tensor]:
        """Every state tensor as 'optimizer|group|parameter|key'."""
        tensors: dict[str, Tensor] = {}
        for (name, group), optimizer in self._optimizers.items():
            for parameter in self.groups[group]:
                for key, value in optimizer.state.get(parameter, {}).items():
                    if value is not None:  # SGD without momentum keeps a None
                        full = "|".join((name, group, self.names[id(parameter)], key))
                        tensors[full] = torch.as_tensor(value)
        return tensors

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` gave, .

        Raises:
            KeyError: a group or parameter that this system does not have.
        """
        states: dict[tuple[str, str], dict[str, dict[str, Tensor]]] = {}
        for full, value in tensors.items():
            name, group, parameter, key = full.split("|")
            name, parameter = OPTIMIZERS.get(name, name), upgrade_name(parameter)  # of an older format
            states.setdefault((name, group), {}).setdefault(parameter, {})[key] = value
        for (name, group), by_parameter in states.items():
            index = {self.names[id(parameter)]: i for i, parameter in enumerate(self.groups[group])}
            optimizer = self._get(name, group)
            state = {
                index[parameter]: {
                    key: _laid_out_as(self.groups[group][index[parameter]], v) for key, v in values.items()
                }
                for parameter, values in by_parameter.items()
            }
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _laid_out_as(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """A copy (tensors as read are views of a file that rotation removes) with the parameter's strides, which fused
    kernels take for granted."""
    if value.shape != parameter.shape:
        return value.clone()
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device, requires_grad=False).copy_(value)
