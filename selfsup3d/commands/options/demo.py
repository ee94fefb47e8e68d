"""A page in the browser on which a trained model is tried.

    pip install -e '.[demo]'
    selfsup3d demo --checkpoint runs/quickstart
    selfsup3d demo --checkpoint synth-v1 --detector mediapipe --detector-weights pose_landmarker_full.task

Then open http://127.0.0.1:7860. Upload an image of one person, take one by webcam (browsers give it to pages of their
own machine and to https alone), or pick a shipped one: the skeleton turns under the mouse, the camera moves by sliders,
and one person takes another's pose. The pose is downloaded as npz, BVH or GLB. With a --detector a video of up to 20 s,
of a file or of the webcam, is lifted to 3D: it plays as a skeleton and is downloaded as npz, BVH, GLB or TRC.

Only this machine can open the page; --host 0.0.0.0 lets the network in (there is no password). Nothing is fetched from
the internet; uploads are deleted after a day, and when the page's server stops.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from selfsup3d.cli import Parser
from selfsup3d.config.choices import PoseDetectorName
from selfsup3d.errors import InputError

__all__ = ["parse"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.checkpoint()
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on; default: this machine alone")
    parser.number("--port", int, least=1, most=65535, default=7860)
    parser.add_argument("--detector", choices=get_args(PoseDetectorName), help="of people: gives the page a video tab")
    parser.add_argument("--detector-weights", type=Path, nargs="+", default=[], metavar="FILE", help="its file")
    parser.add_argument("--lifter", type=Path, default=Path("lifter"), help="of the video tab (default: lifter)")
    parser.add_argument("--examples", type=Path, help="folder of images to pick from; default: the shipped people")
    parser.device()
    args = parser.parse_args(argv)
    if args.examples is not None and not args.examples.is_dir():
        raise InputError(f"--examples {args.examples}: no such folder")
    return args
