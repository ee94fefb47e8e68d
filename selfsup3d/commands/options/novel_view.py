"""A person seen from other sides, from one image.

    selfsup3d novel-view --checkpoint runs/v1 --image person.jpg --output out/
    selfsup3d novel-view --checkpoint runs/v1 --image person.jpg --output out/ --azimuth -90 90 --count 9 \\
        --elevation -10 20 --background background
    selfsup3d novel-view --checkpoint runs/v1 --image person.jpg --output out/ --origin body --video webm

Writes views.png (a sheet: one row an elevation, one column an azimuth, the image itself on the left) and the camera's
way round the person as an animation (views.gif, .webm or .mp4).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from selfsup3d.cli import Parser

__all__ = ["parse"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.checkpoint()
    parser.add_argument("--image", type=Path, required=True, help="image of one person")
    parser.output()
    parser.add_argument("--azimuth", type=float, nargs=2, default=(-90.0, 90.0), metavar=("FROM", "TO"), help="degrees")
    parser.number("--count", int, least=1, default=7, help="azimuths of the sheet (default: 7)")
    parser.add_argument("--elevation", type=float, nargs="+", default=[0.0], help="degrees; one row of the sheet each")
    parser.number("--distance", float, above=0, default=1.0, help="times the distance in the image")
    parser.add_argument("--origin", choices=("image", "body"), default="image", help="what azimuth 0 is")
    parser.background("constant")
    parser.add_argument("--boxes", type=Path, help="box file (JSON or CSV); default: the whole image")
    parser.add_argument("--video", choices=("gif", "webm", "mp4", "none"), default="gif", help="of the sweep")
    parser.number("--frames", int, least=1, default=36, help="of the animation")
    parser.number("--scale", int, least=1, default=2, help="whole factor by which images are enlarged")
    parser.device()
    return parser.parse_args(argv)
