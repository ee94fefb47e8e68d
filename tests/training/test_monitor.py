import json
import time

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from selfsup3d.training.monitor import Monitor, add_scalars, bounded_interval, cut


@given(every=st.integers(1, 10_000), steps=st.integers(1, 10_000_000), most=st.integers(1, 10_000))
def test_logs_are_bounded(every, steps, most):
    chosen = bounded_interval(every, steps, most)
    assert chosen >= every
    assert steps // chosen <= most
    if steps // every <= most and steps % every == 0:
        assert chosen == every


def lines(folder):
    return [json.loads(line) for line in (folder / "scalars.jsonl").read_text().splitlines()]


def test_means_over_the_interval_are_logged(tmp_path):
    with Monitor(tmp_path, Accelerator(cpu=True), 0, 10, 4) as monitor:
        for value in (1.0, 2.0, 6.0):
            monitor.add({"loss/a/x": torch.tensor(value)}, {"lr/main": value})
        monitor.add({"loss/b/y": torch.tensor(5.0)}, {})
        monitor.log(3)
        monitor.log(4)
        monitor.add({"loss/a/x": torch.tensor(float("inf"))}, {})
        monitor.log(5)
    first, second = lines(tmp_path)
    assert first["step"] == 3
    assert (first["loss/a/x"], first["loss/b/y"], first["lr/main"]) == (3.0, 5.0, 6.0)
    assert first["samples_per_second"] > 0
    assert first["total_loss"] == pytest.approx((1.0 + 2.0 + 6.0 + 5.0) / 3)  # of a step: a's three, b's one
    assert second["loss/a/x"] is None


def test_the_last_evaluation_joins_the_logs_of_a_finished_run(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Monitor(tmp_path, Accelerator(cpu=True), 0, 2, 1) as monitor:
        monitor.scalars(1, {"total_loss": 3.0})
    add_scalars(tmp_path, 2, {"val/mpjpe": 120.5})
    assert lines(tmp_path)[-1] == {"step": 2, "val/mpjpe": 120.5}
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("val/mpjpe")] == [(2, 120.5)]
    assert [(e.step, e.value) for e in events.Scalars("total_loss")] == [(1, 3.0)]


def test_lines_after_the_resumed_step_are_removed(tmp_path):
    path = tmp_path / "scalars.jsonl"
    path.write_text('{"step": 1}\n{"step": 5, "x": 2}\n{"step": 7}\nnot json\n{"a": 1}\n{"step": 3, "x"')
    cut(path, 5)
    assert path.read_text() == '{"step": 1}\n{"step": 5, "x": 2}\n'
    cut(tmp_path / "absent", 5)


@pytest.mark.parametrize("start", [0, 3])
def test_earlier_events_after_the_start_are_hidden(tmp_path, start):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accelerator = Accelerator(cpu=True)
    for first, value in ((0, 1.0), (start, 2.0)):
        time.sleep(1.1)  # event files are named by the second, and read in that order
        with Monitor(tmp_path, accelerator, first, 6, 1) as monitor:
            for step in range(first + 1, 7):
                monitor.scalars(step, {"x": value})
    assert [(line["step"], line["x"]) for line in lines(tmp_path)] == [
        (s, 1.0 if s <= start else 2.0) for s in range(1, 7)
    ]
    if start:
        events = EventAccumulator(str(tmp_path / "tensorboard"), purge_orphaned_data=True)
        events.Reload()
        assert [(e.step, e.value) for e in events.Scalars("x")] == [
            (s, 1.0 if s <= start else 2.0) for s in range(1, 7)
        ]
