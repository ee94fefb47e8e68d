"""The pose of B on the appearance of A: images, videos, recorded motion, keypoints; or a whole grid of people."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from selfsup3d.builders.systems import load_system
from selfsup3d.cli import refuse_overwrite
from selfsup3d.commands.motion_options import motion_options
from selfsup3d.commands.options.pose_transfer import parse
from selfsup3d.data.mocap.convert import MocapOptions
from selfsup3d.errors import InputError
from selfsup3d.inference.backdrop import named_background
from selfsup3d.inference.device import pick_device
from selfsup3d.inference.keypoint_files import holds_keypoints, read_keypoints
from selfsup3d.inference.lifting import lift_keypoints, smoothed
from selfsup3d.inference.motion import MOCAP_SUFFIXES, Motion, load_motion, motion_of_record, seen_motion
from selfsup3d.inference.predictor import Predictor, images_of
from selfsup3d.inference.smoothing import OneEuro
from selfsup3d.inference.synthesizer import Person, Synthesizer
from selfsup3d.inference.timeline import USUAL_FPS
from selfsup3d.inference.windows import WindowOptions, cut, find_windows
from selfsup3d.io.images import is_image
from selfsup3d.io.video import is_video, video_info
from selfsup3d.viz.animation import write_animation
from selfsup3d.viz.sheets import tile, to_uint8, write_png
from selfsup3d.viz.view3d import draw_pose_3d

__all__ = ["main"]

_APPEARANCE_FRAMES = 32
"""Frames of an appearance video whose encodings are averaged."""


def main(argv: list[str]) -> int:
    args = parse(argv)
    if motion_options(args) != MocapOptions() and args.driving[0].suffix.lower() not in MOCAP_SUFFIXES:
        raise InputError(
            f"{args.driving[0]}: --up, --unit, --table and --source-fps are for {', '.join(MOCAP_SUFFIXES)}"
        )
    many = len(args.appearance) > 1 or len(args.driving) > 1
    motion = not many and not is_image(args.driving[0])
    if many and not all(is_image(path) for path in args.driving):
        raise InputError("a grid needs images as --driving; give one motion at a time")
    target = args.output / ("grid.png" if many else f"transfer.{args.video}" if motion else "transfer.png")
    refuse_overwrite([target], args.overwrite)
    synthesizer = Synthesizer.from_pretrained(args.checkpoint, pick_device(args.device))
    if motion:
        _write_motion(target, synthesizer, args)
    else:
        write_png(target, _grid(synthesizer, args))
    print(target)
    return 0


# ------------------------------------------------------------------------------------------------------------ images


def _crops(path: Path, size: int, args: argparse.Namespace, limit: int) -> Iterator[np.ndarray]:
    """(size, size, 3) crops of the person in an image or video, evenly spaced over it."""
    windows = find_windows(path, WindowOptions(args.crop))
    frames = 1 if is_image(path) else max(video_info(path).frames, 1)
    found = 0
    for number, image in images_of(path, every=max(1, frames // limit)):
        window = windows(number, image)
        if window is not None and found < limit:
            found += 1
            yield cut(image, window, size)
    if not found:
        raise InputError(f"{path}: no person was found in any frame; try --crop whole")


def _person(synthesizer: Synthesizer, path: Path, args: argparse.Namespace) -> tuple[Person, np.ndarray, Tensor | None]:
    """Appearance of an image, or mean appearance of a video; a crop to show; the background."""
    crops = np.stack(list(_crops(path, synthesizer.size, args, _APPEARANCE_FRAMES)))
    people = synthesizer.encode(crops)
    silhouette = synthesizer.silhouette(people[:1])[0]
    background = named_background(args.background, crops, synthesizer.size, silhouette)
    return people.merged(), crops[0], background


def _grid(synthesizer: Synthesizer, args: argparse.Namespace) -> np.ndarray:
    """One row an appearance, one column a driving image; sources at the head of both."""
    driving = [next(_crops(path, synthesizer.size, args, 1)) for path in args.driving]
    poses = synthesizer.encode(np.stack(driving))
    paper = np.full_like(driving[0], 255)
    rows = [[paper, *driving]]
    for path in args.appearance:
        person, shown, background = _person(synthesizer, path, args)
        images = list(synthesizer.transfer(person, poses, background, args.camera))
        rows.append([shown, *to_uint8(torch.stack(images))])
    return tile([[_large(image, args.scale) for image in row] for row in rows])


def _large(image: np.ndarray, scale: int) -> np.ndarray:
    return image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


# ------------------------------------------------------------------------------------------------------------- motions


def _write_motion(target: Path, synthesizer: Synthesizer, args: argparse.Namespace) -> None:
    """A on the left, the driving pose in 3D in the middle, the result on the right."""
    person, shown, background = _person(synthesizer, args.appearance[0], args)
    motion = _motion(synthesizer, args.driving[0], args)
    for line in motion.taken:
        print(f"{args.driving[0].name}: {line}")
    body = synthesizer.driven(person.body, motion, args.camera)
    side = args.scale * synthesizer.size
    posed = body.posed.cpu().numpy()

    def frames() -> Iterator[np.ndarray]:
        images = synthesizer.paint(person, body, background)
        for pose, image in zip(posed, tqdm(images, total=len(posed), desc="frames", unit="frame"), strict=True):
            drawn = [_large(shown, args.scale), draw_pose_3d(pose, size=side), _large(to_uint8(image), args.scale)]
            yield np.concatenate(drawn, axis=1)

    write_animation(target, frames(), motion.fps or USUAL_FPS)


def _motion(synthesizer: Synthesizer, path: Path, args: argparse.Namespace) -> Motion:
    """The driving motion of any source, thinned out."""
    if args.format is not None or holds_keypoints(path):
        motion = _lifted(synthesizer, path, args)
    elif path.suffix.lower() in (".npz", *MOCAP_SUFFIXES):
        motion = load_motion(path, args.sequence, args.azimuth, args.elevation, motion_options(args), args.fps)
    elif path.is_dir() or is_video(path):
        predictor = Predictor(synthesizer.system, synthesizer.size, synthesizer.batch_size, parts="none")
        return seen_motion(predictor, path, args.crop, args.every, args.limit, args.smooth, args.fps)
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
