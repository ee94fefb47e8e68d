"""What every test process needs before its first test."""

import pytest
import torch
from hypothesis import HealthCheck, settings

from selfsup3d.cli import set_environment

set_environment()  # as `cli.run` does: libraries look once, whichever test imports them first

# The same inputs every time, and no clock: a change is judged by what it does, on however busy a machine. To look for
# inputs that nobody tried: pytest --hypothesis-profile=new --hypothesis-seed=1 (any number) [-m slow]
_CLOCKLESS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]  # what a test writes, it writes anew each time
settings.register_profile("same", deadline=None, derandomize=True, database=None, suppress_health_check=_CLOCKLESS)
settings.register_profile("new", settings.get_profile("same"), derandomize=False)
settings.load_profile("same")

pytest_plugins = ["tests.video_fixtures"]  # short videos that several folders' tests share


@pytest.hookimpl(tryfirst=True)  # before fixtures of every scope
def pytest_runtest_setup() -> None:
    """A test draws the same numbers, whichever tests its process ran before."""
    torch.manual_seed(0)
