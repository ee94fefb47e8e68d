import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from selfsup3d.config.sweep import load_sweep
from selfsup3d.errors import InputError
from selfsup3d.experiments.sweep import Cell, Sweep, plateau_reached, seconds_per_step, validation_course
from selfsup3d.experiments.sweep_figures import sweep_curves
from selfsup3d.experiments.sweep_table import sweep_table

PIXEL = np.zeros((1, 1, 3), np.uint8)
CONFIGS = Path(__file__).parents[2] / "configs" / "lifters"


class Faked:
    """Stands for the launch scripts: writes what a run and an evaluation leave, and notes the arguments."""

    def __init__(self, curve=(100.0, 90.0, 80.0), speed=1000.0, fail_at=None):
        self.processes = []
        self.calls, self.curve, self.speed, self.fail_at = [], curve, speed, fail_at

    def __call__(self, name, arguments, processes):
        arguments = list(arguments)
        self.calls.append((name, arguments))
        self.processes.append(processes)
        if self.fail_at is not None and len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        given = dict(itertools.pairwise(arguments))
        if name == "train":
            folder, steps = Path(given["--output-dir"]), int(given["--trainer.steps"])
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(yaml.safe_dump({"trainer": {"steps": steps, "batch_size": 50}}))
            lines = [{"step": i + 1, "samples_per_second": self.speed} for i in range(3)]
            lines += [{"step": round(steps * (i + 1) / len(self.curve)), "val/pa_mpjpe": v}
                      for i, v in enumerate(self.curve[:-1])]  # fmt: skip
            (folder / "scalars.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
            (folder / "metrics.json").write_text(json.dumps({"metrics": {"pa_mpjpe": self.curve[-1]}}))
        else:
            value = 10.0 * len(self.calls)
            result = {"metrics": {"mpjpe": None, "pa_mpjpe": value}, "reasons": {}, "flags": {"reflection": given.get("--protocol") == "ites"},
                    "frames": 7, "baselines": {"mean_pose": {"mpjpe": 200.0, "pa_mpjpe": 120.0}}}  # fmt: skip
            Path(given["--json"]).write_text(json.dumps(result))

    def of(self, name):
        return [arguments for called, arguments in self.calls if called == name]


@pytest.fixture
def file(tmp_path):
    def write(**changes):
        values = {
            "title": "A table",
            "output": str(tmp_path / "out"),
            "budgets": {"short": {"steps": 100}},
            "evaluations": {"true": ["--split", "test"], "paper": ["--protocol", "{protocol}"]},
            "experiments": {
                "teacher": {"config": str(CONFIGS / "ites_teacher.yaml"), "protocol": "ites"},
                "student": {
                    "config": str(CONFIGS / "ites_student.yaml"),
                    "flags": ["--system.teacher", "{run:teacher}"],
                },
            },
        } | changes
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return write


def sweep(path, faked):
    return Sweep(load_sweep(path), ("--data.mocap", "m.npz"), faked, lambda folder: {"batch": "50"})


def test_every_cell_is_trained_and_measured_once(file):
    faked = Faked()
    first = sweep(file(seeds=[0, 1]), faked)
    assert first.run(first.cells(), say=lambda line: None)
    assert len(faked.of("train")) == 4
    assert len(faked.of("evaluate")) == 8
    assert all("m.npz" in arguments for arguments in faked.of("train"))
    assert [a[a.index("--protocol") + 1] for a in faked.of("evaluate") if "--protocol" in a][:1] == ["ites"]
    again = sweep(file(seeds=[0, 1]), faked)
    assert again.run(again.cells(), say=lambda line: None)
    assert len(faked.calls) == 12
    assert not list((first.config.output / "runs").rglob("checkpoints"))


def test_an_experiment_gets_the_run_of_another_with_its_budget_and_seed(file):
    faked = Faked()
    one = sweep(file(), faked)
    one.run(one.cells(), say=lambda line: None)
    teacher, student = faked.of("train")
    assert student[student.index("--system.teacher") + 1] == teacher[teacher.index("--output-dir") + 1]
    alone = sweep(file(output=str(one.config.output) + "2"), Faked())
    with pytest.raises(InputError, match="not done"):
        alone.run(alone.cells(experiments=["student"]), say=lambda line: None)


def test_an_experiment_gets_the_run_of_an_earlier_budget(file):
    faked = Faked()
    experiments = {
        "pretrain": {"config": str(CONFIGS / "ites_teacher.yaml")},
        "student": {
            "config": str(CONFIGS / "ites_student.yaml"),
            "flags": ["--system.teacher", "{run:pretrain@first}"],
        },
    }
    budgets = {
        "first": {"steps": 100, "experiments": ["pretrain"]},
        "short": {"steps": 10, "experiments": ["student"]},
        "long": {"steps": 20, "experiments": ["student"]},
    }
    one = sweep(file(experiments=experiments, budgets=budgets), faked)
    assert [cell.key for cell in one.cells()] == ["pretrain | first | 0", "student | short | 0", "student | long | 0"]
    one.run(one.cells(), say=lambda line: None)
    first, short, long = faked.of("train")
    for student in (short, long):
        assert student[student.index("--system.teacher") + 1] == first[first.index("--output-dir") + 1]
    table = sweep_table(one)
    assert table.count("| pretrain |") == 1
    assert table.count("| student |") == 2
    experiments["pretrain"]["flags"] = ["--system.atoms", "4"]
    again = sweep(file(experiments=experiments, budgets=budgets), faked)
    assert not any(again.done(cell) for cell in again.cells())  # students of another pretrain
    budgets["short"]["experiments"] = ["studnt"]
    with pytest.raises(
        InputError, match=r"budgets.short.experiments: no experiment 'studnt'; did you mean 'student'\?"
    ):
        load_sweep(file(experiments=experiments, budgets=budgets))
    budgets["short"]["experiments"] = ["student"]
    with pytest.raises(InputError, match=r"experiments.student.flags: no experiment 'pretrain@first' stands above"):
        load_sweep(file(experiments=experiments, budgets={"short": budgets["short"], "first": budgets["first"]}))


def test_an_interrupted_sweep_resumes(file):
    stopped = Faked(fail_at=5)  # while the student is measured
    first = sweep(file(), stopped)
    with pytest.raises(KeyboardInterrupt):
        first.run(first.cells(), say=lambda line: None)
    faked = Faked()
    again = sweep(file(), faked)
    assert again.done(Cell("teacher", "short", 0))
    again.run(again.cells(), say=lambda line: None)
    assert not faked.of("train")  # the student's run is there, only its measurements were missing
    assert len(faked.of("evaluate")) == 2


def test_changed_settings_rerun_a_cell_and_those_that_need_it(file):
    faked = Faked()
    first = sweep(file(), faked)
    first.run(first.cells(), say=lambda line: None)
    experiments = {
        "teacher": {"config": str(CONFIGS / "ites_teacher.yaml"), "flags": ["--system.atoms", "4"]},
        "student": {"config": str(CONFIGS / "ites_student.yaml"), "flags": ["--system.teacher", "{run:teacher}"]},
    }
    again = sweep(file(experiments=experiments), faked)
    assert not any(again.done(cell) for cell in again.cells())


def test_rules_stand_once_and_by_experiment_where_they_differ(file):
    one = sweep(file(), Faked())
    one.run(one.cells(), say=lambda line: None)
    table = sweep_table(one)
    assert "- true: `--split test`; strict\n" in table
    assert "- paper: `--protocol {protocol}`; reflection (teacher); strict (student)\n" in table


def test_minutes_become_steps_by_one_measurement_per_experiment(file):
    faked = Faked(speed=1000.0)  # 50 samples a step: 20 steps a second
    one = sweep(file(budgets={"two": {"minutes": 2}, "four": {"minutes": 4}}), faked)
    one.run(one.cells(experiments=["teacher"]), say=lambda line: None)
    steps = [int(a[a.index("--trainer.steps") + 1]) for a in faked.of("train")]
    assert steps == [60, 2400, 4800]
    assert one.results["speeds"] == {"teacher": 0.05}


def test_no_cell_is_begun_once_the_time_is_over(file):
    faked = Faked()
    one = sweep(file(), faked)
    assert not one.run(one.cells(), minutes=0.0, say=lambda line: None)
    assert not faked.calls


def test_plateaus():
    assert not plateau_reached([(60, 100.0), (80, 90.0), (100, 80.0)], 0.01)
    assert plateau_reached([(60, 100.0), (80, 90.0), (100, 89.5)], 0.01)
    assert plateau_reached([(80, 90.0), (100, 95.0)], 0.01)  # it even rose
    assert not plateau_reached([(100, 95.0)], 0.01)


def test_the_table_shows_every_number_and_marks_what_did_not_converge(file):
    faked = Faked()
    path = file(budgets={"long": {"steps": 100, "plateau": 0.01}}, seeds=[0, 1])
    one = sweep(path, faked)
    one.run(one.cells(experiments=["teacher"]), say=lambda line: None)
    assert all("--trainer.evaluate-every" in arguments for arguments in faked.of("train"))
    table = sweep_table(one)
    assert "| teacher * |" in table
    assert "not converged" in table
    assert "n/a" in table
    assert "±" in table
    assert "_mean training pose_" in table
    assert "| student | not run |" in table
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1, "rows of different width"


def test_differences_within_the_spread_of_the_references_seeds_are_none(file):
    faked = Faked()
    student = {"config": str(CONFIGS / "ites_student.yaml")}
    experiments = {
        "teacher": {"config": str(CONFIGS / "ites_teacher.yaml"), "reference": "126.8"},
        "near": dict(student),
        "far": dict(student),
        "half": dict(student),
    }
    one = sweep(
        file(
            experiments=experiments,
            seeds=[0, 1],
            compared_with="teacher",
            compared_metrics=["pa_mpjpe"],
            reference="paper",
        ),
        faked,
    )
    one.run(one.cells(experiments=["teacher", "near", "far"]), say=lambda line: None)
    one.run(one.cells(experiments=["half"])[:1], say=lambda line: None)
    cells = one.results["cells"]
    values = {"teacher": (100.0, 110.0), "near": (111.0, 118.0), "far": (80.0, 90.0), "half": (200.0,)}
    for row, errors in values.items():
        for seed, error in enumerate(errors):
            cells[f"{row} | short | {seed}"]["evaluations"]["true"]["metrics"]["pa_mpjpe"] = error
    lines = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]]
             for line in sweep_table(one).splitlines() if line.startswith("|")}  # fmt: skip
    assert lines[""][-2:] == ["PA-MPJPE [mm] against teacher", "paper"]
    assert lines["teacher"][-2:] == ["", "126.8"]
    assert lines["near"][-2:] == ["no difference", ""]
    assert lines["far"][-2:] == ["-20.0", ""]
    assert lines["half (1 of 2 seeds)"][-2:] == ["+95.0", ""]


