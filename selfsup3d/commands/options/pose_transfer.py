"""The pose of B on the appearance of A: images, videos, recorded motion, keypoints; or a whole grid of people.

    selfsup3d pose-transfer --checkpoint runs/v1 --appearance a.jpg --driving b.jpg --output out/
    selfsup3d pose-transfer --checkpoint runs/v1 --appearance a.mp4 --driving b.mp4 --output out/ --video webm
    selfsup3d pose-transfer --checkpoint runs/v1 --appearance a.jpg --driving walk.bvh --output out/
    selfsup3d pose-transfer --checkpoint runs/v1 --appearance a.jpg --driving keypoints.json \\
        --lifter runs/martinez --output out/
    selfsup3d pose-transfer --checkpoint runs/v1 --appearance a.jpg b.jpg --driving c.jpg d.jpg --output out/

    selfsup3d pose-transfer --checkpoint runs/v1 --appearance a.jpg a2.jpg a.mp4 --one-person --driving walk.bvh \\
        --output out/ --background transparent --video webm

--driving is an image, a video, poses.npz of selfsup3d predict, motion capture (.npz, .bvh, .amc, .c3d) or keypoints.
One image gives transfer.png beside its sources, a motion gives transfer.<video>; several appearances or several driving
images give grid.png: one row an appearance, one column a pose.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from selfsup3d.cli import Parser, image_size
from selfsup3d.config.choices import KeypointFormat, WindowMode
from selfsup3d.errors import InputError

__all__ = ["parse"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.checkpoint()
    parser.add_argument("--appearance", type=Path, nargs="+", required=True, help="images or videos of the person A")
    parser.add_argument("--driving", type=Path, nargs="+", required=True, help="what gives the poses")
    parser.add_argument("--one-person", action="store_true", help="all --appearance are of one person")
    parser.output()
    parser.add_argument("--camera", choices=("driving", "appearance"), default="driving", help="whose view")
    parser.background("background")
    modes = [mode for mode in get_args(WindowMode) if mode != "detector"]
    parser.add_argument("--crop", choices=modes, default="auto", help="how people are found in videos")
    parser.add_argument("--sequence", help="of a motion-capture npz; default: its first")
    parser.number("--azimuth", float, default=0.0, help="degrees, of the camera that sees motion capture")
    parser.number("--elevation", float, default=0.0, help="degrees, likewise")
    parser.motion()
    parser.add_argument("--lifter", type=Path, help="checkpoint of a lifter, for keypoints")
    parser.add_argument("--format", choices=get_args(KeypointFormat), help="of keypoints; default: by their contents")
    parser.add_argument("--person", help="id of the one person of keypoints to take; default: of whom most is seen")
    parser.number("--fps", float, above=0, help="frames per second of an input without times; replaces a video's own")
    parser.add_argument("--image-size", type=image_size, metavar="WIDTHxHEIGHT", help="of keypoints' images")
    parser.add_argument("--smooth", action="store_true", help="smooth what a video or keypoints drive over time")
    parser.number("--every", int, least=1, default=1, help="each n-th frame of a motion")
    parser.number("--limit", int, least=1, help="at most so many frames of a motion")
    parser.add_argument("--video", choices=("gif", "webm", "mp4"), default="mp4", help="of a motion")
    parser.number("--stills", int, least=1, help="also write a sheet of so many poses of a motion (transfer.png)")
    parser.synthesis()
    parser.device()
    args = parser.parse_args(argv)
    for path in (*args.appearance, *args.driving):
        if not path.exists():
            raise InputError(f"{path}: no such file")
    if args.background == "transparent" and args.video != "webm" and len(args.driving) == 1:
        from selfsup3d.io.images import is_image  # decoders are loaded where a file is looked into

        if is_image(args.driving[0]):
            return args
        raise InputError(f"--background transparent: {args.video} has no transparency; use --video webm")
    return args
