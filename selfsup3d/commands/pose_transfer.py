"""The pose of B on the appearance of A: images, videos, recorded motion, keypoints; or a whole grid of people."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from selfsup3d.builders.systems import load_system
from selfsup3d.cli import refuse_overwrite
from selfsup3d.commands.motion_options import motion_options
from selfsup3d.commands.options.pose_transfer import parse
from selfsup3d.commands.synthesis_outputs import open_synthesizer, rendered
from selfsup3d.data.mocap.convert import MocapOptions
from selfsup3d.errors import InputError
from selfsup3d.inference.keypoint_files import holds_keypoints, read_keypoints
from selfsup3d.inference.lifting import lift_keypoints, smoothed
from selfsup3d.inference.motion import MOCAP_SUFFIXES, Motion, load_motion, motion_of_record, seen_motion
from selfsup3d.inference.smoothing import OneEuro
from selfsup3d.inference.sources import person_crops, shown_person
from selfsup3d.inference.synthesizer import Synthesizer
from selfsup3d.inference.timeline import USUAL_FPS
from selfsup3d.inference.windows import WindowOptions
from selfsup3d.io.images import is_image
from selfsup3d.io.video import is_video
from selfsup3d.viz.animation import write_animation
from selfsup3d.viz.sheets import labelled, tile, with_alpha, write_png
from selfsup3d.viz.view3d import draw_pose_3d

__all__ = ["main"]


def main(argv: list[str]) -> int:
    args = parse(argv)
    if motion_options(args) != MocapOptions() and args.driving[0].suffix.lower() not in MOCAP_SUFFIXES:
        raise InputError(
            f"{args.driving[0]}: --up, --unit, --table and --source-fps are for {', '.join(MOCAP_SUFFIXES)}"
        )
    many = len(_people(args)) > 1 or len(args.driving) > 1
    motion = not many and not is_image(args.driving[0])
    if many and not all(is_image(path) for path in args.driving):
        raise InputError("a grid needs images as --driving; give one motion at a time")
    target = args.output / ("grid.png" if many else f"transfer.{args.video}" if motion else "transfer.png")
    files = [target, args.output / "transfer.png"] if motion and args.stills else [target]
    refuse_overwrite(files, args.overwrite)
    synthesizer = open_synthesizer(args)
    if motion:
        _write_motion(target, synthesizer, args)
    else:
        write_png(target, _grid(synthesizer, args))
    print("\n".join(map(str, files)))
    return 0


def _grid(synthesizer: Synthesizer, args: argparse.Namespace) -> np.ndarray:
    """One row an appearance, one column a driving image; sources at the head of both."""
    driving = [next(person_crops(path, synthesizer.side, WindowOptions(args.crop), 1)) for path in args.driving]
    poses = synthesizer.encode(np.stack(driving))
    paper = np.full_like(driving[0], 255)
    named = [labelled(image, f"pose of {path.name}") for image, path in zip(driving, args.driving, strict=True)]
    rows = [[labelled(paper, ""), *named]]
    for paths in _people(args):
        shown = shown_person(synthesizer, paths, WindowOptions(args.crop), args.background)
        body = synthesizer.driven(shown.person.body, poses, args.camera)
        images = [labelled(image, "in this pose") for image in rendered(synthesizer, shown, body)]
        rows.append([labelled(shown.crop, ", ".join(path.name for path in paths)), *images])
    return tile(rows)


def _people(args: argparse.Namespace) -> list[list[Path]]:
    """The files of each person."""
    return [args.appearance] if args.one_person else [[path] for path in args.appearance]


def _write_motion(target: Path, synthesizer: Synthesizer, args: argparse.Namespace) -> None:
    """A on the left, the driving pose in 3D in the middle, the result on the right."""
    shown = shown_person(synthesizer, _people(args)[0], WindowOptions(args.crop), args.background)
    motion = _motion(synthesizer, args.driving[0], args)
    for line in motion.taken:
        print(f"{args.driving[0].name}: {line}")
    body = synthesizer.driven(shown.person.body, motion, args.camera)
    posed = body.posed.cpu().numpy()

    def frames() -> Iterator[np.ndarray]:
        images = rendered(synthesizer, shown, body)
        for pose, image in zip(posed, tqdm(images, total=len(posed), desc="frames", unit="frame"), strict=True):
            drawn = [shown.crop, draw_pose_3d(pose, size=synthesizer.side), image]
            yield np.concatenate([with_alpha(one) for one in drawn] if shown.transparent else drawn, axis=1)

    write_animation(target, frames(), motion.fps or USUAL_FPS)
    if args.stills:
        chosen = torch.linspace(0, len(posed) - 1, min(args.stills, len(posed))).round().long()
        images = list(rendered(synthesizer, shown, body[chosen]))
        poses = [draw_pose_3d(posed[k], size=synthesizer.side) for k in chosen.tolist()]
        names = [f"frame {k + 1} of {len(posed)}" for k in chosen.tolist()]
        head = [labelled(shown.crop, "image"), *map(labelled, poses, names)]
        write_png(
            args.output / "transfer.png",
            tile([head, [labelled(np.full_like(shown.crop, 255), ""), *(labelled(i, "in this pose") for i in images)]]),
        )


def _motion(synthesizer: Synthesizer, path: Path, args: argparse.Namespace) -> Motion:
    """The driving motion of any source, thinned out."""
    if args.format is not None or holds_keypoints(path):
        motion = _lifted(synthesizer, path, args)
    elif path.suffix.lower() in (".npz", *MOCAP_SUFFIXES):
        motion = load_motion(path, args.sequence, args.azimuth, args.elevation, motion_options(args), args.fps)
    elif path.is_dir() or is_video(path):
        return seen_motion(synthesizer.predictor(), path, args.crop, args.every, args.limit, args.smooth, args.fps)
    else:
        raise InputError(
            f"{path}: cannot drive; expected an image, a video, .npz, {', '.join(MOCAP_SUFFIXES)} or keypoints (.json)"
        )
    rows = torch.arange(0, len(motion), args.every)[: args.limit]
    return replace(motion[rows], fps=motion.fps / args.every)


def _lifted(synthesizer: Synthesizer, path: Path, args: argparse.Namespace) -> Motion:
    """The motion of one person's keypoints."""
    if args.lifter is None:
        raise InputError(f"{path}: keypoints need --lifter CHECKPOINT, which makes 3D poses of them")
    lifter, _ = load_system(args.lifter, synthesizer.device)
    keypoints = read_keypoints(path, args.format, args.image_size, args.person)
    others = f"{keypoints.others} other people ignored (--person ID picks one)"
    for line in (*keypoints.notes, *([f"{path}: {others}"] if keypoints.others else [])):
        print(line)
    record = lift_keypoints(lifter, keypoints, args.fps or 0.0, source=str(path))
    return motion_of_record(smoothed(record, OneEuro(args.fps or USUAL_FPS)) if args.smooth else record)
