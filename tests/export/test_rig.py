"""Poses on the floor, against what the eye expects of an animation program."""

import numpy as np
import pytest

from selfsup3d.export.rig import ANKLE_HEIGHT, grounded
from selfsup3d.structures.skeleton import joint_index

UPRIGHT = np.array([1.0, -1.0, -1.0])  # camera axes to those of files, and back


def seen_joints(joints):
    """What a program shows: y up, z towards the viewer."""
    return joints * UPRIGHT


def facing(pose):
    left = pose[joint_index("left_hip")] - pose[joint_index("right_hip")]
    ahead = np.cross(left, pose[joint_index("neck")] - pose[0])
    return ahead / np.linalg.norm(ahead)


def test_feet_stand_on_the_floor_and_the_person_faces_the_viewer(motion):
    ankles = [joint_index("left_ankle"), joint_index("right_ankle")]
    for pose in motion:
        found = seen_joints(grounded(pose[None] + (3.0, 1.0, 4.0), each_frame=True))[0]
        lowest = min(found[ankles, 1].min() - ANKLE_HEIGHT, np.delete(found, ankles, 0)[:, 1].min() - 0.04)
        assert lowest == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(found[0, [0, 2]], 0, atol=1e-9)
        ahead = facing(found)
        if np.hypot(ahead[0], ahead[2]) > 0.3:
            assert abs(ahead[0]) < 1e-9
            assert ahead[2] > 0


def test_one_rigid_motion_moves_all_frames(motion):
    """With a known path nothing but place and heading changes: distances stay, within and across frames."""
    found = grounded(motion, each_frame=False)
    flat, before = found.reshape(-1, 3), motion.reshape(-1, 3)
    pairs = np.random.default_rng(0).integers(0, len(flat), (200, 2))
    distance = lambda points: np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)  # noqa: E731
    np.testing.assert_allclose(distance(flat), distance(before), atol=1e-9)
    np.testing.assert_allclose(seen_joints(found)[:, 8, 1] - seen_joints(found)[:, 0, 1],
                               seen_joints(motion)[:, 8, 1] - seen_joints(motion)[:, 0, 1], atol=1e-9)  # fmt: skip
    assert np.linalg.det(np.linalg.lstsq(before - before[0], flat - flat[0], rcond=None)[0]) == pytest.approx(1)


def test_one_pose_far_below_does_not_lift_all_others(motion):
    still = np.repeat(motion[:1], 40, axis=0)
    still[20] += (0, 1.5, 0)  # down, in camera axes
    found = seen_joints(grounded(still, each_frame=False))
    assert found[0, [joint_index("left_ankle"), joint_index("right_ankle")], 1].min() < 0.2
