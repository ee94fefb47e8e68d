"""A trained model for other runtimes, or predicted poses for animation programs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from selfsup3d.builders.systems import evaluated, load_system
from selfsup3d.cli import refuse_overwrite
from selfsup3d.commands.options.export import MODEL_FORMATS, POSE_FORMATS, parse
from selfsup3d.commands.pose_outputs import write_animations
from selfsup3d.errors import InputError
from selfsup3d.experiments.release import save_release
from selfsup3d.export.onnx import (
    TOLERANCE,
    DecoderModule,
    EncoderModule,
    PredictionModule,
    check_libraries,
    export_onnx,
    export_program,
    onnx_difference,
)
from selfsup3d.inference.records import load_record
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import DOCUMENT, read_within
from selfsup3d.models.part_guided.system import PartGuided

__all__ = ["main"]


def main(argv: list[str]) -> int:
    args = parse(argv)
    names = [name for kind in args.formats for name in (MODEL_FORMATS | POSE_FORMATS)[kind]]
    refuse_overwrite([args.output / name for name in names], args.overwrite)
    return _export_poses(args) if args.poses is not None else _export_model(args)


def _export_poses(args: argparse.Namespace) -> int:
    record = load_record(args.poses)
    for path in write_animations(args.output, record, args.formats, args.fps, args.max_gap, args.ground):
        print(path)
    return 0


def _export_model(args: argparse.Namespace) -> int:
    system, config = load_system(args.checkpoint)
    if "model" in args.formats:
        save_release(args.output / "model", config, system, [_result(path) for path in args.results], args.about)
        print(args.output / "model")
        if args.formats == ["model"]:
            return 0
    if not isinstance(system, PartGuided):
        raise InputError(f"{args.checkpoint}: a {config.system.kind} cannot be exported; a part_guided system can")
    size = int(getattr(evaluated(config), "size", 64))
    wrong = False
    if "onnx" in args.formats:
        check_libraries()
        for module, name in ((EncoderModule(system), "encoder.onnx"), (DecoderModule(system), "decoder.onnx")):
            module.eval()
            export_onnx(module, args.output / name, size)
            found = onnx_difference(module, args.output / name, size)
            wrong |= not max(found.values()) <= TOLERANCE
            print(f"{args.output / name}: onnxruntime differs by {', '.join(f'{k} {v:.1e}' for k, v in found.items())}")
    if "pt2" in args.formats:
        export_program(PredictionModule(system).eval(), args.output / "prediction.pt2", size)
        print(args.output / "prediction.pt2")
    if wrong:
        print(f"onnxruntime and torch differ by more than {TOLERANCE:.0e}", file=sys.stderr)
    return int(wrong)


def _result(path: Path) -> dict[str, Any]:
    try:
        report = parse_json(read_within(path, DOCUMENT).decode())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(report, dict) or not {"dataset", "split", "metrics"} <= set(report):
        raise InputError(f"{path}: no result of selfsup3d evaluate --json")
    return report
