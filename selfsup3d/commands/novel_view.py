"""A person seen from other sides, from one image.

    python launch/novel_view.py --checkpoint runs/v1 --image person.jpg --output out/
    python launch/novel_view.py --checkpoint runs/v1 --image person.jpg --output out/ --azimuth -90 90 --count 9 \\
        --elevation -10 20 --background background
    python launch/novel_view.py --checkpoint runs/v1 --image person.jpg --output out/ --origin body --video webm

Writes views.png (a sheet: one row an elevation, one column an azimuth, the image itself on the left) and the camera's
way round the person as an animation (views.gif, .webm or .mp4).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from selfsup3d.cli import Parser, refuse_overwrite
from selfsup3d.errors import InputError
from selfsup3d.inference.backdrop import BACKGROUND_HELP, named_background
from selfsup3d.inference.synthesizer import Orbit, Person, Synthesizer
from selfsup3d.inference.windows import WindowOptions, cut, find_windows
from selfsup3d.io.video import read_image
from selfsup3d.training.device import pick_device
from selfsup3d.viz.animation import write_animation
from selfsup3d.viz.sheets import tile, to_uint8, write_png
from selfsup3d.viz.view3d import draw_pose_3d

__all__ = ["main"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a run, a released model or a checkpoint")
    parser.add_argument("--image", type=Path, required=True, help="image of one person")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    parser.add_argument("--azimuth", type=float, nargs=2, default=(-90.0, 90.0), metavar=("FROM", "TO"), help="degrees")
    parser.add_argument("--count", type=int, default=7, help="azimuths of the sheet (default: 7)")
    parser.add_argument("--elevation", type=float, nargs="+", default=[0.0], help="degrees; one row of the sheet each")
    parser.add_argument("--distance", type=float, default=1.0, help="times the distance in the image")
    parser.add_argument("--origin", choices=("image", "body"), default="image", help="what azimuth 0 is")
    parser.add_argument("--background", default="constant", help=f"{BACKGROUND_HELP} (default: constant)")
    parser.add_argument("--boxes", type=Path, help="box file (JSON or CSV); default: the whole image")
    parser.add_argument("--video", choices=("gif", "webm", "mp4", "none"), default="gif", help="of the sweep")
    parser.add_argument("--frames", type=int, default=36, help="of the animation")
    parser.add_argument("--scale", type=int, default=2, help="whole factor by which images are enlarged")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ...")
    parser.add_argument("--overwrite", action="store_true", help="replace files in --output")
    args = parser.parse_args(argv)
    for name in ("count", "frames", "scale", "distance"):
        if not getattr(args, name) > 0:
            parser.error(f"--{name} {getattr(args, name)}: must be more than 0")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
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
