import numpy as np
import pytest

from selfsup3d.inference.ground import put_on_ground
from selfsup3d.structures.skeleton import joint_index

FPS = 20.0


def walker(tilt=0.0, noise=0.0, frames=60):
    """(T, 17, 3) camera axes: a walk away from a camera that looks down by `tilt` degrees; standing feet stand."""
    body = {
        "pelvis": (0, 0.9, 0), "spine": (0, 1.15, 0), "neck": (0, 1.45, 0), "nose": (0, 1.55, 0.1), "head": (0, 1.7, 0),
        "left_hip": (0.1, 0.9, 0), "right_hip": (-0.1, 0.9, 0), "left_shoulder": (0.18, 1.4, 0),
        "right_shoulder": (-0.18, 1.4, 0), "left_elbow": (0.2, 1.1, 0), "right_elbow": (-0.2, 1.1, 0),
        "left_wrist": (0.2, 0.85, 0.1), "right_wrist": (-0.2, 0.85, 0.1),
    }  # fmt: skip
    joints = np.zeros((frames, 17, 3))
    step = 0.5  # metres; one foot stands for 10 frames while the body passes over it
    for t in range(frames):
        along = step * t / 10
        for name, place in body.items():
            joints[t, joint_index(name)] = np.array(place) + np.array([0, 0, along])
        for side, phase in (("left", 0), ("right", 10)):
            part, share = divmod(t + phase, 20)
            foot = 2 * step * part - step * phase / 10 + (0 if share < 10 else 2 * step * (share - 10) / 10)
            x, height = (
                (0.1 if side == "left" else -0.1),
                0.08 + (0.1 * np.sin(np.pi * (share - 10) / 10) if share >= 10 else 0),
            )
            ankle = np.array([x, height, foot + 0.25])
            joints[t, joint_index(f"{side}_ankle")] = ankle
            hip = joints[t, joint_index(f"{side}_hip")]
            joints[t, joint_index(f"{side}_knee")] = 0.5 * (ankle + hip) + [0, 0, 0.02]
    a = np.radians(tilt)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    camera = (joints * [-1, -1, 1] - [0, -1.5, -3]) @ turn.T  # people face away: their left is on the left
    jitter = np.random.default_rng(0).normal(0, noise, (frames, 1, 3))
    return camera + jitter


@pytest.mark.parametrize("tilt", [0.0, 20.0])
def test_feet_stand_on_the_floor_and_do_not_slide(tilt):
    noisy = walker(tilt, noise=0.01)
    found = put_on_ground(noisy, FPS)
    assert found.slide < 0.25 * found.before
    assert found.slide < 0.005
    ankles = found.joints[:, [joint_index("left_ankle"), joint_index("right_ankle")], 1]
    assert np.median(ankles.min(1)) == pytest.approx(0.08, abs=0.02)
    head = found.joints[:, joint_index("head"), 1]
    assert head.mean() == pytest.approx(1.7, abs=0.06)
    assert head.std() < 0.05  # though the person walks away from a tilted camera


def test_the_first_frame_faces_the_viewer_at_the_origin():
    found = put_on_ground(walker(), FPS).joints[0]
    np.testing.assert_allclose(found[0, [0, 2]], 0.0, atol=1e-6)
    left = found[joint_index("left_hip")] - found[joint_index("right_hip")]
    assert left[0] > 0.19
    assert found[joint_index("nose"), 2] > found[joint_index("head"), 2]


def test_the_way_stays_as_long_as_it_was():
    found = put_on_ground(walker(noise=0.01), FPS).joints
    assert np.linalg.norm(found[-1, 0] - found[0, 0]) == pytest.approx(0.5 * 59 / 10, rel=0.12)
