import json
import os
import sys
import threading

import pytest
import torch

from selfsup3d.benchmarks import machine
from selfsup3d.benchmarks.harness import Settings

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@linux
def test_a_working_cpu_counts_as_busy():
    cpu = machine.allowed_cpus()[0]
    spinner = os.fork()
    if spinner == 0:  # pragma: no cover (the child only spins)
        os.sched_setaffinity(0, {cpu})
        while True:
            pass
    try:
        shares = machine.busy_shares(0.3)
    finally:
        os.kill(spinner, 9)
        os.waitpid(spinner, 0)
    assert set(shares) == set(machine.allowed_cpus())
    assert shares[cpu] > 0.5
    assert all(0 <= share <= 1 for share in shares.values())


def test_without_proc_the_load_average_serves(monkeypatch):
    monkeypatch.setattr(machine, "_proc_stat", lambda: None)
    monkeypatch.setattr(os, "getloadavg", lambda: (1e9, 0, 0), raising=False)
    assert set(machine.busy_shares().values()) == {1.0}


@linux
def test_pinning_holds_all_threads_and_sets_torch():
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    done = threading.Event()
    waiting = threading.Thread(target=done.wait)
    waiting.start()
    try:
        machine.pin(sorted(before)[:1])
        assert torch.get_num_threads() == 1
        assert os.sched_getaffinity(waiting.native_id) == set(sorted(before)[:1])
    finally:
        machine.pin(sorted(before))
        torch.set_num_threads(threads)
        done.set()
        waiting.join()


def test_description_and_versions_are_plain_json():
    json.dumps([machine.describe(torch.device("cpu")), machine.versions()])
    assert machine.versions()["torch"] == torch.__version__.split("+")[0]
    assert machine.describe(torch.device("cpu"))["cores"] >= 1


def test_gemm_peak_is_a_plausible_number_per_type():
    for dtype in (torch.float32, torch.float64):
        assert 1e6 < machine.gemm_peak(dtype, Settings(quick=True)) < 1e15


@linux
def test_peak_memory_sees_what_a_call_allocates_and_frees():
    settings = Settings()

    def call():
        return float(torch.ones(25_000_000).sum())  # 100 MB for a moment

    call()
    assert 80 < machine.peak_memory_mb(call, settings) < 150
    assert machine.peak_memory_mb(lambda: None, settings) < 20
