"""The table that `selfsup3d benchmark` prints."""

from __future__ import annotations

from collections.abc import Mapping

from selfsup3d.benchmarks.harness import Result
from selfsup3d.benchmarks.registry import BENCHMARKS

__all__ = ["table"]

HEADER = ("benchmark", "ours ms", "peer ms", "ratio", "reach", "bound", "dtype", "max error", "peak MB", "peer")


def table(results: Mapping[str, Result]) -> str:
    """Aligned columns, one row a benchmark; below each row, indented, why figures are absent, what bounds the row, and further
    figures."""
    rows = [HEADER, *(_cells(name, result) for name, result in results.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = []
    for row, (name, result) in zip(rows, [("", None), *results.items()], strict=True):
        cells = [
            cell.ljust(w) if i in (0, len(row) - 1) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if result is not None and result.reason:
            lines.append(f"    {result.reason}")
        if result is not None and name in BENCHMARKS and BENCHMARKS[name].limit:
            lines.append(f"    bound: {BENCHMARKS[name].limit}")
        if result is not None and result.notes:
            notes = (
                f"{key} {value if isinstance(value, str) else _number(value)}" for key, value in result.notes.items()
            )
            lines.append("    " + ", ".join(notes))
    return "\n".join(lines)


def _cells(name: str, result: Result) -> tuple[str, ...]:
    reach = BENCHMARKS[name].reach if name in BENCHMARKS else ""
    figures = (result.ours_ms, result.peer_ms, result.ratio)
    return (
        name,
        *(_number(figure) for figure in figures),
        reach or "-",
        _number(result.bound),
        result.dtype or "-",
        _number(result.max_error),
        _number(result.peak_mb),
        result.peer or "-",
    )


def _number(value: float | None) -> str:
    """Three digits, without needless exponents; "-" for what is absent."""
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
