"""Ten thousand damaged inputs over all doors: each is read, or refused by an InputError that says where."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup3d.structures.skeleton import Skeleton
from tests.reliability.doors import DOORS
from tests.reliability.fuzz import fuzz

PACKAGE = Path(__file__).parents[2] / "selfsup3d"


def test_ten_thousand_inputs():
    assert sum(door.inputs for door in DOORS) >= 10_000
    assert len({door.name for door in DOORS}) == len(DOORS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_a_damaged_file_is_read_or_refused(tmp_path, door):
    tally = fuzz(door, tmp_path)
    assert tally.inputs >= door.inputs
    assert tally.read, "no damaged input was read: what lies behind the first check is not tried"
    assert tally.refused
    assert tally.slowest < 10, "seconds of CPU"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_the_first_few_damaged_files_of_each_door(tmp_path, door):
    assert fuzz(door, tmp_path, 5).inputs >= 5


@pytest.mark.slow
@settings(max_examples=400)
@given(
    names=st.lists(st.text(max_size=3), max_size=6),
    parents=st.lists(st.integers(-3, 7), max_size=6),
    pairs=st.lists(st.tuples(st.integers(-2, 7), st.integers(-2, 7)), max_size=3),
)
def test_skeletons_are_whole_or_refused(names, parents, pairs):
    try:
        skeleton = Skeleton("s", tuple(names), tuple(parents), tuple(pairs))
    except ValueError:
        return
    assert sorted(skeleton.flip_order) == list(range(len(names)))
    assert len(skeleton.bones) == len(names) - 1
    assert skeleton.adjacency.all(0).any() or len(names) > 1
