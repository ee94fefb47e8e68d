"""`evaluate --dataset videos --reference FILE.npz`: a system on real videos against a 2D reference."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from selfsup3d import __version__
from selfsup3d.builders.systems import evaluated, load_system
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.evaluation.bootstrap import compare_frames
from selfsup3d.evaluation.records import load_frames, save_frames
from selfsup3d.evaluation.reference_2d import Reference2D, load_reference
from selfsup3d.evaluation.reference_2d_report import add_to_page, real_clips_text
from selfsup3d.evaluation.report import difference
from selfsup3d.experiments.clip_curve import add_to_curve
from selfsup3d.experiments.clip_pictures import clip_sheet, picture_rows, write_jpg
from selfsup3d.experiments.real_clips import CLIP_METRICS, ClipReading, facing_pose, measure_clips
from selfsup3d.experiments.release import run_baselines
from selfsup3d.inference.device import pick_device
from selfsup3d.inference.predictor import PosedFrame, Predictor
from selfsup3d.io.files import write_json
from selfsup3d.models.system import System

__all__ = ["evaluate_clips"]

_UNUSED = ("split", "preset", "regressed", "report", "upper_bound", "lifter", "lpips", "limit", "poses")


def evaluate_clips(args: argparse.Namespace) -> int:
    """Measure, print, and write what is asked for in files.

    Raises:
        InputError: an option that a 2D reference has no use for; see also `measure_clips`.
    """
    if args.dataset != "videos" or args.root is None:
        raise InputError("--reference is of real videos: it needs --dataset videos --data.root FOLDER")
    for name in _UNUSED:
        if getattr(args, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} has no meaning beside --reference; leave it out")
    if args.pictures_before is not None and args.pictures is None:
        raise InputError("--pictures-before MODEL draws a row above those of --pictures FILE.jpg: give both")
    if args.pictures is not None and args.pictures.suffix.lower() not in (".jpg", ".jpeg"):
        raise InputError(f"--pictures {args.pictures}: a JPEG file is written; give a name that ends in .jpg")
    if (args.curve is None) != (args.images_seen is None):
        raise InputError("--curve FILE.json needs --images-seen N, the training images up to this model; give both")
    if args.calibrate:
        raise InputError("--calibrate needs frames whose 3D joints are known; leave out --reference")
    if args.protocol != "strict" or args.samples != 1 or args.every != 1 or args.sheet:
        raise InputError(
            "--protocol, --samples, --sheet and --data.every have no meaning beside --reference; leave them out"
        )
    references = load_reference(args.reference)
    other = None if args.compare is None else load_frames(args.compare)
    system, config = load_system(args.checkpoint, pick_device(args.device))
    reading = ClipReading(args.crop or "whole", 1.5 if args.crop_factor is None else args.crop_factor)
    names = [name for name in (args.clips or "").split(",") if name]
    guess = None if args.no_baselines else run_baselines(config, system, None).mean_canonical
    pictures: dict[str, dict[str, list[np.ndarray]]] = {}
    if args.pictures_before is not None:
        before, its_config = load_system(args.pictures_before, pick_device(args.device))
        earlier = _predictor(args, before, its_config)
        measure_clips(
            earlier,
            args.root,
            references,
            reading,
            clips=names,
            seen=_drawer(pictures, args.pictures_before, references),
        )
    result, frames = measure_clips(
        _predictor(args, system, config),
        args.root,
        references,
        reading,
        clips=names,
        guess=None if guess is None else facing_pose(guess.numpy()),
        seen=None if args.pictures is None else _drawer(pictures, args.checkpoint, references),
    )
    if args.pictures is not None:
        write_jpg(args.pictures, clip_sheet(pictures))
        print(args.pictures, file=sys.stderr)
    result = {
        "dataset": "videos",
        "reference": str(args.reference.name),
        **result,
        "checkpoint": str(args.checkpoint),
        "config_hash": config.hash,
        "versions": {"selfsup3d": __version__, "torch": torch.__version__},
    }
    print(real_clips_text(result))
    if other is not None:
        print(difference(compare_frames(other, frames, CLIP_METRICS), str(args.compare)))
    if args.json is not None:
        write_json(args.json, result)
    if args.per_frame is not None:
        save_frames(args.per_frame, frames)
    if args.curve is not None:
        for path in add_to_curve(args.curve, args.curve_run or _title(args.checkpoint), args.images_seen, result):
            print(path, file=sys.stderr)
    if args.page is not None:
        for path in add_to_page(args.page, result):
            print(path, file=sys.stderr)
    return 0


def _predictor(args: argparse.Namespace, system: System, config: Config) -> Predictor:
    return Predictor(
        system,
        int(getattr(evaluated(config), "size", 64)),
        args.batch_size,
        parts="none",
        averaging=args.averaging,
        over_time=args.over_time is not False,
        second_crop=args.second_crop,
    )


def _drawer(
    pictures: dict[str, dict[str, list[np.ndarray]]], checkpoint: Path, references: Mapping[str, Reference2D]
) -> Callable[[str, list[PosedFrame]], None]:
    """Draws the frames of each clip, under the name of the model's folder."""

    def draw(name: str, posed: list[PosedFrame]) -> None:
        pictures.setdefault(name, {})[_title(checkpoint)] = picture_rows(posed, references[name])

    return draw


def _title(checkpoint: Path) -> str:
    return checkpoint.parent.name if checkpoint.name == "model" else checkpoint.name
