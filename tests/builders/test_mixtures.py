"""A system that learned from several datasets has numbers for each."""

import pytest

from selfsup3d.builders.mixtures import add_datasets, of_dataset, parts_of
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.evaluation.report import text

MIXED = Config.model_validate(
    {"data": [{"kind": "h36m", "root": "a"}, {"kind": "mpi_inf_3dhp", "root": "b"}, {"kind": "videos", "root": "c"}]}
)
ALONE = Config.model_validate({"data": {"kind": "videos", "root": "c"}})


def result(dataset, **metrics):
    return {
        "dataset": dataset, "split": "test", "protocol": "strict", "flags": {"reflection": False}, "frames": 7,
        "skipped": 0, "metrics": metrics, "reasons": {}, "baselines": {}, "checkpoint": "c", "config_hash": "h",
        "versions": {},
    }  # fmt: skip


def test_each_dataset_of_a_mixture_stands_for_itself():
    assert [part.data.kind for part in parts_of(MIXED)] == ["h36m", "mpi_inf_3dhp", "videos"]
    assert [str(part.data.root) for part in parts_of(MIXED)] == ["a", "b", "c"]
    assert parts_of(ALONE) == [ALONE]
    assert str(of_dataset(MIXED, "videos").data.root) == "c"
    assert of_dataset(MIXED, "3dpw").data.kind == of_dataset(MIXED, None).data.kind == "h36m"


def test_numbers_of_each_dataset_stand_below_the_first(capsys):
    asked = []

    def measure(part):
        asked.append(part.data.kind)
        if part.data.kind == "mpi_inf_3dhp":
            raise InputError("b: no such folder", "more")
        return result("videos", mpjpe=None, psnr=17.25)

    told = add_datasets(result("h36m", mpjpe=90.0, pa_mpjpe=60.0), MIXED, measure)
    assert asked == ["mpi_inf_3dhp", "videos"]
    assert list(told["per_dataset"]) == ["h36m", "mpi_inf_3dhp", "videos"]
    assert told["per_dataset"]["h36m"]["metrics"]["mpjpe"] == 90.0
    assert "checkpoint" not in told["per_dataset"]["videos"]
    printed = text(told)
    assert "on h36m (7 frames)" in printed
    assert "17.2" in next(line for line in printed.splitlines() if line.strip().startswith("on videos  "))
    assert "n/a on mpi_inf_3dhp (b: no such folder)" in printed


def test_one_dataset_has_no_parts():
    assert "per_dataset" not in add_datasets(result("videos", psnr=1.0), ALONE, lambda part: pytest.fail("measured"))
