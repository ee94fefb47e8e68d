import numpy as np
import pytest

from selfsup3d.structures.skeleton import joint_index
from selfsup3d.viz.colours import LEFT, RIGHT, heat
from selfsup3d.viz.skeleton import draw_skeleton


def pixels(pose):
    return 48 + 45 * pose[:, :2] + 0.5


@pytest.fixture
def grey():
    return np.full((96, 96, 3), 90, np.uint8)


def test_overlay_looks_as_stored(pose, grey, matches_golden):
    matches_golden(draw_skeleton(grey, pixels(pose)), "skeleton")
    matches_golden(draw_skeleton(grey, pixels(pose), errors=np.linspace(0, 160, 17)), "skeleton_errors")


def test_the_image_given_is_left_alone(pose, grey):
    before = grey.copy()
    assert draw_skeleton(grey, pixels(pose)) is not grey
    np.testing.assert_array_equal(grey, before)


def test_sides_have_their_colours_and_pixel_centres_are_at_a_half(grey):
    joints = np.full((17, 2), np.nan)
    joints[joint_index("left_knee")] = (20.5, 30.5)
    joints[joint_index("right_knee")] = (70.5, 60.5)
    image = draw_skeleton(grey, joints)
    assert tuple(image[30, 20]) == LEFT
    assert tuple(image[60, 70]) == RIGHT
    rows, columns = np.nonzero((image != 90).any(-1) & (np.arange(96) < 45))
    assert (rows.mean(), columns.mean()) == pytest.approx((30, 20), abs=0.3)  # half a pixel off would be 0.5


def test_missing_joints_take_their_bones_along(pose, grey):
    confidence = np.ones(17)
    confidence[joint_index("left_elbow")] = 0.0
    image = draw_skeleton(grey, pixels(pose), confidence)
    x, y = pixels(pose)[joint_index("left_elbow")].astype(int)
    assert (image[y - 2 : y + 3, x - 2 : x + 3] == 90).all()
    nothing = draw_skeleton(grey, pixels(pose), np.zeros(17))
    np.testing.assert_array_equal(nothing, grey)


def test_joints_far_outside_do_not_overflow(pose, grey):
    joints = pixels(pose)
    joints[joint_index("left_wrist")] = (1e12, -1e12)
    joints[joint_index("right_wrist")] = (np.inf, 3)
    assert draw_skeleton(grey, joints).shape == grey.shape


def test_heat_runs_from_green_to_dark_red_and_marks_nonsense_black():
    colours = heat(np.array([0.0, 50.0, 150.0, 1e9, np.nan]), 150.0)
    assert colours[0, 1] > colours[0, 0]
    assert tuple(colours[1]) == (240, 210, 60)
    np.testing.assert_array_equal(colours[2], colours[3])
    assert tuple(colours[4]) == (0, 0, 0)


def test_bad_input_is_named(pose, grey):
    with pytest.raises(ValueError, match="uint8"):
        draw_skeleton(grey / 255.0, pixels(pose))
    with pytest.raises(ValueError, match=r"\(17, 2\)"):
        draw_skeleton(grey, pose)
