from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from selfsup3d.data.synthetic.actions import ACTIONS, key_pose
from selfsup3d.data.synthetic.chain import ANGLES, LIMITS
from selfsup3d.data.synthetic.motion import make_motion
from selfsup3d.data.synthetic.spec import Code, code
from selfsup3d.structures.skeleton import joint_index

LOW, HIGH = np.array([LIMITS[name] for name in ANGLES]).T


def motion(index: int, frames: int = 28, action: str | None = None):
    return make_motion(Code(code("train", "motion", index)), frames, action)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_stays_within_the_joint_limits(action: str) -> None:
    for index in range(6):
        made = motion(index, action=action)
        assert made.action == action
        assert (made.angles >= LOW).all()
        assert (made.angles <= HIGH).all()
        assert (key_pose(Code(code("val", "motion", index)), ACTIONS[action], "left") >= LOW).all()


@pytest.mark.parametrize("action", ACTIONS)
def test_people_move_at_the_pace_of_people(action: str) -> None:
    for index in range(6):
        made = motion(index, action=action)
        joints = made.joints()
        assert 6.0 <= made.fps <= 8.0
        assert np.isfinite(joints).all()
        speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * made.fps  # (T-1, 17) m/s
        assert speed[:, 0].max() < 3.5
        assert speed.max() < 12.0  # a wrist or foot that is thrown
        assert np.median(speed) < 2.0


def test_paths_keep_to_the_stage_and_cover_its_width() -> None:
    widths = []
    for index in range(150):
        path = motion(index).path
        assert np.abs(path[:, 0]).max() <= 0.61
        assert np.abs(path[:, 1]).max() <= 0.45
        widths.append(np.ptp(path[:, 0]))
    assert np.median(widths) > 0.75


def test_people_leave_their_places() -> None:
    """A background model needs to see behind them: no one stands before the same strip all the time."""
    longest = []
    for index in range(100):
        across = motion(index).path[:, 0]
        columns = np.linspace(-0.8, 0.8, 65)
        longest.append((np.abs(across[:, None] - columns) < 0.17).mean(0).max())
    assert np.median(longest) < 0.55
    assert np.max(longest) < 0.85


def test_poses_vary() -> None:
    joints = np.concatenate([motion(index).joints() for index in range(200)])
    above = joints[:, :, 2]
    head = above[:, joint_index("head")]
    wrists_up = (above[:, [13, 16]] > head[:, None]).any(1).mean()
    low = (above[:, 0] < 0.65).mean()
    apart = (np.linalg.norm(joints[:, 3] - joints[:, 6], axis=-1) > 0.6).mean()
    assert wrists_up > 0.08
    assert low > 0.08
    assert apart > 0.15


def test_feet_do_not_float() -> None:
    for index in range(60):
        made = motion(index)
        lowest = made.joints()[:, [2, 3, 5, 6, 13, 16, 0], 2].min(1) - made.hop
        assert lowest.min() > 0.0
        assert lowest.max() < 0.13


def test_actions_are_all_drawn_and_motions_repeat_exactly() -> None:
    drawn = Counter(motion(index).action for index in range(400))
    assert set(drawn) == set(ACTIONS)
    assert np.array_equal(motion(5).joints(), motion(5).joints())


@pytest.mark.parametrize("frames", [2, 6, 40])
def test_any_length(frames: int) -> None:
    for index in range(20):
        joints = motion(index, frames).joints()
        assert joints.shape == (frames, 17, 3)
        assert np.isfinite(joints).all()
