import itertools

import numpy as np
import pytest

from selfsup3d.inference.keypoint_files import KeypointSequence
from selfsup3d.inference.lifting import _DOUBT_COST, _SWAP_COST, _least_movement, repair_sides
from selfsup3d.structures.skeleton import H36M_17

LEGS, ARMS = ("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")


def exchanged(joints, frames, limbs):
    """The keypoints with left and right of these limbs exchanged in these frames."""
    left, right = ([H36M_17.joint_names.index(f"{side}_{limb}") for limb in limbs] for side in ("left", "right"))
    result = joints.copy()
    for frame in frames:
        result[frame, left], result[frame, right] = joints[frame, right], joints[frame, left]
    return result


@pytest.fixture
def walk():
    """A person of 100 px who drifts to the right, legs nearly closed, (40, 17, 2)."""
    rng = np.random.default_rng(0)
    body = rng.uniform(0, 100, (17, 2))
    for limb, apart in (("hip", 8), ("knee", 6), ("ankle", 6)):
        left, right = (H36M_17.joint_names.index(f"{side}_{limb}") for side in ("left", "right"))
        body[right] = body[left] + (apart, 0)
    return body + np.arange(40)[:, None, None] * (1.0, 0.2) + rng.normal(0, 0.3, (40, 17, 2))


def repaired(joints):
    count = len(joints)
    found, changed = repair_sides(
        KeypointSequence(joints, np.ones((count, 17)), np.arange(count), None, "npz", "h36m17")
    )
    return found.joints, changed


def test_nothing_is_changed_where_nothing_is_wrong(walk):
    found, changed = repaired(walk)
    assert changed == 0
    np.testing.assert_array_equal(found, walk)


def test_exchanged_arms_are_put_right(walk):
    found, changed = repaired(exchanged(walk, [10, 11, 30], ARMS))
    assert changed == 3
    np.testing.assert_array_equal(found, walk)


def test_legs_too_close_to_tell_go_with_the_arms(walk):
    alone, changed = repaired(exchanged(walk, [20, 21], LEGS))
    assert changed == 0  # by themselves not worth a change
    assert not np.array_equal(alone, walk)
    found, changed = repaired(exchanged(walk, [20, 21], LEGS + ARMS))
    assert changed == 2
    np.testing.assert_array_equal(found, walk)


@pytest.mark.parametrize("seed", range(5))
def test_the_path_is_the_best_of_all(seed):
    moves = np.random.default_rng(seed).uniform(0, 0.4, (2, 2, 4))

    def cost(path):
        return sum(
            sum(moves[k, int(a[k] != b[k]), t] for k in range(2)) + _SWAP_COST * (a != b)
            for t, (a, b) in enumerate(itertools.pairwise(path))
        ) + _DOUBT_COST * np.sum(path)

    best = min(cost(path) for path in itertools.product(itertools.product((0, 1), repeat=2), repeat=5))
    assert cost([tuple(row) for row in _least_movement(moves).astype(int)]) == pytest.approx(best)
