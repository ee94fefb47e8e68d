"""What a sweep consists of: experiments, budgets, evaluations; read from a YAML file and checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from selfsup3d.config.base import Count, Fraction, Positive, Section
from selfsup3d.config.load import load_config, nearest, read_yaml
from selfsup3d.errors import InputError
from selfsup3d.io.resources import find_config

__all__ = ["Budget", "Experiment", "SweepConfig", "load_sweep", "reference", "references"]


Id = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
"""Short name of an experiment or a budget: lower case, digits and underscores; what a table shows is its title."""


class Budget(Section):
    """How long a run is: in steps, or in minutes of training on this machine."""

    title: str = ""
    """In tables; none = the id."""
    steps: Count | None = None
    """Steps."""
    minutes: Positive | None = None
    """Minutes; turned into steps once, by a short run."""
    plateau: Fraction | None = None
    """A run counts as converged where its validation error fell by less than this in its last fifth."""
    experiments: tuple[str, ...] = ()
    """The experiments that have this budget; none named = all."""
    seeds: tuple[int, ...] = ()
    """In place of the sweep's own."""
    processes: Count = 1
    """Of each run: a step sees as many times the batch."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")
        return self


class Experiment(Section):
    """One method or ablation."""

    title: str = ""
    """In tables; none = the id."""
    config: Path
    """Of its runs."""
    flags: tuple[str, ...] = ()
    """For launch/train.py; "{run:ID}" is the folder of another experiment's run in the same budget with the same seed,
    "{run:ID@BUDGET}" the one in an earlier budget.
    """
    protocol: str = "strict"
    """Put in place of "{protocol}" in evaluations."""
    reference: str = ""
    """Shown under the sweep's `reference`, e.g. what a paper reports."""


class SweepConfig(Section):
    """What to run, and what to show."""

    title: str
    """Of the tables."""
    note: str = ""
    """Below it: the command, the machine, what a reader must know."""
    output: Path
    """Folder: results.json, table.md, and runs/."""
    experiments: dict[Id, Experiment] = Field(min_length=1)
    """By id; an experiment that needs another's run stands below it."""
    budgets: dict[Id, Budget] = Field(min_length=1)
    """By id."""
    evaluations: dict[str, tuple[str, ...]] = Field(min_length=1)
    """Name -> flags of selfsup3d evaluate; all of the same weights."""
    metrics: tuple[str, ...] = ("mpjpe", "pa_mpjpe")
    """Shown for each evaluation."""
    compared_with: str | None = None
    """An experiment that the others are compared with, on the metrics of the first evaluation: a difference of means that is no
    larger than the spread of this experiment's seeds is shown as "no difference".
    """
    compared_metrics: tuple[str, ...] = ("mpjpe",)
    """Metrics of that comparison."""
    reference: str = ""
    """Title of a last column of published figures, see `Experiment`."""
    watched: str = "pa_mpjpe"
    """The validation error that `plateau` is about."""
    seeds: tuple[int, ...] = (0,)
    """Each experiment and budget is run with every one of them."""
    flags: tuple[str, ...] = ()
    """For launch/train.py, in every experiment."""
    calibration_steps: Count = 60
    """Length of the run that measures the speed."""

    def title_of(self, name: str) -> str:
        """What tables call an experiment."""
        return self.experiments[name].title or name

    def experiments_of(self, budget: str) -> list[str]:
        """Ids of the experiments that have a budget, in order."""
        chosen = self.budgets[budget].experiments
        return [name for name in self.experiments if not chosen or name in chosen]

    def seeds_of(self, budget: str) -> tuple[int, ...]:
        """Seeds that every experiment of a budget is run with."""
        return self.budgets[budget].seeds or self.seeds


def load_sweep(path: Path) -> SweepConfig:
    """A sweep from a YAML file, or a shipped one by name (`lifters/benchmark`).

    Raises:
        InputError: a wrong key or value, a missing config, or a reference to an experiment that does not stand above.
    """
    try:
        sweep = SweepConfig.model_validate(read_yaml(find_config(path)))
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise InputError(*lines) from None
    for experiment in sweep.experiments.values():
        load_config(experiment.config)
    if sweep.compared_with is not None and sweep.compared_with not in sweep.experiments:
        raise InputError(
            f"{path}: compared_with: no experiment {sweep.compared_with!r}{nearest(sweep.compared_with, sweep.experiments)}"
        )
    for name, budget in sweep.budgets.items():
        for experiment_name in budget.experiments:
            if experiment_name not in sweep.experiments:
                raise InputError(
                    f"{path}: budgets.{name}.experiments: no experiment {experiment_name!r}{nearest(experiment_name, sweep.experiments)}; there are "
                    f"{', '.join(sweep.experiments)}"
                )
    above: list[str] = []  # "experiment" and "experiment@budget" of the cells before
    for budget_name in sweep.budgets:
        here: list[str] = []
        for name in sweep.experiments_of(budget_name):
            for needed in references(sweep.experiments[name]):
                if needed not in above + here:
                    raise InputError(
                        f"{path}: experiments.{name}.flags: no experiment {needed!r} stands above{nearest(needed, above + here)}"
                    )
            here.append(name)
        above += [f"{name}@{budget_name}" for name in here]
    return sweep


def references(experiment: Experiment) -> Iterator[str]:
    """The runs that an experiment's flags name, as `reference` gives them."""
    return (name for flag in experiment.flags if (name := reference(flag)) is not None)


def reference(flag: str) -> str | None:
    """What stands between "{run:" and "}", or None for any other flag."""
    return flag[len("{run:") : -1] if flag.startswith("{run:") and flag.endswith("}") else None
