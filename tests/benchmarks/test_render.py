from __future__ import annotations

from selfsup3d.benchmarks.harness import Settings
from selfsup3d.benchmarks.render import run


def test_the_renderer_is_compared_and_timed() -> None:
    result = run(Settings(quick=True))
    assert result.max_error is not None
    assert result.max_error <= 1.0
    assert result.ratio is not None
    assert result.ratio > 1.0
    assert result.notes["images_per_s_64"] > result.notes["plain_images_per_s_64"]
