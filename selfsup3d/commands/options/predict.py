"""3D poses of the people in a video, an image, a folder of images, a webcam, or 2D keypoints.

    selfsup3d predict --input walk.mp4 --output out/ --detector mediapipe --detector-weights pose_landmarker_full.task --bvh --trc
    selfsup3d predict --checkpoint runs/v1 --input walk.mp4 --output out/
    selfsup3d predict --checkpoint runs/v1 --input photos/ --output out/ --crop whole
    selfsup3d predict --checkpoint runs/lifter --input keypoints.json --output out/ --smooth --fill 0.3 --ground --glb

A checkpoint of a lifter takes 2D keypoints: of a file, or of a --detector that looks at the video. A checkpoint that
takes images needs no detector; one may find the person for it.

Writes poses.npz and poses.json (17 joints with names, unit, frame, times and confidences), an overlay (overlay.mp4 for
videos, one PNG an image), and on request pose.bvh, .glb, .trc, .c3d and angles.csv with angles.png. Of several people, each has files of
its own: person_ID.npz, person_ID.bvh ...
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import get_args

from selfsup3d.cli import Parser, image_size
from selfsup3d.config.choices import Averaging, Detector, KeypointFormat, PartSource, PoseDetectorName, WindowMode
from selfsup3d.errors import InputError

__all__ = ["EXPORTS", "parse"]

EXPORTS = {
    "bvh": "a skeleton's rotations, centimetres",
    "glb": "an animated skeleton with limbs",
    "trc": "markers for OpenSim, millimetres",
    "c3d": "markers, millimetres",
    "angles": "joint angles in degrees, CSV and a plot",
}
"""Kind -> what it is."""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.checkpoint(required=False)
    parser.add_argument(
        "--input", type=Path, required=True, help="video, image, folder of images, keypoints, or a webcam's number (0)"
    )
    parser.output()
    _people(parser)
    _motion(parser)
    group = parser.add_argument_group("what is written")
    group.add_argument("--video", choices=("mp4", "webm", "gif", "none"), default="mp4", help="of the overlay")
    group.add_argument("--turntable", action="store_true", help="turn the 3D view of the overlay; default: it stands")
    group.add_argument(
        "--parts", choices=get_args(PartSource), default="puppet",
        help="of the overlay: of the predicted pose's puppet (fast), or the decoder's segmentation",
    )  # fmt: skip
    for kind, what in EXPORTS.items():
        group.add_argument(f"--{kind}", action="store_true", help=what)
    group.add_argument(
        "--ground",
        action="store_true",
        help="put BVH, GLB, TRC, C3D and angles on the floor: y up, facing +z, feet locked",
    )
    parser.number("--every", int, least=1, default=1, help="predict each n-th frame")
    parser.number("--limit", int, least=1, help="at most so many frames")
    parser.add_argument("--format", choices=get_args(KeypointFormat), help="of keypoints; default: by their contents")
    parser.add_argument("--image-size", type=image_size, metavar="WIDTHxHEIGHT", help="of keypoints' images")
    parser.number("--fps", float, above=0, help="frames per second of an input without times; replaces a video's own")
    parser.number("--batch-size", int, least=1, default=16, help="frames at a time")
    parser.device()
    args = parser.parse_args(argv)
    number = None if args.input.exists() else re.fullmatch("[0-9]{1,3}", str(args.input))
    args.camera = None if number is None else int(number[0])
    if args.camera is not None and args.limit is None:
        args.limit = 10**9  # a webcam, until it is stopped
    elif args.camera is None and not args.input.exists():
        raise InputError(f"{args.input}: no such file or folder; expected an image, a video or keypoints (.json)")
    return args


def _people(parser: Parser) -> None:
    group = parser.add_argument_group("who is found, and how")
    group.add_argument("--detector", choices=get_args(PoseDetectorName), help="of people with 2D keypoints")
    group.add_argument(
        "--detector-weights", type=Path, nargs="+", default=[], metavar="FILE",
        help="its file (rtmlib: RTMO, or a person detector and RTMPose; model: a run of this project)",
    )  # fmt: skip
    group.add_argument(
        "--detector-architecture", choices=get_args(Detector), default=get_args(Detector)[0],
        help="of torchvision weights with --crop detector",
    )  # fmt: skip
    parser.number("--people", int, least=1, default=4, help="at most so many a frame (mediapipe)", group=group)
    group.add_argument("--person", help="id or name of the one person to take; default: everybody (box files: one)")
    group.add_argument(
        "--crop", choices=get_args(WindowMode), default="auto", help="how images are cropped without a --detector"
    )
    group.add_argument(
        "--averaging", choices=get_args(Averaging), default="none",
        help="of an image model's predictions: with the mirrored image's (twice the time); with three crops of both; with the "
        "mirrored image's, left and right told by a finer look at both (best for people-v1)",
    )  # fmt: skip
    group.add_argument(
        "--second-crop", action=argparse.BooleanOptionalAction, default=None,
        help="of an image model: read the crop around the keypoints of a first look (default: as the model says)",
    )  # fmt: skip
    group.add_argument("--boxes", type=Path, help="box file (JSON or CSV); default: the one beside the input")
    parser.number("--box-gap", int, least=0, default=15, help="frames over which boxes are interpolated", group=group)
    parser.number("--focal", float, above=0, help="focal length of the full image, px; default: unknown", group=group)


def _motion(parser: Parser) -> None:
    group = parser.add_argument_group("motion")
    group.add_argument("--smooth", action="store_true", help="smooth over time (One Euro filter)")
    parser.number("--cutoff", float, above=0, default=1.0, help="Hz of --smooth at rest; less is smoother", group=group)
    parser.number(
        "--fill", float, least=0, default=0.0, group=group,
        help="seconds of missing keypoints to interpolate before lifting (default: 0, gaps stay gaps)",
    )  # fmt: skip
    parser.number(
        "--max-gap", float, least=0, default=0.5, group=group,
        help="seconds without the person over which animations interpolate; longer gaps hold or are blank (default: 0.5)",
    )  # fmt: skip
    group.add_argument(
        "--over-time", action=argparse.BooleanOptionalAction, default=None,
        help="of an image model: left and right follow the likeliest path through the video (default: on for videos)",
    )  # fmt: skip
    group.add_argument(
        "--repair-sides", action="store_true", help="of keypoints: exchange left and right where they were confused"
    )
