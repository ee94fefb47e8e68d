import numpy as np
import pytest
import torch

from selfsup3d.structures.skeleton import H36M_17, joint_index
from selfsup3d.viz.colours import ERROR, LEFT, PREDICTION, RIGHT, TRUTH
from selfsup3d.viz.view3d import FRONT, SIDE, draw_pose_3d, skeleton_views, turntable


def centroid(image, colour, tolerance=20):
    """Mean (x, y) of the pixels of a colour."""
    rows, columns = np.nonzero((np.abs(image.astype(int) - colour) <= tolerance).all(-1))
    assert len(rows), f"no pixel of colour {colour}"
    return columns.mean(), rows.mean()


@pytest.mark.parametrize(("name", "view"), [("front", FRONT), ("side", SIDE)])
def test_fixed_views_look_as_stored(name, view, pose, matches_golden):
    matches_golden(draw_pose_3d(pose, view=view, size=96), f"view3d_{name}")


def test_truth_and_hypotheses_look_as_stored(pose, matches_golden):
    rng = np.random.default_rng(0)
    bundle = pose + rng.normal(size=(5, 17, 3)) * 0.06
    matches_golden(draw_pose_3d(bundle, truth=pose, size=96, colour=PREDICTION), "view3d_hypotheses")


def test_left_is_on_the_viewers_right_from_the_front_and_on_the_left_from_behind(pose):
    front = draw_pose_3d(pose, ground=False)
    behind = draw_pose_3d(pose, view=(180.0, 0.0), ground=False)
    assert centroid(front, LEFT)[0] > 128 > centroid(front, RIGHT)[0]
    assert centroid(behind, LEFT)[0] < 128 < centroid(behind, RIGHT)[0]


def test_from_the_side_a_person_who_faces_the_camera_faces_left(pose):
    # The viewer has walked to the camera's right, so what is near the camera lies on his left: the lifted knee does.
    assert centroid(draw_pose_3d(pose, view=(90.0, 0.0), ground=False), RIGHT)[0] < 120


def test_up_is_up_and_metres_are_to_scale(pose):
    lone = np.full((17, 3), np.nan)
    lone[0] = 0.0
    knee, ankle = joint_index("left_knee"), joint_index("left_ankle")
    lone[knee], lone[ankle] = (0.5, 0, 0), (0.5, -0.6, 0)  # up in camera axes
    image = draw_pose_3d(lone, view=(0, 0), size=240, extent=1.2, ground=False)  # 100 px a metre
    columns = np.nonzero((np.abs(image.astype(int) - LEFT) < 20).all(-1))
    assert columns[1].mean() == pytest.approx(120 + 50, abs=1.5)
    assert columns[0].min() == pytest.approx(120 - 60, abs=3)
    assert columns[0].max() == pytest.approx(120, abs=3)


def test_camera_and_body_frames_show_the_same_person(pose):
    body = np.stack([-pose[:, 2], pose[:, 0], -pose[:, 1]], -1)  # ahead, left, up of someone who faces the camera
    np.testing.assert_array_equal(draw_pose_3d(pose), draw_pose_3d(body, frame="body"))


def test_nearer_bones_cover_farther_ones(pose):
    arms = np.full((17, 3), np.nan)
    arms[0] = 0.0
    for side, depth in (("left", -0.3), ("right", 0.3)):
        arms[joint_index(f"{side}_elbow")], arms[joint_index(f"{side}_wrist")] = (-0.4, 0, depth), (0.4, 0, depth)
    for view, nearer in ((0.0, LEFT), (180.0, RIGHT)):
        assert tuple(draw_pose_3d(arms, view=(view, 0.0), ground=False)[128, 150]) == nearer


def test_errors_are_red_lines_from_the_truth(pose):
    image = draw_pose_3d(pose, truth=pose, ground=False)
    assert not ((np.abs(image.astype(int) - ERROR) < 10).all(-1)).any()
    moved = pose.copy()
    moved[joint_index("left_wrist")] += (0.0, 0.5, 0.0)
    image = draw_pose_3d(moved, truth=pose, ground=False)
    assert ((np.abs(image.astype(int) - ERROR) < 60).all(-1)).any()
    assert ((np.abs(image.astype(int) - TRUTH) < 10).all(-1)).any()


def test_missing_joints_are_left_out_and_nothing_is_drawn_far_away(pose):
    broken = pose.copy()
    broken[joint_index("left_wrist")] = np.nan
    broken[joint_index("right_wrist")] = 1e12
    image = draw_pose_3d(broken)
    assert image.shape == (256, 256, 3)
    np.testing.assert_array_equal(draw_pose_3d(np.full((17, 3), np.nan)), draw_pose_3d(np.full((17, 3), np.nan)))


def test_skeleton_views_are_the_two_drawn_views(pose):
    views = skeleton_views(torch.from_numpy(np.stack([pose, pose * 0.5])), 48)
    assert views.shape == (2, 2, 3, 48, 48)
    np.testing.assert_allclose(
        views[1, 1].permute(1, 2, 0).numpy() * 255, draw_pose_3d(pose * 0.5, view=SIDE, size=48), atol=0.01
    )
    assert skeleton_views(torch.zeros(0, 17, 3), 16).shape == (0, 2, 3, 16, 16)


def test_a_turntable_goes_round_once_and_plays_the_motion_once(pose):
    images = list(turntable(pose, frames=8, size=64))
    assert len(images) == 8
    np.testing.assert_array_equal(images[0], draw_pose_3d(pose, view=FRONT, size=64))
    np.testing.assert_array_equal(images[2], draw_pose_3d(pose, view=(90.0, 12.0), size=64))
    motion = np.stack([pose * s for s in (1.0, 0.8, 0.6, 0.4)])
    np.testing.assert_array_equal(
        list(turntable(motion, frames=8, size=64))[7], draw_pose_3d(pose * 0.4, view=(315.0, 12.0), size=64)
    )


def test_shapes_are_checked(pose):
    with pytest.raises(ValueError, match=r"\(16, 3\)"):
        draw_pose_3d(pose[:16])
    assert len(H36M_17.bones) == 16
