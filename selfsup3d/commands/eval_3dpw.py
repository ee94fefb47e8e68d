"""The 3DPW generalization protocol: `evaluate` on 3DPW, with a sheet of best, median and worst frames."""

from __future__ import annotations

from selfsup3d.commands.evaluate import evaluate
from selfsup3d.commands.options.eval_3dpw import parse

__all__ = ["main"]


def main(argv: list[str]) -> int:
    return evaluate(parse(argv))
