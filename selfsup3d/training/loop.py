"""The training loop of every system: for each step, for each update, clear, forward, backward, clip, step.

    from selfsup3d.training.loop import train
    result = train(config, system, source)

The loop knows nothing of a system but the interface in `selfsup3d.models.system`. Two rules make a run independent of how
many processes, workers and interruptions it has: every loss is a mean over samples of a per-sample value, and every
random draw comes from (seed, step, sample). Generators that networks draw from (dropout) are seeded from
(seed, step, rank) anew at each step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from selfsup3d.config.run import Config
from selfsup3d.config.upgrade import upgrade_tensors
from selfsup3d.data.sampling.dataset import Samples
from selfsup3d.data.sampling.step_dataset import StepStream
from selfsup3d.errors import InputError, RunFailedError
from selfsup3d.io import pretrained
from selfsup3d.models.system import System, Update
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams
from selfsup3d.training import run_folder
from selfsup3d.training.checkpoint import TrainingState, find_checkpoint, newest
from selfsup3d.training.device import any_process, make_accelerator, same_buffers
from selfsup3d.training.ema import AveragedWeights, evaluating
from selfsup3d.training.loading import loading
from selfsup3d.training.monitor import Monitor, bounded_interval
from selfsup3d.training.numerics import describe_nonfinite
from selfsup3d.training.optimizers import UpdateOptimizers, check_names
from selfsup3d.training.shared_machine import ThreadWatch
from selfsup3d.training.signals import StopRequest

__all__ = ["TrainResult", "train"]

_NETWORK_STREAM = 0x6E6574  # keeps the networks' own draws apart from those of the data


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        system: with the averaged weights, in evaluation mode.
        step: steps taken.
        stopped: the signal (or end of the launcher) that ended the run early, or None.
    """

    system: System
    step: int
    stopped: str | None


def train(
    config: Config,
    system: System,
    source: Samples,
    *,
    images: Batch | None = None,
    evaluate: Callable[[System], dict[str, float]] | None = None,
    accelerator: Accelerator | None = None,
) -> TrainResult:
    """Train a system until `trainer.steps`, a signal, or too many bad steps.

    Args:
        config: of the run; whoever shares a machine with other runs claims its folder first (`run_folder.claimed`).
        system: untrained, on the CPU. source: of training samples.
        images: the samples that the log shows. evaluate: named numbers of the averaged system, every
            `trainer.evaluate_every` steps (called in every process). accelerator: see `device.make_accelerator`.

    Raises:
        InputError: data that cannot be used; a checkpoint that does not fit.
        FloatingPointError: more than `trainer.max_bad_steps` steps had NaN or Inf; the last good state is saved.
    """
    settings = config.trainer
    accelerator = accelerator or make_accelerator(settings, system)
    stream = StepStream(
        source,
        config.seed,
        settings.batch_size,
        settings.accumulation,
        accelerator.process_index,
        accelerator.num_processes,
        settings.steps,
        settings.max_bad_samples,
    )
    found = find_checkpoint(config.resume, config.folder)
    state, module = _prepare(config, system, source, accelerator, found)
    accelerator.wait_for_everyone()  # all have read what the main process may now rename
    if accelerator.is_main_process:
        run_folder.begin(config, found)
    samples = settings.batch_size * settings.accumulation * accelerator.num_processes
    resident = settings.workers == 0 and hasattr(source, "to")
    if resident:
        source.to(accelerator.device)  # type: ignore[attr-defined] # poses: batches are made where they are used
    with (
        StopRequest() as stop,
        Monitor(config.folder, accelerator, state.step, settings.steps, samples) as monitor,
        loading(stream, settings, state.step, accelerator.device.type == "cuda" and not resident) as batches_of_steps,
    ):
        monitor.say(_machine(accelerator))
        watch = ThreadWatch(monitor.say)
        for step, batches in _saving_where_workers_die(batches_of_steps, config, state, accelerator):
            progress = step / settings.steps
            _seed(config.seed, step, accelerator.process_index, accelerator.device)
            batches = [batch.to(accelerator.device, non_blocking=True) for batch in batches]
            if _take_updates(accelerator, module, state, batches, step, progress, monitor):
                state.averaged.update(step)
            else:
                state.bad_steps += 1
                if state.bad_steps > settings.max_bad_steps:
                    _give_up(config, state, accelerator)
            state.step = step + 1
            monitor.advance()
            if accelerator.device.type == "cpu" and not settings.threads:
                watch.look()
            stopping = any_process(accelerator, stop.reason is not None)
            _report(config, state, accelerator, monitor, images, evaluate, stopping)
            if stopping:
                break
        if stream.bad_samples:
            monitor.say(f"{stream.bad_samples} samples could not be read and were replaced by others")
    accelerator.wait_for_everyone()
    stopped = stop.reason or "signal to another process" if state.step < settings.steps else None
    same_buffers(accelerator, state.averaged.system)
    return TrainResult(state.averaged.system.eval(), state.step, stopped)


