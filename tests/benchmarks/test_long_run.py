"""The page on what a run holds says flat only where nothing grew."""

import torch

from selfsup3d.benchmarks.harness import Settings
from selfsup3d.benchmarks.long_run import page

SETTINGS = Settings(1, torch.device("cpu"), 1.0, False)
KEPT = {"checkpoints": 2.0}


def test_growth_before_the_warm_up_does_not_count():
    told = page({100: (500.0, 10), 500: (900.0, 20), 1000: (910.0, 20), 2000: (905.0, 19)}, KEPT, SETTINGS, 2000)
    assert "From step 500 on resident memory rose by at most 10.0 MB and open files by 0: flat" in told
    assert "| 2,000 | 905.0 | 19 |" in told
    assert "- checkpoints: 2" in told


def test_growing_memory_or_files_are_told():
    assert "NOT FLAT" in page({500: (900.0, 20), 1000: (940.0, 20)}, KEPT, SETTINGS, 2000)
    assert "NOT FLAT" in page({500: (900.0, 20), 1000: (900.0, 21)}, KEPT, SETTINGS, 2000)
