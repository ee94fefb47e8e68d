"""What a sweep consists of: rows, budgets, evaluations; read from a YAML file and checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from selfsup3d.config.base import Count, Fraction, Positive, Section
from selfsup3d.config.load import load_config, nearest, read_yaml
from selfsup3d.errors import InputError
from selfsup3d.io.resources import find_config

__all__ = ["Budget", "Row", "SweepConfig", "load_sweep", "reference", "references"]


class Budget(Section):
    """How long a run is: in steps, or in minutes of training on this machine."""

    steps: Count | None = None
    """Steps."""
    minutes: Positive | None = None
    """Minutes; turned into steps once, by a short run."""
    plateau: Fraction | None = None
    """A run counts as converged where its validation error fell by less than this in its last fifth."""
    rows: tuple[str, ...] = ()
    """The rows that have this budget; none named = all."""
    seeds: tuple[int, ...] = ()
    """In place of the sweep's own."""
    processes: Count = 1
    """Of each run: a step sees as many times the batch."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")
        return self


class Row(Section):
    """One method or ablation."""

    config: Path
    """Of its runs."""
    flags: tuple[str, ...] = ()
    """For launch/train.py; "{run:NAME}" is the folder of another row's run in the same column with the same seed,
    "{run:NAME@COLUMN}" the one in an earlier column.
    """
    protocol: str = "strict"
    """Put in place of "{protocol}" in evaluations."""
    beside: str = ""
    """Shown under the sweep's `beside`, e.g. what a paper reports."""


class SweepConfig(Section):
    """What to run, and what to show."""

    title: str
    """Of the tables."""
    note: str = ""
    """Below it: the command, the machine, what a reader must know."""
    output: Path
    """Folder: results.json, table.md, and runs/."""
    rows: dict[str, Row] = Field(min_length=1)
    """By name; a row that needs another's run stands below it."""
    columns: dict[str, Budget] = Field(min_length=1)
    """By name."""
    evaluations: dict[str, tuple[str, ...]] = Field(min_length=1)
    """Name -> flags of launch/evaluate.py; all of the same weights."""
    metrics: tuple[str, ...] = ("mpjpe", "pa_mpjpe")
    """Shown for each evaluation."""
    reference: str | None = None
    """A row that the others are compared with, on the metrics of the first evaluation: a difference of means that is no
    larger than the spread of this row's seeds is shown as "no difference".
    """
    compared: tuple[str, ...] = ("mpjpe",)
    """Metrics of that comparison."""
    beside: str = ""
    """Title of a last column of remarks, see `Row`."""
    watched: str = "pa_mpjpe"
    """The validation error that `plateau` is about."""
    seeds: tuple[int, ...] = (0,)
    """Each row and column is run with every one of them."""
    flags: tuple[str, ...] = ()
    """For launch/train.py, in every row."""
    calibration_steps: Count = 60
    """Length of the run that measures the speed."""

    def rows_of(self, column: str) -> list[str]:
        """Names of the rows that have a column's budget, in order."""
        chosen = self.columns[column].rows
        return [name for name in self.rows if not chosen or name in chosen]

    def seeds_of(self, column: str) -> tuple[int, ...]:
        """Seeds that every row of a column is run with."""
        return self.columns[column].seeds or self.seeds


def load_sweep(path: Path) -> SweepConfig:
    """A sweep from a YAML file, or a shipped one by name (`lifters/benchmark`).

    Raises:
        InputError: a wrong key or value, a missing config, or a reference to a row that does not stand above.
    """
    try:
        sweep = SweepConfig.model_validate(read_yaml(find_config(path)))
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise InputError("\n".join(lines)) from None
    for row in sweep.rows.values():
        load_config(row.config)
    if sweep.reference is not None and sweep.reference not in sweep.rows:
        raise InputError(f"{path}: reference: no row {sweep.reference!r}{nearest(sweep.reference, sweep.rows)}")
    for name, column in sweep.columns.items():
        for row_name in column.rows:
            if row_name not in sweep.rows:
                raise InputError(
                    f"{path}: columns.{name}.rows: no row {row_name!r}{nearest(row_name, sweep.rows)}; there are "
                    f"{', '.join(sweep.rows)}"
                )
    above: list[str] = []  # "row" and "row@column" of the cells before
    for column_name in sweep.columns:
        here: list[str] = []
        for name in sweep.rows_of(column_name):
            for needed in references(sweep.rows[name]):
                if needed not in above + here:
                    raise InputError(
                        f"{path}: rows.{name}.flags: no row {needed!r} stands above{nearest(needed, above + here)}"
                    )
            here.append(name)
        above += [f"{name}@{column_name}" for name in here]
    return sweep


def references(row: Row) -> Iterator[str]:
    """The runs that a row's flags name, as `reference` gives them."""
    return (name for flag in row.flags if (name := reference(flag)) is not None)


def reference(flag: str) -> str | None:
    """What stands between "{run:" and "}", or None for any other flag."""
    return flag[len("{run:") : -1] if flag.startswith("{run:") and flag.endswith("}") else None
