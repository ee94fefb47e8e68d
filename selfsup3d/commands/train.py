"""Train any system from a config."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator

from selfsup3d.builders.mixtures import add_datasets
from selfsup3d.builders.systems import build_labelled, build_source, build_system
from selfsup3d.commands.options.train import parse
from selfsup3d.config.run import Config
from selfsup3d.evaluation.baselines import Baselines
from selfsup3d.evaluation.report import text
from selfsup3d.experiments.release import evaluate_system, example_frames, release, run_baselines
from selfsup3d.models.system import System
from selfsup3d.training import run_folder
from selfsup3d.training.device import make_accelerator
from selfsup3d.training.loop import train
from selfsup3d.training.monitor import add_scalars

__all__ = ["main"]


def main(argv: list[str]) -> int:
    config = parse(argv)
    accelerator = make_accelerator(config.trainer)
    with run_folder.claimed(config, accelerator):
        return _train(config, accelerator)


def _train(config: Config, accelerator: Accelerator) -> int:
    system = build_system(config)
    with accelerator.main_process_first():  # the first renders or crops what is not there yet
        source, validation = build_source(config, "train"), build_source(config, "val")
    images = example_frames(validation, config.trainer.images)

    def numbers(averaged: System) -> dict[str, float]:
        told = evaluate_system(
            config, averaged, validation, Baselines(), accelerator=accelerator, images=False, progress=False
        )
        return {name: value for name, value in told["metrics"].items() if value is not None}

    result = train(config, system, source, images=images, evaluate=numbers, accelerator=accelerator)
    if result.stopped is not None:
        if accelerator.is_main_process:
            print(
                f"stopped by {result.stopped} after step {result.step}, saved; --resume auto goes on: {config.folder}"
            )
        return 0
    measured = evaluate_system(
        config,
        result.system,
        validation,
        run_baselines(config, result.system, build_labelled(config)),
        checkpoint=str(config.folder / run_folder.MODEL),
        accelerator=accelerator,
    )
    measured = add_datasets(measured, config, lambda part: _measure_part(part, result.system, accelerator))
    if accelerator.is_main_process:
        final = {f"val/{name}": value for name, value in measured["metrics"].items() if value is not None}
        add_scalars(config.folder, result.step, final)
        release(config, result.system, measured, images)
        print(text(measured))
        print(f"{config.folder}: {run_folder.METRICS}, {run_folder.GRID}, {run_folder.MODEL}/")
    accelerator.end_training()
    return 0


def _measure_part(config: Config, system: System, accelerator: Accelerator) -> dict[str, Any]:
    """The result on another dataset of a mixture."""
    with accelerator.main_process_first():
        validation = build_source(config, "val")
    baselines = run_baselines(config, system, build_labelled(config))
    return evaluate_system(config, system, validation, baselines, accelerator=accelerator)
