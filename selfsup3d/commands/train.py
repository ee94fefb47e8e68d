"""Train any system from a config."""

from __future__ import annotations

from typing import Any, cast

from accelerate import Accelerator

from selfsup3d.builders.mixtures import add_datasets
from selfsup3d.builders.systems import build_labelled, build_source, build_system, part_guided_teacher
from selfsup3d.commands.options.train import parse
from selfsup3d.config.datasets import VideosConfig
from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.config.run import Config
from selfsup3d.data.sampling.clip_pairs import PairSource
from selfsup3d.data.synthetic.people_images import WithPeople
from selfsup3d.errors import InputError
from selfsup3d.evaluation.baselines import Baselines
from selfsup3d.evaluation.report import text
from selfsup3d.experiments.release import evaluate_system, example_frames, release, run_baselines
from selfsup3d.experiments.self_training import FILE, PseudoLabels, agreement, agreement_lines, make_pseudo_labels
from selfsup3d.io.files import write_json
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.models.system import System
from selfsup3d.training import run_folder
from selfsup3d.training.device import make_accelerator
from selfsup3d.training.loop import train
from selfsup3d.training.monitor import add_scalars

__all__ = ["main"]


def main(argv: list[str]) -> int:
    config = parse(argv)
    system = build_system(config)
    accelerator = make_accelerator(config.trainer, system)
    with run_folder.claimed(config, accelerator):
        return _train(config, system, accelerator)


def _train(config: Config, system: System, accelerator: Accelerator) -> int:
    with accelerator.main_process_first():  # the first renders or crops what is not there yet
        source, validation = build_source(config, "train"), build_source(config, "val")
    before = _self_train(config, system, source, validation, accelerator)
    images = example_frames(validation, config.trainer.images)

    def numbers(averaged: System) -> dict[str, float]:
        report = evaluate_system(
            config, averaged, validation, Baselines(), accelerator=accelerator, images=False, progress=False
        )
        return {name: value for name, value in report["metrics"].items() if value is not None}

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
        written = release(config, result.system, measured, images)
        print(text(measured))
        if before is not None:
            after = agreement(cast(PartGuided, result.system).eval(), cast(PairSource, validation))
            measured = {**measured, "agreement": {"before": before, "after": after}}
            write_json(config.folder / run_folder.METRICS, measured)
            print(agreement_lines(before, after))
        print(f"{config.folder}: {', '.join(written)}")
    accelerator.end_training()
    return 0


def _self_train(
    config: Config, system: System, source: Any, validation: Any, accelerator: Accelerator
) -> dict[str, float] | None:
    """Pseudo-labels of a videos run: made once, kept in its folder, learned from; how well the teacher agrees with itself.

    Nothing where the run does not self-train on videos; other datasets ask their teacher at every step.

    Raises:
        InputError: no teacher and no weights to begin with.
    """
    settings = config.system
    if not isinstance(settings, PartGuidedConfig) or settings.supervision != "teacher":
        return None
    source = source.images if isinstance(source, WithPeople) else source  # rendered people have their own labels
    if not isinstance(source, PairSource) or not isinstance(config.data, VideosConfig):
        return None
    path = settings.teacher or config.weights
    if path is None:
        raise InputError("system.teacher: self-training needs a trained system; begin with one: --weights MODEL")
    teacher = part_guided_teacher(path).to(accelerator.device)
    file = config.folder / FILE
    with accelerator.main_process_first():
        if not file.is_file():
            make_pseudo_labels(teacher, validation, name=str(path)).save(file)
    labels = PseudoLabels.load(file)
    if labels.teacher != str(path) or len(labels.joints) != len(validation):
        raise InputError(f"{file}: of teacher {labels.teacher}, {len(labels.joints)} frames; delete it, or choose another "
                         "output-dir")  # fmt: skip
    source.learn_from(labels.joints, labels.weight)
    if accelerator.is_main_process:
        kept = labels.weight > 0
        print(f"pseudo-labels of {path}: {int(kept.sum())} of {len(kept)} frames kept, {file}")
    return agreement(teacher, validation)


def _measure_part(config: Config, system: System, accelerator: Accelerator) -> dict[str, Any]:
    """The result on another dataset of a mixture."""
    with accelerator.main_process_first():
        validation = build_source(config, "val")
    baselines = run_baselines(config, system, build_labelled(config))
    return evaluate_system(config, system, validation, baselines, accelerator=accelerator)
