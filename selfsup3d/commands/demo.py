"""A page in the browser on which a trained model is tried."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from selfsup3d.commands.options.demo import parse
from selfsup3d.demo.door import upload_folder
from selfsup3d.inference.device import pick_device
from selfsup3d.inference.synthesizer import Synthesizer
from selfsup3d.io.images import frame_files
from selfsup3d.io.resources import example_people

__all__ = ["main"]


def main(argv: list[str]) -> int:
    args = parse(argv)
    people: Path = args.examples or example_people()
    examples = frame_files(people) if people.is_dir() else []
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.default_int_handler)  # however it is stopped, the folder of uploads is removed
    with upload_folder() as folder:
        uploads = folder / "uploads"
        uploads.mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # gradio reads it when imported: uploads go with the folder
        from selfsup3d.demo.answers import Answers
        from selfsup3d.demo.page import build_page, launch_page

        synthesizer = Synthesizer.from_pretrained(args.checkpoint, pick_device(args.device))
        answers = Answers(synthesizer, folder / "poses", args.checkpoint.resolve().name)
        launch_page(build_page(answers, examples, uploads), args.host, args.port, uploads)
    return 0
