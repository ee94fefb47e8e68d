"""The command that writes assets/results/reliability.md, and the page that it wrote."""

import json
from pathlib import Path

import pytest

from tests.reliability.__main__ import main, page

RESULTS = Path(__file__).parents[2] / "assets" / "results"


@pytest.fixture(scope="module")
def record():
    return json.loads((RESULTS / "reliability.json").read_text())


def test_the_page_is_that_of_its_figures(record):
    assert (RESULTS / "reliability.md").read_text() == page(record)


def test_the_figures_are_as_many_as_claimed(record):
    assert sum(kill["kills"] for kill in record["kills"]) >= 30
    assert sum(kill["kills"] for kill in record["kills"][1:]) >= 15
    assert sum(door["read"] + door["refused"] for door in record["doors"]) >= 10_000
    for part in ("doors", "hostile", "faults", "kills", "processes"):
        assert [one for one in record[part] if one["fault"]] == []


@pytest.mark.slow
def test_the_command_in_small(tmp_path):
    assert main(["--output", str(tmp_path), "--quick"]) == 0
    assert (tmp_path / "reliability.md").read_text() == page(json.loads((tmp_path / "reliability.json").read_text()))