def _report(
    config: Config,
    state: TrainingState,
    accelerator: Accelerator,
    monitor: Monitor,
    images: Batch | None,
    evaluate: Callable[[System], dict[str, float]] | None,
    stopping: bool,
) -> None:
    """What is due after a step: means, evaluation, images, checkpoint. All processes call it."""
    settings, step = config.trainer, state.step
    last = step == settings.steps
    saving = last or stopping or step % settings.checkpoint_every == 0
    if saving or step % bounded_interval(settings.log_every, settings.steps, 5_000) == 0:
        monitor.log(step)
    if evaluate is not None and settings.evaluate_every and step % settings.evaluate_every == 0 and not last:
        same_buffers(accelerator, state.averaged.system)
        with evaluating(state.averaged.system) as averaged:
            monitor.scalars(step, {f"val/{name}": value for name, value in evaluate(averaged).items()})
    if images is not None and (last or step % bounded_interval(settings.image_every, settings.steps, 50) == 0):
        averaged = state.averaged.system
        if accelerator.is_main_process:
            with evaluating(averaged):
                monitor.images(step, averaged.panels(images.to(accelerator.device)))
    if saving:
        _save(config, state, accelerator)


def _save(config: Config, state: TrainingState, accelerator: Accelerator) -> None:
    checkpoints = config.folder / run_folder.CHECKPOINTS
    state.save(checkpoints, config.to_dict(), config.trainer.keep_checkpoints, accelerator.is_main_process)


