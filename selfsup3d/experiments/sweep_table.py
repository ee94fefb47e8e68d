"""The markdown tables of a sweep."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from selfsup3d.evaluation.cross_modal_tables import comparison
from selfsup3d.experiments.sweep import Cell, Sweep

__all__ = ["sweep_table"]

_NAMES = {
    "mpjpe": "MPJPE",
    "pa_mpjpe": "PA",
    "n_mpjpe": "N",
    "mrpe": "root",
    "pck_150": "PCK",
    "auc": "AUC",
    "flip_any": "flips",
    "miou_fg": "IoU FG",
    "miou_parts": "IoU parts",
    "saliency_iou": "saliency IoU",
}


def sweep_table(sweep: Sweep) -> str:
    """One table a column, a row each method; means over seeds, with the standard deviation where there are several.

    Columns of which nothing is done are left out. A run that `plateau` calls not converged is marked *.
    """
    blocks = [f"# {sweep.config.title}", sweep.config.note.strip()]
    marked = False
    for column, budget in sweep.config.columns.items():
        head = ["", "steps", *_fact_names(sweep, column), *_figure_names(sweep), *_comparison_names(sweep, column)]
        rows, anything = [], False
        for row in sweep.config.rows_of(column):
            done = _done(sweep, row, column)
            if not done:
                rows.append([row, "not run", *[""] * (len(head) - 2), *_beside(sweep, row)])
                continue
            mark = "" if all(cell["converged"] is not False for cell in done) else " *"
            marked, anything = marked or bool(mark), True
            if len(done) < len(sweep.config.seeds_of(column)):
                mark += f" ({len(done)} of {len(sweep.config.seeds_of(column))} seeds)"
            told = [*_facts(done), *_figures(sweep, done), *_comparison(sweep, row, column)]
            rows.append([row + mark, *told, *_beside(sweep, row)])
        if anything:
            rows += [[*row, *[""] * (len(head) - len(row)), *_beside(sweep)] for row in _baselines(sweep, column)]
            title = f"## {column}" if budget.processes == 1 else f"## {column}, {budget.processes} processes a run"
            head += [sweep.config.beside] if sweep.config.beside else []
            blocks += [title, _markdown(head, rows), *_cross_modal(sweep, column)]
    if marked:
        blocks.append("\\* not converged: the validation error was still falling in the last fifth of the run")
    blocks.append(_rules(sweep))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _done(sweep: Sweep, row: str, column: str) -> list[dict[str, Any]]:
    """Of every seed that is done."""
    found = [sweep.results["cells"].get(Cell(row, column, seed).key) for seed in sweep.config.seeds_of(column)]
    return [cell for cell in found if cell is not None]


def _beside(sweep: Sweep, row: str | None = None) -> list[str]:
    return [sweep.config.rows[row].beside if row else ""] if sweep.config.beside else []


def _comparison_names(sweep: Sweep, column: str) -> list[str]:
    if sweep.config.reference not in sweep.config.rows_of(column):
        return []
    return [f"{_NAMES.get(metric, metric)} against {sweep.config.reference}" for metric in sweep.config.compared]


def _comparison(sweep: Sweep, row: str, column: str) -> list[str]:
    """Differences of means from the reference row's, where they are larger than the spread of its seeds."""
    reference = sweep.config.reference
    if reference is None or reference not in sweep.config.rows_of(column):
        return []
    evaluation = next(iter(sweep.config.evaluations))
    told = []
    for metric in sweep.config.compared:
        own, other = (
            [cell["evaluations"][evaluation]["metrics"].get(metric) for cell in _done(sweep, name, column)]
            for name in (row, reference)
        )
        if row == reference or not own or len(other) < 2 or None in own + other:
            told.append("" if row == reference else "n/a")
            continue
        difference = statistics.fmean(own) - statistics.fmean(other)
        digits = 1 if max(other) >= 2 else 3
        told.append("no difference" if abs(difference) <= max(other) - min(other) else f"{difference:+.{digits}f}")
    return told


def _facts(done: Sequence[dict[str, Any]]) -> list[str]:
    first = done[0]
    return [f"{first['steps']:,}", *(str(value) for value in first.get("facts", {}).values())]


def _fact_names(sweep: Sweep, column: str) -> list[str]:
    done = [cell for row in sweep.config.rows for cell in _done(sweep, row, column)]
    return list(done[0].get("facts", {})) if done else []


def _figure_names(sweep: Sweep) -> list[str]:
    return [
        f"{name} {_NAMES.get(metric, metric)}" for name in sweep.config.evaluations for metric in sweep.config.metrics
    ]


def _figures(sweep: Sweep, done: Sequence[dict[str, Any]]) -> list[str]:
    return [
        _mean([cell["evaluations"][name]["metrics"].get(metric) for cell in done])
        for name in sweep.config.evaluations
        for metric in sweep.config.metrics
    ]


def _cross_modal(sweep: Sweep, column: str) -> list[str]:
    """For each evaluation, what VAEs across modalities are asked besides (of the first seed)."""
    blocks = []
    for name in sweep.config.evaluations:
        found = {}
        for row in sweep.config.rows:
            cell = sweep.results["cells"].get(Cell(row, column, sweep.config.seeds_of(column)[0]).key)
            if cell is not None and "cross_modal" in cell["evaluations"][name]:
                found[row] = cell["evaluations"][name]["cross_modal"]
        if found:
            title, head, rows = comparison(found)
            blocks += [f"**{name}: {title}**", _markdown(head, rows)]
    return blocks


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return "n/a"
    mean = statistics.fmean(known)
    digits = 1 if abs(mean) >= 2 else 3
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def _baselines(sweep: Sweep, column: str) -> list[list[str]]:
    """Guesses, from the first finished cell: the frames are the same for all."""
    cells = [sweep.results["cells"].get(c.key) for c in sweep.cells(columns=[column])]
    first = next(cell for cell in cells if cell is not None)
    names = dict.fromkeys(name for told in first["evaluations"].values() for name in told["baselines"])
    rows = []
    for name in names:
        figures = [
            _mean([first["evaluations"][told]["baselines"].get(name, {}).get(metric)])
            for told in sweep.config.evaluations
            for metric in sweep.config.metrics
        ]
        if any(figure != "n/a" for figure in figures):
            rows.append([f"_{name.replace('_', ' ')}_", *[""] * (1 + len(_fact_names(sweep, column))), *figures])
    return rows


def _rules(sweep: Sweep) -> str:
    """The flags of every evaluation, told once; of each row where they differ by its protocol."""
    lines = []
    for name, flags in sweep.config.evaluations.items():
        rules: dict[str, list[str]] = {}  # what is switched on -> rows
        for row in sweep.config.rows:
            found = [sweep.results["cells"].get(cell.key) for cell in sweep.cells(rows=[row])]
            for told in (cell["evaluations"][name]["flags"] for cell in found if cell and name in cell["evaluations"]):
                on = ", ".join(k if v is True else f"{k}={v}" for k, v in told.items() if v) or "strict"
                if row not in rules.setdefault(on, []):
                    rules[on].append(row)
        every = len(rules) < 2
        told = "; ".join(on if every else f"{on} ({', '.join(rows)})" for on, rows in rules.items())
        lines.append(f"{name}: `{' '.join(flags)}`; {told or '-'}")
    return "Rules of each evaluation (mm):\n\n" + "\n".join(f"- {line}" for line in lines)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join([" --- ", *[" ---: "] * (len(head) - 1)]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
