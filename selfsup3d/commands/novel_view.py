"""A person seen from other sides, from one image."""

from __future__ import annotations

import argparse

import cv2
import numpy as np
from torch import Tensor

from selfsup3d.cli import refuse_overwrite
from selfsup3d.commands.options.novel_view import parse
from selfsup3d.errors import InputError
from selfsup3d.inference.backdrop import named_background
from selfsup3d.inference.device import pick_device
from selfsup3d.inference.synthesizer import Orbit, Person, Synthesizer
from selfsup3d.inference.windows import WindowOptions, cut, find_windows
from selfsup3d.io.images import read_image
from selfsup3d.viz.animation import write_animation
from selfsup3d.viz.sheets import tile, to_uint8, write_png
from selfsup3d.viz.view3d import draw_pose_3d

__all__ = ["main"]


def main(argv: list[str]) -> int:
    args = parse(argv)
    sheet, animation = args.output / "views.png", args.output / f"views.{args.video}"
    files = [sheet] if args.video == "none" else [sheet, animation]
    refuse_overwrite(files, args.overwrite)
    image = read_image(args.image)
    synthesizer = Synthesizer.from_pretrained(args.checkpoint, pick_device(args.device))
    options = WindowOptions("boxes" if args.boxes else "whole", args.boxes)
    window = find_windows(args.image, options)(0, image)
    if window is None:
        raise InputError(f"{args.boxes}: no box of frame 0 that lies in {args.image}")
    crop = cut(image, window, synthesizer.size)
    person = synthesizer.encode(crop)
    silhouette = synthesizer.silhouette(person)[0]
    background = named_background(args.background, crop, synthesizer.size, silhouette)
    write_png(sheet, _sheet(synthesizer, person, crop, background, args))
    if args.video != "none":
        orbits = _orbits(args, args.frames, args.elevation[0])
        there = [_large(p, args.scale) for p in to_uint8(synthesizer.novel_view(person, orbits, background))]
        write_animation(animation, [*there, *there[-2:0:-1]])  # and back, so that it loops
    for path in files:
        print(path)
    return 0


def _sheet(
    synthesizer: Synthesizer, person: Person, crop: np.ndarray, background: Tensor | None, args: argparse.Namespace
) -> np.ndarray:
    """One row an elevation; the image, the pose and its views."""
    pose = person.body.posed[0].cpu().numpy()
    known = [_large(crop, args.scale), draw_pose_3d(pose, size=args.scale * synthesizer.size)]
    rows = []
    for elevation in args.elevation:
        views = to_uint8(synthesizer.novel_view(person, _orbits(args, args.count, elevation), background))
        rows.append([*known, *(_large(view, args.scale) for view in views)])
    return tile(rows)


def _orbits(args: argparse.Namespace, count: int, elevation: float) -> list[Orbit]:
    """`count` cameras of the sweep at one elevation."""
    first, last = args.azimuth
    azimuths = [float(azimuth) for azimuth in np.linspace(first, last, count)]
    return [Orbit(azimuth, elevation, args.distance, args.origin) for azimuth in azimuths]


def _large(image: np.ndarray, scale: int) -> np.ndarray:
    return image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
