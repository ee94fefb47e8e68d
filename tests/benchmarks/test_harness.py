import json
import math

import pytest
import torch

from selfsup3d.benchmarks.harness import Disagreement, Result, Settings, check, measure, optional
from selfsup3d.benchmarks.report import table

ROW = {"ours_ms", "peer_ms", "peer", "ratio", "bound", "dtype", "max_error", "peak_mb"}


class TestResult:
    def test_the_ratio_follows_from_the_times(self):
        assert Result(ours_ms=2.0, peer_ms=7.0).ratio == 3.5
        assert Result(ours_ms=2.0).ratio is None
        assert Result(ratio=0.07).ratio == 0.07  # shares have no times

    def test_json_has_the_eight_figures_and_null_where_there_is_none(self):
        row = Result(ours_ms=1.0, max_error=math.nan, notes={"x": math.inf}).to_json()
        assert set(row) == ROW | {"notes"}
        assert row["peer_ms"] is None
        assert row["max_error"] is None
        assert row["notes"] == {"x": None}
        json.dumps(row, allow_nan=False)

    def test_a_reason_is_told(self):
        assert set(Result(reason="roma is not installed").to_json()) == ROW | {"reason"}


class TestMeasure:
    def test_contestants_take_turns(self):
        calls = []
        contestants = {name: lambda name=name: calls.append(name) for name in "abc"}
        times = measure(contestants, Settings(), warmup=1, rounds=3)
        assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
        assert {timing.calls for timing in times.values()} == {3}

    def test_medians_ignore_an_interruption(self, monkeypatch):
        clock = iter([0.0] + [t for start, length in [(1, 2), (10, 2), (20, 50)] for t in (start, start + length)])
        monkeypatch.setattr("selfsup3d.benchmarks.harness.time.perf_counter", lambda: next(clock))
        timing = measure({"a": lambda: None}, Settings(), warmup=0, rounds=3)["a"]
        assert timing.median_ms == 2000
        assert timing.p95_ms == 50000
        assert timing.spread > 1

    def test_time_is_bounded_but_five_rounds_are_run(self):
        assert measure({"a": lambda: None}, Settings(seconds=1e-9))["a"].calls == 5
        assert measure({"a": lambda: None}, Settings(seconds=0.05))["a"].calls > 5


class TestCheck:
    def test_gives_the_largest_difference(self):
        assert check(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]), 1.0) == 0.5

    @pytest.mark.parametrize("wrong", [[1.0, 3.1], [1.0, math.nan], [1.0, math.inf], [1.0]])
    def test_refuses_what_differs(self, wrong):
        with pytest.raises(Disagreement, match="heights"):
            check(torch.tensor(wrong), torch.tensor([1.0, 2.0]), 1.0, "heights")


def test_a_missing_peer_is_none():
    assert optional("json") is not None
    assert optional("a_library_that_nobody_wrote") is None


def test_the_table_shows_what_there_is():
    lines = table(
        {
            "kinematics": Result(1.234, 4.567, "smplx", dtype="float32", max_error=2.4e-7, notes={"spread": 0.1}),
            "elsewhere": Result(reason="not timed: results differ"),
        }
    ).splitlines()
    assert lines[0].split()[0] == "benchmark"
    assert [word in lines[1] for word in ("kinematics", "1.23", "4.57", "3.7", ">= 3", "2.4e-07", "smplx")] == [
        True
    ] * 7
    assert lines[2].strip() == "spread 0.1"
    assert lines[4].strip() == "not timed: results differ"
