"""A page in the browser on which a trained model is tried."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from selfsup3d.builders.systems import load_system
from selfsup3d.commands.options.demo import parse
from selfsup3d.demo.door import upload_folder
from selfsup3d.demo.videos import VideoAnswers
from selfsup3d.inference.detectors.build import build_detector
from selfsup3d.inference.device import pick_device
from selfsup3d.inference.synthesizer import Synthesizer
from selfsup3d.io.images import frame_files
from selfsup3d.io.resources import example_people
from selfsup3d.models.lifters.base import require_lifter

__all__ = ["main"]


def main(argv: list[str]) -> int:
    args = parse(argv)
    people: Path = args.examples or example_people()
    examples = frame_files(people) if people.is_dir() else []
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup: the page is to outlive its terminal
            signal.signal(number, signal.default_int_handler)  # however it is stopped, the folder of uploads is removed
    with upload_folder() as folder:
        uploads = folder / "uploads"
        uploads.mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # gradio reads it when imported: uploads go with the folder
        from selfsup3d.demo.answers import Answers
        from selfsup3d.demo.page import build_page, launch_page

        device = pick_device(args.device)
        synthesizer = Synthesizer.from_pretrained(args.checkpoint, device)
        answers = Answers(synthesizer, folder / "poses", args.checkpoint.resolve().name)
        with contextlib.ExitStack() as held:
            videos = None
            if args.detector is not None:
                detector = build_detector(args.detector, args.detector_weights, people=2, device=str(device))
                held.callback(detector.close)
                system, _ = load_system(args.lifter, device)
                require_lifter(system, str(args.lifter))
                videos = VideoAnswers(detector, system, folder / "motions", args.detector, args.lifter.name)
            page = build_page(answers, examples, uploads, videos)
            launch_page(page, args.host, args.port, uploads, videos=videos.results.folder if videos else None)
    return 0
