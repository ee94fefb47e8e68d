"""Speed of the kernels, the training step and the loader, beside their peers.

    selfsup3d benchmark                                  all of them, a table on stdout
    selfsup3d benchmark --only kinematics --json speed.json
    selfsup3d benchmark --list                           what there is
    selfsup3d benchmark --growth speed.md                how a training step's cost grows, a page of tables
    selfsup3d benchmark --long-run long.md               memory and open files over 2,000 steps of training

Each compares results before it times anything; contestants take turns in one process on the same, pinned CPUs; medians
are reported. A busy machine is refused, since its figures mislead: --force measures all the same and says so in the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from selfsup3d.cli import Parser

__all__ = ["parse"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="run this one; may be given several times")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument(
        "--growth", type=Path, metavar="FILE.md", help="tables over resolution, batch, parts, processes"
    )
    parser.add_argument("--long-run", type=Path, metavar="FILE.md", help="memory and open files over 2,000 steps")
    parser.number("--threads", int, least=1, default=2, help="CPUs to use (default: 2)")
    parser.number("--seconds", float, above=0, default=5.0, help="time for each comparison (default: 5)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run (default: cpu)")
    parser.add_argument("--force", action="store_true", help="measure on a busy machine too")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that everything works")
    parser.add_argument("--list", action="store_true", help="print names and what they compare, and stop")
    args = parser.parse_args(argv)
    pages = [name for name in ("growth", "long_run") if getattr(args, name) is not None]
    if len(pages) > 1 or (pages and (args.only or args.json is not None)):
        flag = f"--{pages[0].replace('_', '-')}"
        parser.error(f"{flag}: writes a page of its own; run the other pages, --only and --json apart from it")
    return args