def test_a_budget_sets_the_number_of_processes(file):
    faked = Faked()
    one = sweep(file(budgets={"pair": {"minutes": 1, "processes": 2}, "short": {"steps": 9}}), faked)
    before = sweep(file(), Faked()).settings(Cell("teacher", "short", 0))
    assert one.run(one.cells(experiments=["teacher"]), say=lambda line: None)
    assert [n for (name, _), n in zip(faked.calls, faked.processes, strict=True) if name == "train"] == [2, 2, 1]
    assert one.results["cells"]["teacher | pair | 0"]["steps"] == 600  # 100 samples a step at 1,000 a second
    assert "## pair, 2 processes a run" in sweep_table(one)
    assert sweep(file(budgets={"short": {"steps": 100, "processes": 1}}), Faked()).settings(
        Cell("teacher", "short", 0)
    ) == before  # fmt: skip


def test_a_budget_may_have_seeds_of_its_own(file):
    one = sweep(file(budgets={"one": {"steps": 9, "seeds": [3]}, "all": {"steps": 9}}, seeds=[0, 1]), Faked())
    assert [(cell.budget, cell.seed) for cell in one.cells(experiments=["teacher"])] == [
        ("one", 3),
        ("all", 0),
        ("all", 1),
    ]


def test_the_course_of_a_run_counts_samples_and_minutes(tmp_path):
    (tmp_path / "config.yaml").write_text("trainer: {steps: 60, batch_size: 10}\n")
    lines = [
        {"step": 20, "samples_per_second": 10.0},
        {"step": 30, "val/pa_mpjpe": 90.0},
        {"step": 40, "samples_per_second": 20.0},
        {"step": 60, "samples_per_second": 20.0},
    ]
    (tmp_path / "scalars.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "metrics.json").write_text(json.dumps({"metrics": {"pa_mpjpe": 80.0}}))
    course = validation_course(tmp_path, ["pa_mpjpe", "mpjpe"], processes=2)
    # 400 samples at 10 a second, then 800 at 20: 40 s + 40 s
    assert course == {
        "samples": [600, 1200], "minutes": [0.67, 1.33], "pa_mpjpe": [90.0, 80.0], "mpjpe": [None, None],
    }  # fmt: skip
    lines[3]["val/pa_mpjpe"] = 80.0
    (tmp_path / "scalars.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert validation_course(tmp_path, ["pa_mpjpe"], processes=2)["samples"] == [600, 1200]


def test_a_curve_begins_where_the_run_ended_whose_weights_it_began_with(file, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "selfsup3d.experiments.sweep_figures.lines", lambda curves, **labels: drawn.append(curves) or PIXEL
    )
    student = {"config": str(CONFIGS / "ites_student.yaml"), "flags": ["--weights", "{run:teacher}"]}
    experiments = {"teacher": {"config": str(CONFIGS / "ites_teacher.yaml")}, "student": student}
    one = sweep(file(experiments=experiments, metrics=["pa_mpjpe"]), Faked(curve=(100.0, 90.0, 80.0, 70.0)))
    one.run(one.cells(), say=lambda line: None)
    sweep_curves(one, "pa_mpjpe")
    samples = {name: x.tolist() for name, (x, _) in drawn[0].items()}
    assert samples == {"teacher": [1250, 2500, 3750, 5000], "student": [5000, 6250, 7500, 8750, 10000]}
    assert drawn[0]["student"][1].tolist() == [70.0, 100.0, 90.0, 80.0, 70.0]
    budgets = {"short": {"steps": 100}, "long": {"steps": 200, "experiments": ["teacher"]}}
    two = sweep(
        file(experiments=experiments, metrics=["pa_mpjpe"], budgets=budgets, output=str(one.config.output) + "-two"),
        Faked(),
    )
    two.run(two.cells(), say=lambda line: None)
    sweep_curves(two, "pa_mpjpe")
    assert set(drawn[-1]) == {"teacher, 100 steps", "teacher, 200 steps", "student"}, (
        "an experiment with two budgets has two curves"
    )
    with pytest.raises(InputError, match="no metric 'pa'"):
        sweep_curves(one, "pa")
    empty = sweep(file(experiments=experiments, output=str(one.config.output) + "-empty"), Faked())
    with pytest.raises(InputError, match="evaluate_every"):
        sweep_curves(empty, "pa_mpjpe")


def test_speed_is_the_mean_without_the_first_entry(tmp_path):
    (tmp_path / "config.yaml").write_text("trainer: {batch_size: 10, accumulation: 2}\n")
    lines = [{"step": i, "samples_per_second": s} for i, s in enumerate((1.0, 20.0, 10.0))]
    (tmp_path / "scalars.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert seconds_per_step(tmp_path) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budgets": {"x": {}}}, "either steps or minutes"),
        ({"experiments": {"a": {"config": "missing.yaml"}}}, "no such file"),
        (
            {"experiments": {"a": {"config": str(CONFIGS / "martinez.yaml"), "flags": ["{run:b}"]}}},
            "no experiment 'b' stands above",
        ),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_mistakes_raise_with_their_place(file, changes, words):
    with pytest.raises(InputError, match=words):
        load_sweep(file(**changes))


def test_unknown_experiments_raise(file):
    one = sweep(file(), Faked())
    with pytest.raises(InputError, match="did you mean 'teacher'"):
        one.cells(experiments=["teachr"])


@pytest.mark.parametrize(
    "name", ["lifters/benchmark", "lifters/ites_ablations", "lifters/poses", "synth_v1/results", "synth_v1/gpu"]
)
def test_the_sweeps_of_the_project_are_valid(name, monkeypatch):
    monkeypatch.chdir(CONFIGS.parents[1])
    config = load_sweep(CONFIGS.parent / f"{name}.yaml")
    from selfsup3d.config.flags import parse_config

    for experiment in config.experiments.values():
        flags = ["--config", str(experiment.config), *config.flags, *experiment.flags]
        parse_config([flag.replace("{run:", "").replace("}", "") for flag in flags], "")
