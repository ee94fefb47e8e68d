import math
import re

import numpy as np
import pytest

from selfsup3d.data.mocap.convert import read_recording
from selfsup3d.errors import InputError
from selfsup3d.export.bvh import euler_zxy, write_bvh
from selfsup3d.structures.skeleton import H36M_17


def independent_joints(text):
    """Joint name -> (T, 3), by a reader that shares nothing with the package: a tokenizer and 4x4 matrices."""
    tokens = iter(text.split())
    names, parents, offsets, channels, stack = [], [], [], [], []
    for token in tokens:
        if token in ("ROOT", "JOINT", "End"):
            name = next(tokens)
            names.append(name if token != "End" else f"end of {names[stack[-1]]}")
            parents.append(stack[-1] if stack else -1)
            channels.append([])
        elif token == "{":
            stack.append(len(names) - 1)
        elif token == "}":
            stack.pop()
        elif token == "OFFSET":
            offsets.append([float(next(tokens)) for _ in range(3)])
        elif token == "CHANNELS":
            channels[-1] = [next(tokens) for _ in range(int(next(tokens)))]
        elif token == "MOTION":
            break
    assert next(tokens) == "Frames:"
    count = int(next(tokens))
    assert (next(tokens), next(tokens)) == ("Frame", "Time:")
    period = float(next(tokens))
    result = {name: [] for name in names}
    for _ in range(count):
        worlds = []
        for name, parent, offset, wanted in zip(names, parents, offsets, channels, strict=True):
            matrix = np.eye(4)
            matrix[:3, 3] = offset
            for channel in wanted:
                value = float(next(tokens))
                step = np.eye(4)
                if channel.endswith("position"):
                    step["XYZ".index(channel[0]), 3] = value
                else:
                    c, s = math.cos(math.radians(value)), math.sin(math.radians(value))
                    i, j = {"X": (1, 2), "Y": (2, 0), "Z": (0, 1)}[channel[0]]
                    step[i, i], step[j, j], step[i, j], step[j, i] = c, c, -s, s
                matrix = matrix @ step
            worlds.append(matrix if parent < 0 else worlds[parent] @ matrix)
            result[name].append(worlds[-1][:3, 3])
    assert not list(tokens)
    return {name: np.array(rows) for name, rows in result.items()}, period


def test_an_independent_reader_gets_the_same_joints(tmp_path, motion):
    write_bvh(tmp_path / "m.bvh", motion, fps=25.0)
    found, period = independent_joints((tmp_path / "m.bvh").read_text())
    assert period == pytest.approx(0.04)
    expected = motion * [1.0, -1.0, -1.0]  # y up
    for joint, name in enumerate(H36M_17.joint_names):
        np.testing.assert_allclose(found[name] / 100.0, expected[:, joint], atol=1e-3 / 2, err_msg=name)


def test_bones_keep_their_length_where_the_person_does_not(tmp_path, motion):
    stretched = motion * np.linspace(0.9, 1.1, len(motion))[:, None, None]
    write_bvh(tmp_path / "m.bvh", stretched, fps=25.0)
    found, _ = independent_joints((tmp_path / "m.bvh").read_text())
    thigh = np.linalg.norm(found["left_knee"] - found["left_hip"], axis=-1)
    assert np.ptp(thigh) < 1e-3
    mean = np.linalg.norm(stretched[:, 5] - stretched[:, 4], axis=-1).mean()
    assert thigh[0] / 100.0 == pytest.approx(mean, rel=1e-3)


def test_our_own_reader_takes_it_as_motion_capture(tmp_path, motion):
    write_bvh(tmp_path / "m.bvh", motion, fps=25.0)
    read = read_recording(tmp_path / "m.bvh")
    assert read.fps == pytest.approx(25.0)
    np.testing.assert_allclose(read.positions, motion * [1.0, -1.0, -1.0], atol=1e-3)


def test_the_rest_pose_is_a_t_pose_that_faces_the_viewer(tmp_path, motion):
    write_bvh(tmp_path / "m.bvh", motion, fps=25.0)
    text = (tmp_path / "m.bvh").read_text()
    head, moves = text.split("Frame Time:")
    still = (
        re.sub(r"Frames: \d+", "Frames: 1", head)
        + "Frame Time: 0.04\n"
        + " ".join(["0"] * len(moves.split("\n")[1].split()))
    )
    found, _ = independent_joints(still)
    assert found["left_wrist"][0, 0] > 40.0 > -40.0 > found["right_wrist"][0, 0]
    assert abs(found["left_wrist"][0, 1] - found["neck"][0, 1]) < 1e-6
    assert found["left_ankle"][0, 1] < -60.0
    assert found["nose"][0, 2] > 0.0


def test_angles_give_their_rotation_back_where_two_axes_fall_together():
    from scipy.spatial.transform import Rotation

    angles = np.array([[10.0, 90.0, 20.0], [10.0, -90.0, 20.0], [170.0, 89.999, -170.0], [0.0, 0.0, 180.0]])
    matrices = Rotation.from_euler("ZXY", angles, degrees=True).as_matrix()
    back = Rotation.from_euler("ZXY", euler_zxy(matrices)).as_matrix()
    np.testing.assert_allclose(back, matrices, atol=1e-6)


@pytest.mark.parametrize(
    ("joints", "fps", "words"),
    [
        (np.zeros((0, 17, 3)), 25.0, r"\(T, 17, 3\)"),
        (np.zeros((2, 17, 3)), 25.0, "cannot be animated"),
        (np.full((2, 17, 3), np.nan), 25.0, "cannot be animated"),
        (np.ones((2, 16, 3)), 25.0, r"\(T, 17, 3\)"),
        (np.ones((2, 17, 3)), 0.0, "frames per second"),
    ],
)
def test_poses_that_cannot_be_written_are_told(tmp_path, joints, fps, words):
    with pytest.raises(InputError, match=words):
        write_bvh(tmp_path / "m.bvh", joints, fps)
    assert not list(tmp_path.iterdir())
