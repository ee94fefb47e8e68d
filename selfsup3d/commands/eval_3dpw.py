"""The 3DPW generalization protocol: a system trained elsewhere, on people in the wild.

    python launch/eval_3dpw.py --checkpoint runs/v1 --data.root 3DPW
    python launch/eval_3dpw.py --checkpoint runs/martinez --data.root 3DPW --keypoints detected --report report/
    python launch/eval_3dpw.py --checkpoint runs/v1 --data.root 3DPW --joints h36m_14 --regressed h36m14.npz

Never trained on; split test, or all three together with --split all. Root: the middle of the hips. The 12 limb joints
are the main figure, LSP's 14 stand beside it (SMPL's neck and head are other points; --joints h36m_14 has the usual ones,
see launch/prepare_data.py --regressor). Frames with an invalid camera are left out and counted. Image models see crops
around the ground-truth joints, lifters the joints as projected from the truth or as detected (poses2d).

Printed: the table. Written into --report: result.json, result.md, frames.npz, and sheet.png with best, median and worst
frames; --json writes the result alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from accelerate import Accelerator

from selfsup3d.builders.evaluation_data import DataOptions, EvaluationData, open_evaluation_data
from selfsup3d.builders.systems import load_system
from selfsup3d.cli import Parser
from selfsup3d.data.datasets.threedpw import JointSource
from selfsup3d.data.sampling.row_sampler import Keypoints
from selfsup3d.evaluation.evaluator import evaluate_frames
from selfsup3d.evaluation.gallery import error_sheet
from selfsup3d.evaluation.protocols import PRESETS, dataset_protocol
from selfsup3d.evaluation.report import save_result, text
from selfsup3d.experiments.release import run_baselines
from selfsup3d.io.files import write_json
from selfsup3d.models.cross_modal.system import CrossModalVAE
from selfsup3d.models.system import System
from selfsup3d.viz.sheets import write_png

__all__ = ["main", "spread_rows"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a run, a released model or a checkpoint")
    parser.add_argument(
        "--data.root", dest="root", type=Path, required=True, help="the 3DPW folder, or a prepared index"
    )
    parser.add_argument("--split", choices=("test", "val", "train", "all"), default="test")
    parser.add_argument("--joints", choices=get_args(JointSource), default="smpl_24", help="where 3D joints come from")
    parser.add_argument("--regressed", type=Path, help="npz of the h36m_14 joints")
    parser.add_argument("--keypoints", choices=get_args(Keypoints), default="projected", help="2D joints for lifters")
    parser.add_argument("--protocol", default="strict", help=f"{', '.join(PRESETS)}")
    parser.add_argument("--samples", type=int, default=1, help="hypotheses of a probabilistic system")
    parser.add_argument("--limit", type=int, help="at most so many frames, evenly spaced")
    parser.add_argument("--batch-size", type=int, default=64, help="frames at a time")
    parser.add_argument("--json", type=Path, help="write the result there")
    parser.add_argument("--report", type=Path, help="write result, per-frame values and the sheet into this folder")
    parser.add_argument("--rows", type=int, default=4, help="frames of each kind on the sheet (default: 4)")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto = the GPU where there is one")
    args = parser.parse_args(argv)
    for name in ("samples", "limit", "batch_size", "rows"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    protocol = dataset_protocol("3dpw", args.protocol)
    accelerator = Accelerator(cpu=args.device == "cpu")
    system, config = load_system(args.checkpoint, accelerator.device)
    options = DataOptions(
        dataset="3dpw",
        split=args.split,
        root=args.root,
        joints=args.joints,
        regressed=args.regressed,
        keypoints=args.keypoints,
    )
    with accelerator.main_process_first():  # the first builds the index
        needs = system.inputs if isinstance(system, CrossModalVAE) else system.predict_requires
        data = open_evaluation_data(config, needs, options)
    baselines = run_baselines(config, system, data.labelled)
    result, frames = evaluate_frames(
        system,
        data.source,
        protocol=protocol,
        baselines=replace(baselines, reasons={**baselines.reasons, **data.reasons}),
        split=data.split,
        batch_size=args.batch_size,
        samples=args.samples,
        limit=args.limit,
        accelerator=accelerator,
        checkpoint=str(args.checkpoint),
        config_hash=config.hash,
    )
    if not accelerator.is_main_process:
        return 0
    print(text(result))
    if args.json is not None:
        write_json(args.json, result)
    if args.report is not None:
        _write_report(args.report, args.rows, result, frames, system, data, accelerator.device)
    return 0


def spread_rows(errors: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Positions of the `count` best, median and worst measured frames; NaN = not measured."""
    order = np.argsort(errors, kind="stable")[: int(np.isfinite(errors).sum())]
    count = min(count, max(len(order) // 3, 1), len(order))
    middle = (len(order) - count) // 2
    return {"best": order[:count], "median": order[middle : middle + count], "worst": order[::-1][:count]}


def _write_report(
    folder: Path,
    rows: int,
    result: Mapping[str, Any],
    frames: dict[str, np.ndarray],
    system: System,
    data: EvaluationData,
    device: torch.device,
) -> None:
    save_result(folder, result, frames)
    errors = frames.get("mpjpe", frames.get("pa_mpjpe"))
    if errors is None or not np.isfinite(errors).any():
        print(f"{folder}: no frame was measured, so there is no sheet", file=sys.stderr)
        return
    chosen = spread_rows(errors, rows)
    shown = np.concatenate(list(chosen.values()))
    kinds = [kind for kind, positions in chosen.items() for _ in positions]
    told = dict(zip(frames["index"].tolist(), errors.tolist(), strict=True))
    drawn = error_sheet(system, data.source, frames["index"][shown], told, device, kinds)
    write_png(folder / "sheet.png", drawn)
    print(f"{folder}: result.md, result.json, frames.npz, sheet.png", file=sys.stderr)
