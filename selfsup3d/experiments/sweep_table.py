"""The markdown tables of a sweep."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from selfsup3d.evaluation.cross_modal_tables import comparison
from selfsup3d.evaluation.report import baseline_title, metric_title
from selfsup3d.experiments.sweep import Cell, Sweep

__all__ = ["sweep_table"]


def sweep_table(sweep: Sweep) -> str:
    """One table for each budget, one row for each experiment; means over seeds, with the standard deviation of several.

    Budgets of which nothing is done are left out. A run that `plateau` calls not converged is marked *.
    """
    blocks = [f"# {sweep.config.title}", sweep.config.note.strip()]
    marked = False
    for budget, settings in sweep.config.budgets.items():
        head = ["", "steps", *_fact_names(sweep, budget), *_figure_names(sweep), *_comparison_names(sweep, budget)]
        rows, anything = [], False
        for experiment in sweep.config.experiments_of(budget):
            title, done = sweep.config.title_of(experiment), _done(sweep, experiment, budget)
            if not done:
                rows.append([title, "not run", *[""] * (len(head) - 2), *_reference(sweep, experiment)])
                continue
            mark = "" if all(cell["converged"] is not False for cell in done) else " *"
            marked, anything = marked or bool(mark), True
            if len(done) < len(sweep.config.seeds_of(budget)):
                mark += f" ({len(done)} of {len(sweep.config.seeds_of(budget))} seeds)"
            values = [*_facts(done), *_figures(sweep, done), *_comparison(sweep, experiment, budget)]
            rows.append([title + mark, *values, *_reference(sweep, experiment)])
        if anything:
            rows += [[*row, *[""] * (len(head) - len(row)), *_reference(sweep)] for row in _baselines(sweep, budget)]
            processes = "" if settings.processes == 1 else f", {settings.processes} processes a run"
            head += [sweep.config.reference] if sweep.config.reference else []
            title = f"## {settings.title or budget}{processes}"
            blocks += [title, _markdown(head, rows), *_cross_modal(sweep, budget)]
    if marked:
        blocks.append("\\* not converged: the validation error was still falling in the last fifth of the run")
    blocks.append(_rules(sweep))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _done(sweep: Sweep, experiment: str, budget: str) -> list[dict[str, Any]]:
    """Of every seed that is done."""
    found = [sweep.results["cells"].get(Cell(experiment, budget, seed).key) for seed in sweep.config.seeds_of(budget)]
    return [cell for cell in found if cell is not None]


def _reference(sweep: Sweep, experiment: str | None = None) -> list[str]:
    """What the last column of published figures says, where there is one."""
    if not sweep.config.reference:
        return []
    return [sweep.config.experiments[experiment].reference if experiment else ""]


def _comparison_names(sweep: Sweep, budget: str) -> list[str]:
    other = sweep.config.compared_with
    if other is None or other not in sweep.config.experiments_of(budget):
        return []
    return [
        f"{metric_title(metric)} against {sweep.config.title_of(other)}" for metric in sweep.config.compared_metrics
    ]


def _comparison(sweep: Sweep, experiment: str, budget: str) -> list[str]:
    """Differences of means from the experiment compared with, where they are larger than the spread of its seeds."""
    reference = sweep.config.compared_with
    if reference is None or reference not in sweep.config.experiments_of(budget):
        return []
    evaluation = next(iter(sweep.config.evaluations))
    cells = []
    for metric in sweep.config.compared_metrics:
        own, other = (
            [cell["evaluations"][evaluation]["metrics"].get(metric) for cell in _done(sweep, name, budget)]
            for name in (experiment, reference)
        )
        if experiment == reference or not own or len(other) < 2 or None in own + other:
            cells.append("" if experiment == reference else "n/a")
            continue
        difference = statistics.fmean(own) - statistics.fmean(other)
        digits = 1 if max(other) >= 2 else 3
        cells.append("no difference" if abs(difference) <= max(other) - min(other) else f"{difference:+.{digits}f}")
    return cells


def _facts(done: Sequence[dict[str, Any]]) -> list[str]:
    first = done[0]
    return [f"{first['steps']:,}", *(str(value) for value in first.get("facts", {}).values())]


def _fact_names(sweep: Sweep, budget: str) -> list[str]:
    done = [cell for experiment in sweep.config.experiments for cell in _done(sweep, experiment, budget)]
    return list(done[0].get("facts", {})) if done else []


def _figure_names(sweep: Sweep) -> list[str]:
    return [f"{name}: {metric_title(metric)}" for name in sweep.config.evaluations for metric in sweep.config.metrics]


def _figures(sweep: Sweep, done: Sequence[dict[str, Any]]) -> list[str]:
    return [
        _mean([cell["evaluations"][name]["metrics"].get(metric) for cell in done])
        for name in sweep.config.evaluations
        for metric in sweep.config.metrics
    ]


def _cross_modal(sweep: Sweep, budget: str) -> list[str]:
    """For each evaluation, what VAEs across modalities are asked besides (of the first seed)."""
    blocks = []
    for name in sweep.config.evaluations:
        found = {}
        for experiment in sweep.config.experiments:
            cell = sweep.results["cells"].get(Cell(experiment, budget, sweep.config.seeds_of(budget)[0]).key)
            if cell is not None and "cross_modal" in cell["evaluations"][name]:
                found[sweep.config.title_of(experiment)] = cell["evaluations"][name]["cross_modal"]
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


def _baselines(sweep: Sweep, budget: str) -> list[list[str]]:
    """Trivial baselines, from the first finished cell: the frames are the same for all."""
    cells = [sweep.results["cells"].get(c.key) for c in sweep.cells(budgets=[budget])]
    first = next(cell for cell in cells if cell is not None)
    names = dict.fromkeys(name for result in first["evaluations"].values() for name in result["baselines"])
    rows = []
    for name in names:
        figures = [
            _mean([first["evaluations"][evaluation]["baselines"].get(name, {}).get(metric)])
            for evaluation in sweep.config.evaluations
            for metric in sweep.config.metrics
        ]
        if any(figure != "n/a" for figure in figures):
            rows.append([f"_{baseline_title(name)}_", *[""] * (1 + len(_fact_names(sweep, budget))), *figures])
    return rows


def _rules(sweep: Sweep) -> str:
    """The flags of every evaluation once; of each experiment where they differ by its protocol."""
    lines = []
    for name, flags in sweep.config.evaluations.items():
        rules: dict[str, list[str]] = {}  # what is switched on -> experiments
        for experiment in sweep.config.experiments:
            title = sweep.config.title_of(experiment)
            cells = [sweep.results["cells"].get(cell.key) for cell in sweep.cells(experiments=[experiment])]
            for on in (
                _switched_on(cell["evaluations"][name]) for cell in cells if cell and name in cell["evaluations"]
            ):
                if title not in rules.setdefault(on, []):
                    rules[on].append(title)
        every = len(rules) < 2
        listed = "; ".join(on if every else f"{on} ({', '.join(titles)})" for on, titles in rules.items())
        lines.append(f"{name}: `{' '.join(flags)}`; {listed or '-'}")
    return "Rules of each evaluation:\n\n" + "\n".join(f"- {line}" for line in lines)


def _switched_on(evaluation: dict[str, Any]) -> str:
    on = (k if v is True else f"{k}={v}" for k, v in evaluation["flags"].items() if v)
    return ", ".join(on) or "strict"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join([" --- ", *[" ---: "] * (len(head) - 1)]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
