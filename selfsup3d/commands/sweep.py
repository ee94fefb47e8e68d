"""Train and measure a table of methods: configs x budgets x seeds, in as many sittings as it takes."""

from __future__ import annotations

import sys

from selfsup3d.commands.options.sweep import parse
from selfsup3d.config.sweep import load_sweep
from selfsup3d.experiments.sweep import Sweep
from selfsup3d.experiments.sweep_figures import sweep_curves, sweep_images
from selfsup3d.experiments.sweep_table import sweep_table
from selfsup3d.io.files import write_json, write_text
from selfsup3d.viz.sheets import write_png

__all__ = ["main"]


def main(argv: list[str]) -> int:
    args = parse(argv)
    sweep = Sweep(load_sweep(args.config), args.extra)
    cells = sweep.cells(args.experiments, args.budgets)
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
