"""SIGKILL at any moment: no checkpoint is half there, and the resumed run ends as if nothing had happened."""

import pytest

from tests.reliability import kills

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def processes():
    return kills.processes()


@pytest.fixture(scope="module")
def whole(processes, tmp_path_factory):
    return kills.whole_run(processes, tmp_path_factory.mktemp("whole"))


def test_twenty_kills_at_random_moments(processes, whole, tmp_path):
    kills.kill_at_random(processes, tmp_path, 20)
    kills.assert_same_end(whole, tmp_path)


@pytest.mark.parametrize(("module", "name", "call"), kills.WRITING)
def test_kills_while_a_checkpoint_is_written(processes, whole, tmp_path, module, name, call):
    kills.kill_while_writing(processes, tmp_path, module, name, call)
    kills.assert_same_end(whole, tmp_path)
