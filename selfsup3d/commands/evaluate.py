"""Evaluate a trained system: tables on stdout, the result as JSON."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator

from selfsup3d.builders.evaluation_data import DataOptions, EvaluationData, open_evaluation_data
from selfsup3d.builders.mixtures import add_datasets
from selfsup3d.builders.systems import load_system, read_poses_by
from selfsup3d.commands.evaluate_clips import evaluate_clips
from selfsup3d.commands.options.evaluate import parse
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.evaluation.baselines import Baselines, supervised_bound
from selfsup3d.evaluation.bootstrap import compare_frames
from selfsup3d.evaluation.cross_modal import cross_modal_numbers
from selfsup3d.evaluation.evaluator import evaluate_frames
from selfsup3d.evaluation.gallery import error_sheet, ranked_rows, spread_rows
from selfsup3d.evaluation.images import find_lpips
from selfsup3d.evaluation.lifting import lifted_frames
from selfsup3d.evaluation.protocols import Protocol, dataset_protocol
from selfsup3d.evaluation.records import load_frames, save_frames
from selfsup3d.evaluation.report import difference, markdown, save_result, text
from selfsup3d.experiments.calibrate import calibrate
from selfsup3d.experiments.latent_report import write_latent_report
from selfsup3d.experiments.release import run_baselines
from selfsup3d.io.files import write_json, write_text
from selfsup3d.io.pretrained import locate_model
from selfsup3d.models.cross_modal.system import CrossModalVAE
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.models.system import System
from selfsup3d.viz.sheets import write_png

__all__ = ["main"]


def main(argv: list[str]) -> int:
    args = parse(argv)
    return evaluate(args) if args.reference is None else evaluate_clips(args)


def evaluate(args: argparse.Namespace) -> int:
    """Measure by the options of evaluate or eval-3dpw; returns the exit code."""
    other = None if args.compare is None else load_frames(args.compare)
    lpips = find_lpips(args.lpips)
    accelerator = Accelerator(cpu=args.device == "cpu")
    system, config = load_system(args.checkpoint, accelerator.device)
    reading = _set_reading(system, args)
    data = _open(config, system, _options(args), accelerator)
    protocol = dataset_protocol(data.name, args.protocol)
    taken = {"dataset": data.name, "split": data.split, "flags": protocol.flags.as_dict() | reading}
    bound = None if args.upper_bound is None else supervised_bound(args.upper_bound, taken)
    measure = partial(
        evaluate_frames,
        system,
        batch_size=args.batch_size,
        samples=args.samples,
        limit=args.limit,
        accelerator=accelerator,
        lpips=lpips,
        checkpoint=str(args.checkpoint),
        config_hash=config.hash,
    )
    baselines = _baselines(config, system, data)
    lifted = None if args.lifter is None else _lifted(args, system, data, protocol, accelerator)
    result, frames = measure(data.source, protocol=protocol, baselines=baselines, split=data.split)
    if args.dataset is None and args.root is None:  # else one dataset is meant, whatever it was trained on

        def measure_part(part: Config) -> dict[str, Any]:
            own = _open(part, system, replace(_options(args), split=None), accelerator)
            rules = dataset_protocol(own.name, args.protocol)
            return measure(own.source, protocol=rules, baselines=_baselines(part, system, own), split=own.split)[0]

        result = add_datasets(result, config, measure_part)
    result["flags"] |= reading
    if not accelerator.is_main_process:
        return 0
    if isinstance(system, CrossModalVAE):
        result["cross_modal"] = cross_modal_numbers(
            system, data.source, protocol=protocol, baselines=baselines, limit=args.limit or 1000
        )
    if bound is not None:
        result["baselines"]["supervised"] = bound
    others = {} if other is None else {str(args.compare): other}
    if lifted is not None:
        result["lifted"], by_frame = lifted
        if len(set(by_frame.get("person", ()))) > 1:
            others["poses lifted from its own 2D joints"] = by_frame
    print(text(result))
    for name, values in others.items():
        print(difference(compare_frames(values, frames), name))
    _save(args, result, frames, system, data, accelerator.device)
    if args.calibrate:
        _calibrate(args, system, data)
    return 0


def _set_reading(system: System, args: argparse.Namespace) -> dict[str, Any]:
    """Have the system read as asked for; the flags that are printed beside every number, none for single predictions."""
    if not isinstance(system, PartGuided):
        if args.poses is not None:
            raise InputError("--poses is for part-guided systems; leave it out")
        if args.calibrate or args.averaging != "none" or args.second_crop is not None:
            raise InputError("--averaging, --second-crop and --calibrate are for part-guided systems; leave them out")
        return {}
    system.averaging = args.averaging
    if args.second_crop is not None:
        system.second_crop = args.second_crop
    flags: dict[str, Any] = {} if args.averaging == "none" else {"averaging": args.averaging}
    if args.poses is not None:
        read_poses_by(system, args.poses)
        flags["drawn_in_poses_of"] = str(args.poses)
    return flags | ({"second_crop": True} if system.second_crop else {})


def _calibrate(args: argparse.Namespace, system: System, data: EvaluationData) -> None:
    """Store the joints' confidences with the model, and say how well they hold on frames that they were not fitted on."""
    source = f"{data.name} {data.split}, {len(data.source)} frames, averaging {args.averaging}"
    calibration, report = calibrate(cast(PartGuided, system), data.source, source, args.batch_size)
    path = calibration.save(locate_model(args.checkpoint))
    print(
        f"{path}: confidence of a joint within 150 mm; expected calibration error {report['ece']:.3f} on the half of the "
        f"frames that it was not fitted on (there {report['right']:.3f} of the joints are)"
    )


