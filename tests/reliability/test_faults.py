"""Faults of the machine end in one line or are got round."""

import pytest

from tests.reliability.faults import FAULTS, Place, Unavailable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("faults") / "place")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_in_one_line_or_is_got_round(place, name):
    try:
        assert FAULTS[name](place)
    except Unavailable as why:
        pytest.skip(f"cannot be made here: {why}")
