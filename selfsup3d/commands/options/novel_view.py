"""A person seen from other sides, from images or a video of them.

    selfsup3d novel-view --checkpoint runs/v1 --image person.jpg --output out/
    selfsup3d novel-view --checkpoint runs/v1 --image person.jpg --output out/ --azimuth -90 90 --count 9 \\
        --elevation -10 20 --background background
    selfsup3d novel-view --checkpoint runs/v1 --image person.jpg --output out/ --origin body --video webm
    selfsup3d novel-view --checkpoint runs/v1 --image front.jpg back.jpg walk.mp4 --output out/ \\
        --background transparent --video webm

Writes views.png (a sheet: one row an elevation, one column an azimuth, the image itself on the left) and the camera's
way round the person as an animation (views.gif, .webm or .mp4). The first image gives the pose; what it hides of the
person comes from the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from selfsup3d.cli import Parser
from selfsup3d.config.choices import WindowMode
from selfsup3d.errors import InputError

__all__ = ["parse"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.checkpoint()
    parser.add_argument("--image", type=Path, nargs="+", required=True, help="images or videos of one person")
    parser.output()
    parser.add_argument("--azimuth", type=float, nargs=2, default=(-90.0, 90.0), metavar=("FROM", "TO"), help="degrees")
    parser.number("--count", int, least=1, default=7, help="azimuths of the sheet (default: 7)")
    parser.add_argument("--elevation", type=float, nargs="+", default=[0.0], help="degrees; one row of the sheet each")
    parser.number("--distance", float, above=0, default=1.0, help="times the distance in the image")
    parser.add_argument("--origin", choices=("image", "body"), default="image", help="what azimuth 0 is")
    parser.background("constant")
    parser.add_argument("--boxes", type=Path, help="box file (JSON or CSV) of one --image; default: the whole image")
    modes = [mode for mode in get_args(WindowMode) if mode not in ("detector", "boxes")]
    parser.add_argument("--crop", choices=modes, default="whole", help="how people are found (default: whole)")
    parser.add_argument("--video", choices=("gif", "webm", "mp4", "none"), default="gif", help="of the sweep")
    parser.number("--frames", int, least=1, default=36, help="of the animation")
    parser.synthesis()
    parser.device()
    args = parser.parse_args(argv)
    if args.boxes and len(args.image) > 1:
        raise InputError(f"{args.boxes}: boxes are of one --image, got {len(args.image)}")
    if args.background == "transparent" and args.video in ("gif", "mp4"):
        raise InputError(f"--background transparent: {args.video} has no transparency; use --video webm, or none")
    return args
