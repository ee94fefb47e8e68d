"""TRC, C3D and joint angles, read back by other readers or known from geometry."""

import numpy as np
import pytest

from selfsup3d.export.angles import joint_angles, write_angles
from selfsup3d.export.c3d import write_c3d
from selfsup3d.export.trc import write_trc
from selfsup3d.structures.skeleton import H36M_17, joint_index

JOINTS = np.random.default_rng(0).normal(0, 0.5, (7, 17, 3))
SEEN = np.array([True, True, False, True, True, True, True])


def test_trc(tmp_path):
    write_trc(tmp_path / "a.trc", JOINTS, 25.0, SEEN, start=0.4)
    lines = (tmp_path / "a.trc").read_text().split("\n")
    head = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    assert (head["DataRate"], head["NumFrames"], head["NumMarkers"], head["Units"]) == ("25", "7", "17", "mm")
    assert lines[3].split("\t")[2::3][:17] == list(H36M_17.joint_names)
    rows = [line.split("\t") for line in lines[6:] if line]
    assert all(len(row) == 2 + 51 for row in rows)
    np.testing.assert_allclose([float(row[1]) for row in rows], 0.4 + np.arange(7) / 25)
    assert set(rows[2][2:]) == {""}
    np.testing.assert_allclose(np.array(rows[6][2:], float), 1000 * JOINTS[6].reshape(-1), atol=1e-3)


def test_c3d_is_read_back_by_the_library_and_by_our_reader(tmp_path):
    c3d = pytest.importorskip("c3d")
    write_c3d(tmp_path / "a.c3d", JOINTS, 25.0, SEEN)
    with (tmp_path / "a.c3d").open("rb") as file:
        reader = c3d.Reader(file)
        assert reader.point_rate == 25.0
        assert [label.strip() for label in reader.point_labels] == list(H36M_17.joint_names)
        points = np.stack([points for _, points, _ in reader.read_frames(copy=True)])
    np.testing.assert_allclose(points[SEEN][..., :3], 1000 * JOINTS[SEEN], atol=1e-2)
    assert (points[2, :, 3] < 0).all()


def standing():
    pose = np.zeros((17, 3))
    for name, place in {
        "neck": (0, 0.5, 0), "left_hip": (0.1, 0, 0), "right_hip": (-0.1, 0, 0), "left_shoulder": (0.2, 0.5, 0),
        "right_shoulder": (-0.2, 0.5, 0), "left_knee": (0.1, -0.4, 0), "right_knee": (-0.1, -0.4, 0),
        "left_ankle": (0.1, -0.8, 0), "right_ankle": (-0.1, -0.8, 0), "left_elbow": (0.2, 0.2, 0),
        "right_elbow": (-0.2, 0.2, 0), "left_wrist": (0.2, 0, 0), "right_wrist": (-0.2, 0, 0),
    }.items():  # fmt: skip
        pose[joint_index(name)] = place
    return pose  # y up, facing +z: the left hand is at +x


def angles_of(**places):
    pose = standing()
    for name, place in places.items():
        pose[joint_index(name)] = place
    return {name: float(values[0]) for name, values in joint_angles(pose[None]).items()}


def test_angles_of_known_poses():
    assert all(abs(value) < 1e-6 for value in angles_of().values())
    seated = angles_of(left_knee=(0.1, 0, 0.4), left_ankle=(0.1, -0.4, 0.4))
    assert seated["left_hip_flexion"] == pytest.approx(90)
    assert seated["left_knee_flexion"] == pytest.approx(90)
    assert seated["right_hip_flexion"] == pytest.approx(0, abs=1e-6)
    for side, x in (("left", 0.5), ("right", -0.5)):
        raised = angles_of(**{f"{side}_elbow": (x, 0.5, 0)})
        assert raised[f"{side}_shoulder_abduction"] == pytest.approx(90, abs=1e-3)
    back = angles_of(right_elbow=(-0.2, 0.5 - 0.3 * np.cos(0.5), -0.3 * np.sin(0.5)))
    assert back["right_shoulder_flexion"] == pytest.approx(-np.degrees(0.5))
    assert angles_of(neck=(0, 0.5, 0.5))["trunk_lean_forwards"] == pytest.approx(45)
    assert angles_of(neck=(0.5, 0.5, 0))["trunk_lean_left"] == pytest.approx(45)


def test_angles_do_not_depend_on_place_heading_or_size():
    turn, scale = 0.8, 1.7
    c, s = np.cos(turn), np.sin(turn)
    moved = scale * JOINTS @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + [3, 1, 2]
    for name, values in joint_angles(JOINTS).items():
        np.testing.assert_allclose(joint_angles(moved)[name], values, atol=1e-6)


def test_unseen_rows_of_the_csv_are_blank(tmp_path):
    write_angles(tmp_path / "a.csv", JOINTS, 10.0, SEEN)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].startswith("time,left_knee_flexion")
    assert set(lines[3].split(",")[1:]) == {""}
    assert "" not in lines[4].split(",")
