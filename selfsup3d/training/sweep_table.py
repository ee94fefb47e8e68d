"""The markdown tables of a sweep."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from selfsup3d.evaluation.cross_modal_tables import comparison
from selfsup3d.training.sweep import Cell, Sweep

__all__ = ["sweep_table"]

_NAMES = {"mpjpe": "MPJPE", "pa_mpjpe": "PA", "n_mpjpe": "N", "mrpe": "root", "pck_150": "PCK", "auc": "AUC"}


def sweep_table(sweep: Sweep) -> str:
    """One table a column, a row each method; means over seeds, with the standard deviation where there are several.

    Cells that are not done are left out; a run that `plateau` calls not converged is marked *.
    """
    blocks = [f"# {sweep.config.title}", sweep.config.note.strip()]
    marked = False
    for column in sweep.config.columns:
        rows = []
        for row in sweep.config.rows:
            found = [sweep.results["cells"].get(Cell(row, column, seed).key) for seed in sweep.config.seeds]
            done = [cell for cell in found if cell is not None]
            if done:
                mark = "" if all(cell["converged"] is not False for cell in done) else " *"
                marked |= bool(mark)
                rows.append([row + mark, *_facts(done), *_figures(sweep, done)])
        if rows:
            rows += _baselines(sweep, column)
            head = ["", "steps", *_fact_names(sweep, column), *_figure_names(sweep)]
            blocks += [f"## {column}", _markdown(head, rows), *_cross_modal(sweep, column)]
    if marked:
        blocks.append("\\* not converged: the validation error was still falling in the last fifth of the run")
    blocks.append(_rules(sweep))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _facts(done: Sequence[dict[str, Any]]) -> list[str]:
    first = done[0]
    return [f"{first['steps']:,}", *(str(value) for value in first.get("facts", {}).values())]


def _fact_names(sweep: Sweep, column: str) -> list[str]:
    for row in sweep.config.rows:
        for seed in sweep.config.seeds:
            cell = sweep.results["cells"].get(Cell(row, column, seed).key)
            if cell is not None:
                return list(cell.get("facts", {}))
    return []


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
            cell = sweep.results["cells"].get(Cell(row, column, sweep.config.seeds[0]).key)
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
