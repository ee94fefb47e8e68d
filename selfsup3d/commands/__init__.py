"""What people run: one file a command, each with `main(argv)`, started by `selfsup3d NAME`, `python -m selfsup3d NAME`
or launch/NAME.py.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches

__all__ = ["COMMANDS", "start"]

COMMANDS = {
    "train": "train any system from a config",
    "evaluate": "measure a trained system on a dataset, beside trivial baselines",
    "eval-3dpw": "measure a system trained elsewhere on 3DPW",
    "predict": "3D poses of the person in images, videos or 2D keypoints",
    "novel-view": "a person seen from other sides, from one image",
    "pose-transfer": "the pose of B on the appearance of A",
    "prepare-data": "prepare datasets, videos and motion capture for training",
    "sweep": "train and measure a table of experiments, and write the table",
    "benchmark": "speed of kernels, training step and data loading, beside their peers",
    "export": "a trained model as ONNX, or poses as BVH and GLB",
    "demo": "a page in the browser on which a trained model is tried",
}
"""Name -> what the command does, in one line."""


def start(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names first; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0 if argv else 2
    if argv[0] == "--version":
        from selfsup3d import __version__

        print(__version__)
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, 1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        print(f"{name}: there is no such command{meant} (see --help)", file=sys.stderr)
        return 2
    from selfsup3d.cli import keep_freed_memory, run

    def main(given: list[str]) -> int:
        file = name.replace("-", "_")
        # Its options first: help and slips are told before torch is loaded.
        importlib.import_module(f"selfsup3d.commands.options.{file}").parse(given)
        if name != "benchmark":  # which meets others' code as a plain script does
            keep_freed_memory()
        code: int = importlib.import_module(f"selfsup3d.commands.{file}").main(given)
        return code

    return run(main, rest)


def _help() -> str:
    lines = [f"  {name:13}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        ["usage: selfsup3d COMMAND [options]", "", *lines, "", "selfsup3d COMMAND --help tells a command's options."]
    )
