"""Evaluate a trained system: tables on stdout, the result as JSON.

    python launch/evaluate.py --checkpoint runs/quickstart
    python launch/evaluate.py --checkpoint runs/v1/model --dataset synthetic --split test --json result.json
    python launch/evaluate.py --checkpoint runs/v1 --dataset synth-mocap --data.root mocap.npz --report report/
    torchrun --nproc_per_node 2 launch/evaluate.py --checkpoint runs/v1 --dataset videos --data.root my_videos/

Two systems on the same frames: --per-frame a.npz for the first, --compare a.npz for the second, which prints the
95 % interval of the difference (a bootstrap over people).

    python launch/evaluate.py --checkpoint runs/v1 --lifter runs/martinez --split test

Image -> 2D -> 3D: the 2D joints that an image model finds are lifted too, frame by frame, by the same rules. Two rows
beside the model's own 3D poses: lifted from its own 2D joints, and lifted from the data's (what better 2D joints could
bring); and the interval of the difference that lifting makes.

    python launch/evaluate.py --checkpoint MODEL --dataset videos --data.root CLIPS --reference reference_2d.npz

Real videos against a 2D reference: keypoints and projected joints, for each clip and group, beside trivial baselines;
--page FILE.md adds the result to a page of results, or takes the place of the one that was read alike.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from accelerate import Accelerator

from selfsup3d.builders.evaluation_data import DATASETS, DataOptions, EvaluationData, open_evaluation_data
from selfsup3d.builders.mixtures import add_datasets
from selfsup3d.builders.systems import load_system
from selfsup3d.cli import Parser
from selfsup3d.commands.evaluate_clips import CLIP_FLAGS, evaluate_clips
from selfsup3d.config.run import Config
from selfsup3d.data.datasets.mpi_inf_3dhp import Annotation
from selfsup3d.data.datasets.threedpw import JointSource
from selfsup3d.data.sampling.row_sampler import Keypoints
from selfsup3d.evaluation.baselines import Baselines, supervised_bound
from selfsup3d.evaluation.bootstrap import compare_frames
from selfsup3d.evaluation.cross_modal import cross_modal_numbers
from selfsup3d.evaluation.evaluator import evaluate_frames
from selfsup3d.evaluation.gallery import error_sheet, ranked_rows
from selfsup3d.evaluation.images import find_lpips
from selfsup3d.evaluation.lifting import lifted_frames
from selfsup3d.evaluation.protocols import PRESETS, Protocol, dataset_protocol
from selfsup3d.evaluation.records import load_frames, save_frames
from selfsup3d.evaluation.report import difference, save_result, text
from selfsup3d.experiments.latent_report import write_latent_report
from selfsup3d.experiments.real_clips import CLIP_CROPS
from selfsup3d.experiments.release import run_baselines
from selfsup3d.io.files import write_json
from selfsup3d.models.cross_modal.system import CrossModalVAE
from selfsup3d.models.system import System
from selfsup3d.viz.sheets import write_png

__all__ = ["main"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a run, a released model or a checkpoint")
    parser.add_argument("--dataset", help=f"{', '.join(DATASETS)}; default: what it was trained on, of a mixture each")
    parser.add_argument("--split", help="of the dataset; default: its usual one")
    parser.add_argument("--data.root", "--root", dest="root", type=Path, help="where the dataset lies")
    parser.add_argument("--data.preset", dest="preset", help="of the synthetic dataset: quickstart, v1 ...")
    parser.add_argument("--data.every", dest="every", type=int, default=1, help="real datasets: every n-th frame")
    parser.add_argument("--data.annotation", dest="annotation", choices=get_args(Annotation), default="metric")
    parser.add_argument(
        "--data.joints", dest="joints", choices=get_args(JointSource), default="smpl_24", help="of 3DPW"
    )
    parser.add_argument("--data.regressed", dest="regressed", type=Path, help="npz of 3DPW's h36m_14 joints")
    parser.add_argument("--data.keypoints", dest="keypoints", choices=get_args(Keypoints), default="projected")
    parser.add_argument("--protocol", default="strict", help=f"{', '.join(PRESETS)}")
    parser.add_argument("--json", type=Path, help="write the result there")
    parser.add_argument("--report", type=Path, help="write tables, images and per-frame values into this folder")
    parser.add_argument("--per-frame", type=Path, help="write per-frame values there (.npz)")
    parser.add_argument("--compare", type=Path, help="per-frame values of another system on the same frames (.npz)")
    parser.add_argument("--upper-bound", type=Path, help="result of the same network trained with labels (or its run)")
    parser.add_argument("--lifter", type=Path, help="checkpoint of a lifter, for the 2D joints of an image model")
    parser.add_argument("--lpips", type=Path, help="weights of torchvision's AlexNet; default: torch's cache, if there")
    parser.add_argument("--limit", type=int, help="at most so many frames, evenly spaced")
    parser.add_argument("--samples", type=int, default=1, help="hypotheses of a probabilistic system")
    parser.add_argument("--batch-size", type=int, default=64, help="frames at a time")
    parser.add_argument(
        "--reference", type=Path, help="2D reference (npz) of real videos: NAME/pixels, NAME/visibility"
    )
    parser.add_argument("--clips", help="with --reference: names of clips, joined by commas; default: all")
    parser.add_argument(
        "--crop", choices=CLIP_CROPS, help="with --reference: what of each frame is read; default: whole"
    )
    parser.add_argument("--crop-factor", type=float, help="with --reference: side of found crops over the joints' box")
    parser.add_argument("--page", type=Path, help="with --reference: page of results (.md), with a .json beside it")
    parser.add_argument(
        "--no-baselines", action="store_true", default=None, help="with --reference: leave out the trivial baselines"
    )
    parser.add_argument("--rows", type=int, default=8, help="rows of the report's images")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto = the GPU where there is one")
    args = parser.parse_args(argv)
    for name in ("every", "limit", "samples", "batch_size", "rows"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    for name in CLIP_FLAGS:
        if args.reference is None and getattr(args, name) is not None:
            parser.error(f"--{name.replace('_', '-')} needs --reference FILE.npz")
    if args.crop_factor is not None and not 0.5 <= args.crop_factor <= 10:
        parser.error(f"--crop-factor {args.crop_factor}: expected 0.5 to 10")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    if args.reference is not None:
        return evaluate_clips(args)
    other = None if args.compare is None else load_frames(args.compare)
    lpips = find_lpips(args.lpips)
    accelerator = Accelerator(cpu=args.device == "cpu")
    system, config = load_system(args.checkpoint, accelerator.device)
    dataset_protocol("", args.protocol)  # a wrong name is told before anything is rendered
    data = _open(config, system, _options(args), accelerator)
    protocol = dataset_protocol(data.name, args.protocol)
    taken = {"dataset": data.name, "split": data.split, "flags": protocol.flags.as_dict()}
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
    return 0


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
    if args.per_frame is not None:
        save_frames(args.per_frame, frames)
    if args.report is not None:
        _write_report(args.report, args.rows, result, frames, system, data, device)
        if isinstance(system, CrossModalVAE):
            names = write_latent_report(args.report, system, data.source, args.checkpoint)
            print(f"{args.report}: {', '.join(names)}", file=sys.stderr)


def _lifted(
    args: argparse.Namespace, system: System, data: EvaluationData, protocol: Protocol, accelerator: Accelerator
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Numbers and frames of the lifter on the system's 2D joints; before the system's own, so that a wrong one is told."""
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
    result: dict[str, Any],
    frames: dict[str, np.ndarray],
    system: System,
    data: EvaluationData,
    device: torch.device,
) -> None:
    save_result(folder, result, frames)
    errors = frames.get("mpjpe", frames.get("pa_mpjpe", np.full(len(frames["index"]), np.nan)))
    told = dict(zip(frames["index"].tolist(), errors.tolist(), strict=True))
    for name, positions in ranked_rows(errors, rows, frames.get("person")).items():
        write_png(folder / f"{name}.png", error_sheet(system, data.source, frames["index"][positions], told, device))
    print(f"{folder}: result.md, result.json, frames.npz, typical.png, worst.png", file=sys.stderr)
