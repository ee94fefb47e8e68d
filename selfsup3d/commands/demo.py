"""A page in the browser on which a trained model is tried.

    pip install 'selfsup3d[demo]'
    python launch/demo.py --checkpoint runs/quickstart

Then open http://127.0.0.1:7860. Upload an image of one person, or pick a shipped one: the skeleton turns under the
mouse, the camera moves by sliders, and one person takes another's pose. The pose is downloaded as npz, BVH or GLB.

Only this machine can open the page; --host 0.0.0.0 lets the network in (there is no password). Nothing is fetched from
the internet; uploads are deleted after a day, and when the page's server stops.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import torch

from selfsup3d.cli import Parser
from selfsup3d.demo.door import upload_folder
from selfsup3d.errors import InputError
from selfsup3d.inference.synthesizer import Synthesizer
from selfsup3d.io.video import frame_files

__all__ = ["main"]

EXAMPLES = Path(__file__).parents[2] / "assets" / "synth-v1" / "people"


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a run, a released model or a checkpoint")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on; default: this machine alone")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="folder of images to pick from")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto = the GPU where there is one")
    args = parser.parse_args(argv)
    if not 1 <= args.port <= 65535:
        parser.error(f"--port {args.port}: must lie in 1 ... 65535")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    if args.examples != EXAMPLES and not args.examples.is_dir():
        raise InputError(f"--examples {args.examples}: no such folder")
    examples = frame_files(args.examples) if args.examples.is_dir() else []
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.default_int_handler)  # however it is stopped, the folder of uploads is removed
    with upload_folder() as folder:
        uploads = folder / "uploads"
        uploads.mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # gradio reads it when imported: uploads go with the folder
        from selfsup3d.demo.answers import Answers
        from selfsup3d.demo.page import build_page, launch_page

        device = "cuda" if args.device == "auto" and torch.cuda.is_available() else "cpu"
        synthesizer = Synthesizer.from_pretrained(args.checkpoint, device)
        answers = Answers(synthesizer, folder / "poses", args.checkpoint.resolve().name)
        launch_page(build_page(answers, examples, uploads), args.host, args.port, uploads)
    return 0
