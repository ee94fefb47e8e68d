"""Threads are given up where other processes use the cores, and only there."""

import time

import pytest
import torch

from selfsup3d.training.shared_machine import ThreadWatch, run_and_wait_seconds


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def watch(waits, said):
    """A watch whose interval is over at every look, with 1 s of running and the given seconds of waiting in each."""
    readings = [(0.0, 0.0)]
    for wait in waits:
        readings.append((readings[-1][0] + 1.0, readings[-1][1] + wait))
    times = iter(range(0, 10_000, 100))
    source = iter(readings)
    return ThreadWatch(said.append, 50.0, lambda: next(source), lambda: float(next(times)))


def test_two_shared_intervals_in_a_row_take_a_thread_and_say_so(three_threads):
    said = []
    looked = watch([1.0, 1.0, 0.0], said)
    looked.look()
    assert torch.get_num_threads() == 3
    looked.look()
    assert torch.get_num_threads() == 2
    assert len(said) == 1
    assert "50 %" in said[0]
    assert "2 threads" in said[0]
    looked.look()
    assert torch.get_num_threads() == 2


def test_a_quiet_interval_between_them_changes_nothing(three_threads):
    said = []
    looked = watch([1.0, 0.1, 1.0, 0.1], said)
    for _ in range(4):
        looked.look()
    assert torch.get_num_threads() == 3
    assert not said


def test_one_thread_always_stays(three_threads):
    said = []
    looked = watch([9.0] * 10, said)
    for _ in range(10):
        looked.look()
    assert torch.get_num_threads() == 1
    assert len(said) == 2
    assert "1 thread;" in said[1]


def test_nothing_changes_where_the_kernel_does_not_say(three_threads):
    looked = ThreadWatch(pytest.fail, 0.0, lambda: None)
    looked.look()
    assert torch.get_num_threads() == 3


def test_the_kernel_s_counters_only_grow():
    first = run_and_wait_seconds()
    if first is None:
        pytest.skip("this kernel keeps no schedstat")
    since = time.process_time()
    while time.process_time() - since < 0.05:
        torch.randn(200, 200) @ torch.randn(200, 200)
    second = run_and_wait_seconds()
    assert second[0] > first[0]
    assert second[1] >= first[1]