def _machine(accelerator: Accelerator) -> str:
    """What a run computes with, in one line."""
    precision = {"no": "float32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    threads = f", {torch.get_num_threads()} threads a process" if accelerator.device.type == "cpu" else ""
    return f"{accelerator.num_processes} x {accelerator.device.type}, {precision}{threads}"


def _prepare(
    config: Config, system: System, source: Samples, accelerator: Accelerator, found: Path | None
) -> tuple[TrainingState, nn.Module]:
    """State at the first step to take (new, from given weights, or resumed), and the module to call."""
    settings = config.trainer
    check_names(system, settings)
    if found is None and config.weights is not None:
        folder = pretrained.locate_model(config.weights)
        pretrained.fill(
            system,
            upgrade_tensors(pretrained.read_tensors(folder / pretrained.WEIGHTS)),
            folder / pretrained.WEIGHTS,
            config.fresh,
        )
    elif found is None:
        # Whole steps in every process: the statistics do not depend on how a step is split.
        whole = settings.batch_size * settings.accumulation * accelerator.num_processes
        stream = StepStream(source, config.seed, whole, bad_sample_limit=settings.max_bad_samples)
        system.fit(stream[step][0] for step in range(settings.fit_batches))
    system.to(accelerator.device).train()
    if settings.channels_last:
        system.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedWeights(system, settings.ema)
    if settings.compile:
        for network in system.children():
            network.compile()
    module = accelerator.prepare_model(system)
    optimizers = UpdateOptimizers(system, settings, accelerator.scaler)
    state = TrainingState(system, averaged, optimizers, accelerator.scaler)
    if found is not None:
        state.load(found)
    if state.step > settings.steps:
        raise InputError(f"trainer.steps is {settings.steps}, but {found} is at step {state.step} already")
    return state, module


def _take_updates(
    accelerator: Accelerator,
    module: nn.Module,
    state: TrainingState,
    batches: Sequence[Batch],
    step: int,
    progress: float,
    monitor: Monitor,
) -> bool:
    """All updates of a step; False where NaN or Inf appeared, which leaves the rest of the step out.

    Gradients that an update leaves on parameters of other updates are never used: each update starts by clearing all, and its
    optimizer knows the update's own parameters only. `requires_grad` is never toggled.
    """
    optimizers = state.optimizers
    for update in state.system.updates(step, progress):
        buffers = [buffer.clone() for buffer in state.system.buffers()]
        module.zero_grad(set_to_none=True)
        terms = []
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(module):
                terms.append(module(batch, update.name, progress))
                accelerator.backward(_total(terms[-1], update) / len(batches))
        norm = optimizers.clip(update)
        losses_finite = torch.stack([_total(t, update).detach() for t in terms]).isfinite().all()
        # Scaled fp16 gradients overflow now and then: that lowers the scale and is no fault of the run.
        overflow = accelerator.scaler is not None and bool(losses_finite) and not bool(norm.isfinite())
        bad = not overflow and not bool(losses_finite & norm.isfinite())
        if any_process(accelerator, bad):
            if bad:
                gradients = {n: p.grad for n, p in state.system.named_parameters() if p.grad is not None}
                report = describe_nonfinite(state.system, batches, terms, gradients, update, step, progress)
                monitor.say(f"{report}; the step is skipped")
            for buffer, before in zip(state.system.buffers(), buffers, strict=True):
                buffer.copy_(before)  # running statistics may have taken the NaN in
            optimizers.skip()
            return False
        if overflow:
            optimizers.skip()
            continue
        optimizers.step(update, progress)
        values = {f"loss/{update.name}/{name}": _sum_of(terms, name) / len(terms) for name in terms[0]}
        settings = {f"lr/{update.optimizer}": optimizers.learning_rate(update, progress)}
        monitor.add(values | {f"grad_norm/{update.name}": norm}, settings)
    return True


def _sum_of(terms: Sequence[dict[str, Tensor]], name: str) -> Tensor:
    """One term summed over micro-batches, without its graph."""
    return torch.stack([values[name].detach().float() for values in terms]).sum()


def _total(terms: dict[str, Tensor], update: Update) -> Tensor:
    """The sum of the terms to optimise (names without a leading underscore)."""
    optimised = [value for name, value in terms.items() if not name.startswith("_")]
    if not optimised:
        raise ValueError(f"update {update.name!r} has no loss term to optimise, only {list(terms)}")
    return torch.stack([value.float() for value in optimised]).sum()


def _give_up(config: Config, state: TrainingState, accelerator: Accelerator) -> None:
    """Save the state before the bad steps, where it is good, and end the run."""
    try:
        _save(config, state, accelerator)
        saved = f"the last good state is in {config.folder / run_folder.CHECKPOINTS}"
    except FloatingPointError as error:
        good = newest(config.folder / run_folder.CHECKPOINTS, lambda damage: None)
        saved = f"{error}; " + ("no good state was reached" if good is None else f"the last good state is {good}")
    accelerator.wait_for_everyone()
    raise FloatingPointError(
        f"stopped at step {state.step}: {state.bad_steps} steps had NaN or Inf (trainer.max_bad_steps is "
        f"{config.trainer.max_bad_steps}); {saved}"
    )


def _saving_where_workers_die(
    steps: Iterator[tuple[int, list[Batch]]], config: Config, state: TrainingState, accelerator: Accelerator
) -> Iterator[tuple[int, list[Batch]]]:
    """The same steps; where no more come, the state is saved before the run ends.

    Only the main process saves: the others may have begun the next step and cannot be asked.
    """
    try:
        yield from steps
    except RunFailedError as error:
        if not (accelerator.is_main_process and state.step):
            raise
        _save(config, state, accelerator)
        raise RunFailedError(f"{error}. Step {state.step} is saved: --resume auto goes on") from None


def _seed(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed the generators that networks draw from in a step.

    `torch.manual_seed` would do, at 2 ms a step: it prepares a traceback for every kind of accelerator there is.
    """
    value = int(RandomStreams(seed ^ _NETWORK_STREAM, step, np.array([rank])).seeds[0])
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
