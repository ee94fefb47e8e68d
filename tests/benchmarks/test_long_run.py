import pytest

from selfsup3d.benchmarks.harness import Settings
from selfsup3d.benchmarks.long_run import EVERY, STEPS, page, run_long

KEPT = {"checkpoints": 2}


def told(memory, files):
    held = {step: (memory(step), files(step)) for step in range(EVERY, STEPS, EVERY)}
    return page(held, KEPT, Settings(threads=1), STEPS)


def test_what_settles_is_flat_and_what_grows_is_not():
    settled = told(lambda step: 900.0 + 80 * (step > 200), lambda step: 40)
    assert "rose by at most 0.0 MB and open files by 0: flat" in settled
    assert settled.count("\n| ") == 1 + len(range(EVERY, STEPS, EVERY))
    assert "NOT FLAT" in told(lambda step: 900.0 + 0.02 * step, lambda step: 40)
    assert "NOT FLAT" in told(lambda step: 900.0, lambda step: 40 + step // 500)


@pytest.mark.slow
def test_a_short_run_gives_a_page():
    text = run_long(Settings(threads=1, quick=True))
    assert "# What a run holds over 20 steps" in text
    assert "- checkpoints: 2" in text
    assert text.count("\n| ") == 4
