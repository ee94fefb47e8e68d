"""3D pose of the person in an image, a folder of images, a video, or 2D keypoints.

    selfsup3d predict --checkpoint runs/v1 --input walk.mp4 --output out/
    selfsup3d predict --checkpoint runs/v1 --input photos/ --output out/ --crop whole
    selfsup3d predict --checkpoint runs/v1 --input walk.mp4 --output out/ --smooth --bvh --glb --video gif
    selfsup3d predict --checkpoint runs/lifter --input keypoints.json --output out/

Writes poses.npz and poses.json (17 joints with names, unit and frame), an overlay with skeleton and parts and the pose
turning in 3D beside it (overlay.mp4 for videos, one PNG an image), and on request pose.bvh and pose.glb.
OpenCV's MP4 does not play in browsers; --video webm or gif does.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from selfsup3d.cli import Parser, image_size
from selfsup3d.config.choices import Averaging, Detector, KeypointFormat, PartSource, WindowMode
from selfsup3d.errors import InputError

__all__ = ["parse"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.checkpoint()
    parser.add_argument("--input", type=Path, required=True, help="image, folder of images, video, or keypoints")
    parser.output()
    parser.add_argument(
        "--crop", choices=get_args(WindowMode), default="auto", help="how people are found (default: auto)"
    )
    parser.add_argument("--boxes", type=Path, help="box file (JSON or CSV); default: the one beside the input")
    parser.add_argument("--detector", type=Path, help="weights of a torchvision detector")
    parser.add_argument("--detector-architecture", choices=get_args(Detector), default=get_args(Detector)[0])
    parser.number("--focal", float, above=0, help="focal length of the full image, px; default: unknown")
    parser.add_argument(
        "--averaging", choices=get_args(Averaging), default="none",
        help="of an image model's predictions: with the mirrored image's (twice the time), with three crops of both",
    )  # fmt: skip
    parser.add_argument(
        "--over-time", action=argparse.BooleanOptionalAction, default=None,
        help="of an image model: left and right follow the likeliest path through the video (default: on for videos)",
    )  # fmt: skip
    parser.add_argument("--smooth", action="store_true", help="smooth over time (One Euro filter)")
    parser.number("--cutoff", float, above=0, default=1.0, help="Hz of --smooth at rest; less is smoother")
    parser.add_argument("--video", choices=("mp4", "webm", "gif", "none"), default="mp4", help="of the overlay")
    parser.add_argument(
        "--parts", choices=get_args(PartSource), default="puppet",
        help="of the overlay: of the predicted pose's puppet (fast), or the decoder's segmentation",
    )  # fmt: skip
    parser.add_argument("--bvh", action="store_true", help="write pose.bvh")
    parser.add_argument("--glb", action="store_true", help="write pose.glb")
    parser.add_argument("--ground", action="store_true", help="in both, put the feet on the floor (y = 0), facing +z")
    parser.number("--every", int, least=1, default=1, help="predict each n-th frame")
    parser.number("--limit", int, least=1, help="at most so many frames")
    parser.add_argument("--format", choices=get_args(KeypointFormat), help="of keypoints; default: told from them")
    parser.add_argument("--image-size", type=image_size, metavar="WIDTHxHEIGHT", help="of keypoints' images")
    parser.number("--fps", float, above=0, help="frames per second, where the input has none")
    parser.number("--batch-size", int, least=1, default=16, help="frames at a time")
    parser.device()
    args = parser.parse_args(argv)
    if not args.input.exists():
        raise InputError(f"{args.input}: no such file or folder; expected an image, a video or keypoints (.json)")
    return args
