"""The checks see what they are for: swapped sides, mirrored axes, wrong cameras, wrong units."""

from dataclasses import replace

import numpy as np
import pytest

from selfsup3d.data.datasets.h36m.layouts import find_h36m
from selfsup3d.data.datasets.index_build import build_index
from selfsup3d.data.datasets.index_check import check_index, knees_forward, statistics
from selfsup3d.structures.skeleton import H36M_17
from tests.data.generators import h36m as generate

pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    root = tmp_path_factory.mktemp("h36m")
    generate.baseline(root, generate.Scene(subjects=("S1", "S9"), trials=("Walking",), frames=40))
    return build_index(find_h36m(root), progress=False).index


def test_a_good_index_has_nothing_to_complain_about(index):
    findings = check_index(index)
    assert findings.warnings == ()
    assert findings.knees > 0.95
    assert findings.reprojection[0] < 3  # lens distortion
    assert findings.counts == {("S1", "Walking"): 160, ("S9", "Walking"): 160}
    assert findings.splits == {("test",): 160, ("train",): 160}


def test_swapped_sides_and_mirrored_axes_are_noticed(index):
    swapped = replace(
        index,
        joints_3d=index.joints_3d[:, list(H36M_17.flip_order)],
        joints_2d=index.joints_2d[:, list(H36M_17.flip_order)],
    )
    mirrored = replace(index, joints_3d=index.joints_3d * np.float32([-1, 1, 1]))
    for wrong in (swapped, mirrored):
        assert any("bend forwards" in w for w in check_index(wrong).warnings)
    both = index.joints_3d[:, list(H36M_17.flip_order)] * np.float32([-1, 1, 1])
    assert knees_forward(both) > 0.95  # a person seen in a mirror is a person


def test_wrong_cameras_and_units_are_noticed(index):
    moved = replace(index, joints_3d=index.joints_3d + np.float32([0.5, 0, 0]))
    assert any("px off" in w for w in check_index(moved).warnings)
    millimetres = replace(index, joints_3d=index.joints_3d * 1000)
    assert any("unit" in w for w in check_index(millimetres).warnings)


def test_joints_scaled_to_one_height_are_not_asked_to_project(index):
    takes = tuple(replace(take, source="univ_annot3") for take in index.takes)
    pelvis = index.joints_3d[:, :1]
    universal = replace(index, takes=takes, joints_3d=pelvis + np.float32(0.7) * (index.joints_3d - pelvis))
    findings = check_index(universal)
    assert findings.warnings == ()
    assert np.isnan(findings.reprojection).all()
    assert any("px off" in w for w in check_index(replace(universal, takes=index.takes)).warnings)


def test_straight_knees_say_nothing():
    joints = np.zeros((3, 17, 3))
    joints[:, :, 2] = 4
    for side, hip in ((1, 4), (-1, 1)):
        for step in range(3):
            joints[:, hip + step] = (side * 0.1, 0.4 * step, 4)
    joints[:, 8] = (0, -0.5, 4)
    assert np.isnan(knees_forward(joints))


def test_statistics_are_those_of_numpy(index):
    found = statistics(index)
    relative = (index.joints_3d - index.joints_3d[:, :1])[:, 1:].astype(np.float64)
    np.testing.assert_allclose(found["joints_3d"]["mean"], relative.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["joints_3d"]["std"], relative.std(0), atol=1e-6)
    assert found["joints"][0] == "right_hip"
    assert len(found["joints_2d"]["mean"]) == 16
    hidden = replace(index, confidence=index.confidence * (np.arange(17) != 9))
    assert statistics(hidden)["joints_2d"]["mean"][8] == [None, None]
