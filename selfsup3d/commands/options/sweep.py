"""Train and measure a table of methods: configs x budgets x seeds, in as many sittings as it takes.

    selfsup3d sweep --config configs/lifters/benchmark.yaml -- --data.mocap mocap.npz
    selfsup3d sweep --config configs/lifters/benchmark.yaml --experiments martinez repnet --minutes 60 -- --data.mocap ...
    selfsup3d sweep --config configs/lifters/benchmark.yaml --table

Results go to the folder that the file names: results.json (after every run), table.md, runs/. Finished runs are skipped,
one that was cut off goes on. What stands behind `--` is given to every training run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from selfsup3d.cli import Parser

__all__ = ["parse"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="the sweep: a file, or a shipped one by name (lifters/benchmark)"
    )
    parser.add_argument("--experiments", nargs="+", default=[], metavar="ID", help="only these")
    parser.add_argument("--budgets", nargs="+", default=[], metavar="ID", help="only these")
    parser.number("--minutes", float, above=0, help="begin no run once this long has passed")
    parser.add_argument(
        "--results", type=Path, help="also write results and table into this folder, under the name of the sweep's own"
    )
    parser.add_argument(
        "--images",
        metavar="PANEL",
        help='also draw what the model of each experiment makes of the same test frames, e.g. "3D side"',
    )
    parser.add_argument(
        "--curves", metavar="METRIC", help="also draw this error during training against samples and against time"
    )
    parser.add_argument("--table", action="store_true", help="run nothing, write the table of what is there")
    own, extra = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    args = parser.parse_args(own)
    args.extra = extra
    return args
