"""Train and measure a table of methods: configs x budgets x seeds, in as many sittings as it takes.

    python launch/sweep.py --config configs/lifters/benchmark.yaml -- --data.mocap mocap.npz
    python launch/sweep.py --config configs/lifters/benchmark.yaml --rows martinez repnet --minutes 60 -- --data.mocap ...
    python launch/sweep.py --config configs/lifters/benchmark.yaml --table

Results go to the folder that the file names: results.json (after every run), table.md, runs/. Finished runs are skipped,
one that was cut off goes on. What stands behind `--` is given to every training run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfsup3d.cli import Parser
from selfsup3d.config.sweep import load_sweep
from selfsup3d.experiments.sweep import Sweep
from selfsup3d.experiments.sweep_curves import sweep_curves
from selfsup3d.experiments.sweep_images import sweep_images
from selfsup3d.experiments.sweep_table import sweep_table
from selfsup3d.io.files import write_json, write_text
from selfsup3d.viz.sheets import write_png

__all__ = ["main"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the sweep, e.g. configs/lifters/benchmark.yaml")
    parser.add_argument("--rows", nargs="+", default=[], help="only these")
    parser.add_argument("--columns", nargs="+", default=[], help="only these")
    parser.add_argument("--minutes", type=float, help="begin no run once this long has passed")
    parser.add_argument(
        "--results", type=Path, help="also write results and table into this folder, under the name of the sweep's own"
    )
    parser.add_argument(
        "--images", metavar="PANEL", help='also draw what each row makes of the same test frames, e.g. "3D side"'
    )
    parser.add_argument(
        "--curves", metavar="METRIC", help="also draw this error during training against samples and against time"
    )
    parser.add_argument("--table", action="store_true", help="run nothing, write the table of what is there")
    own, extra = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    args = parser.parse_args(own)
    args.extra = extra
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    sweep = Sweep(load_sweep(args.config), args.extra)
    cells = sweep.cells(args.rows, args.columns)
    try:
        if not args.table:
            sweep.run(cells, args.minutes, say=lambda line: print(line, file=sys.stderr, flush=True))
    finally:
        table = sweep_table(sweep)
        write_text(sweep.config.output / "table.md", table)
        if args.results is not None:
            write_text(args.results / f"{sweep.config.output.name}.md", table)
            write_json(args.results / f"{sweep.config.output.name}.json", sweep.results)
    if args.images is not None:
        folder = sweep.config.output if args.results is None else args.results
        write_png(folder / f"{sweep.config.output.name}.png", sweep_images(sweep, args.images))
    if args.curves is not None:
        folder = sweep.config.output if args.results is None else args.results
        write_png(folder / f"{sweep.config.output.name}_curves.png", sweep_curves(sweep, args.curves))
    print(table)
    return 0
