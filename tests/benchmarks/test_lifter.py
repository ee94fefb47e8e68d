import json

import pytest

from selfsup3d.benchmarks.harness import Settings
from selfsup3d.benchmarks.registry import BENCHMARKS

NAMES = ("lifter_inference", "lifter_training", "lifter_small_batch")


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_whole_and_results_agree(name):
    row = BENCHMARKS[name].run(Settings(threads=1, quick=True)).to_json()
    json.dumps(row, allow_nan=False)
    assert row["ours_ms"] > 0
    assert row["ratio"] > 0
    if name != "lifter_training":
        assert row["max_error"] < 1e-3
    if name == "lifter_small_batch":
        assert row["peer_ms"] > 0
    else:
        assert {"peak_fp32_gflops", "share_fp32", "poses_per_second"} <= set(row["notes"])