def _save(
    args: argparse.Namespace,
    result: dict[str, Any],
    frames: dict[str, np.ndarray],
    system: System,
    data: EvaluationData,
    device: torch.device,
) -> None:
    """What is asked for in files."""
    if args.json is not None:
        write_json(args.json, result)
    if args.markdown is not None:
        write_text(args.markdown, markdown(result))
    if args.per_frame is not None:
        save_frames(args.per_frame, frames)
    if args.report is not None:
        _write_report(args.report, args.rows, args.sheet, result, frames, system, data, device)
        if isinstance(system, CrossModalVAE):
            names = write_latent_report(args.report, system, data.source, args.checkpoint)
            print(f"{args.report}: {', '.join(names)}", file=sys.stderr)


def _lifted(
    args: argparse.Namespace, system: System, data: EvaluationData, protocol: Protocol, accelerator: Accelerator
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Numbers and frames of the lifter on the system's 2D joints; before the system's own, so that a wrong one is refused early."""
    return lifted_frames(
        system,
        load_system(args.lifter, accelerator.device)[0],
        data.source,
        protocol=protocol,
        batch_size=args.batch_size,
        limit=args.limit,
        accelerator=accelerator,
        checkpoint=str(args.lifter),
    )


def _open(config: Config, system: System, options: DataOptions, accelerator: Accelerator) -> EvaluationData:
    with accelerator.main_process_first():  # the first renders or crops what is not there yet
        needs = system.inputs if isinstance(system, CrossModalVAE) else system.predict_requires
        return open_evaluation_data(config, needs, options)


def _options(args: argparse.Namespace) -> DataOptions:
    return DataOptions(**{entry.name: getattr(args, entry.name) for entry in fields(DataOptions)})


def _baselines(config: Config, system: System, data: EvaluationData) -> Baselines:
    found = run_baselines(config, system, data.labelled)
    return replace(found, reasons={**found.reasons, **data.reasons})


def _write_report(
    folder: Path,
    rows: int,
    sheet: bool,
    result: dict[str, Any],
    frames: dict[str, np.ndarray],
    system: System,
    data: EvaluationData,
    device: torch.device,
) -> None:
    save_result(folder, result, frames)
    errors = frames.get("mpjpe", frames.get("pa_mpjpe", np.full(len(frames["index"]), np.nan)))
    files = ["result.md", "result.json", "frames.npz"]
    errors_by_frame = dict(zip(frames["index"].tolist(), errors.tolist(), strict=True))
    if not sheet:
        for name, positions in ranked_rows(errors, rows, frames.get("person")).items():
            drawn = error_sheet(system, data.source, frames["index"][positions], errors_by_frame, device)
            write_png(folder / f"{name}.png", drawn)
            files.append(f"{name}.png")
    elif np.isfinite(errors).any():
        chosen = spread_rows(errors, rows)
        kinds = [kind for kind, positions in chosen.items() for _ in positions]
        shown = frames["index"][np.concatenate(list(chosen.values()))]
        write_png(folder / "sheet.png", error_sheet(system, data.source, shown, errors_by_frame, device, kinds))
        files.append("sheet.png")
    else:
        print(f"{folder}: no frame was measured, so there is no sheet", file=sys.stderr)
    print(f"{folder}: {', '.join(files)}", file=sys.stderr)
