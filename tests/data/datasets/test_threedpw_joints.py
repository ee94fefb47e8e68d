"""Joints from the body's surface: posed by smplx, sides told by geometry, written for the reader."""

import numpy as np
import pytest

from selfsup3d.data.datasets.index_build import build_index
from selfsup3d.data.datasets.threedpw import find_threedpw
from selfsup3d.data.datasets.threedpw_joints import (
    load_surface_model,
    regress_joints,
    regressor_in_our_order,
    write_regressed,
)
from selfsup3d.errors import InputError
from tests.data.generators import threedpw as generate

pytest.importorskip("smplx")

# Where a person's 17 joints lie at rest, looking along +z, left at +x, y up; our order.
REST = np.array(
    [
        *[(0, 0, 0), (-0.1, 0, 0), (-0.1, -0.4, 0), (-0.1, -0.8, 0), (0.1, 0, 0), (0.1, -0.4, 0), (0.1, -0.8, 0)],
        *[(0, 0.2, 0), (0, 0.45, 0), (0, 0.55, 0.1), (0, 0.7, 0)],
        *[(0.2, 0.45, 0), (0.45, 0.45, 0), (0.7, 0.45, 0), (-0.2, 0.45, 0), (-0.45, 0.45, 0), (-0.7, 0.45, 0)],
    ],
    dtype=float,
)


@pytest.fixture
def files(tmp_path):
    """A body of 17 + 30 vertices, the first 17 at the joints, and the regressor that picks them."""
    rng = np.random.default_rng(0)
    template = np.concatenate([REST, rng.normal(size=(30, 3))])
    parents = np.array([2**32 - 1, *[max(0, j - 1) for j in range(1, 24)]], dtype=np.uint32)
    joints = rng.random((24, 47))
    weights = rng.random((47, 24))
    np.savez(
        tmp_path / "model.npz",
        v_template=template,
        shapedirs=0.01 * rng.normal(size=(47, 3, 10)),
        posedirs=0.01 * rng.normal(size=(47, 3, 207)),
        J_regressor=joints / joints.sum(1, keepdims=True),
        weights=weights / weights.sum(1, keepdims=True),
        kintree_table=np.stack([parents, np.arange(24, dtype=np.uint32)]),
    )
    regressor = np.eye(17, 47)
    np.save(tmp_path / "ours.npy", regressor)
    spin = regressor[[0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]]
    np.save(tmp_path / "left_first.npy", spin)
    return tmp_path


def test_at_rest_the_joints_are_the_models(files):
    model = load_surface_model(files / "model.npz")
    zeros = np.zeros((3, 72))
    joints = regress_joints(model, np.eye(17, 47), zeros, np.zeros(10), np.array([[0, 0, k] for k in range(3)]))
    np.testing.assert_allclose(joints[0], REST, atol=1e-9)
    np.testing.assert_allclose(joints[2], REST + np.array([0, 0, 2]), atol=1e-9)


def test_a_turned_root_turns_the_body(files):
    model = load_surface_model(files / "model.npz")
    poses = np.zeros((1, 72))
    poses[0, 1] = np.pi / 2  # about y: +x goes to -z
    joints = regress_joints(model, np.eye(17, 47), poses, np.zeros(10), np.zeros((1, 3)))[0]
    across = joints[4] - joints[1]
    np.testing.assert_allclose(across, [0, 0, -0.2], atol=0.02)  # pose blend shapes move vertices a little


@pytest.mark.parametrize("name", ["ours", "left_first"])
def test_either_side_may_come_first(files, name):
    model = load_surface_model(files / "model.npz")
    rows = regressor_in_our_order(np.load(files / f"{name}.npy"), model, name)
    np.testing.assert_array_equal(rows, np.eye(17, 47))


def test_files_for_the_reader(files, tmp_path):
    generate.write_sequence(tmp_path, images=False)
    damaged = tmp_path / "sequenceFiles/test/cut_00.pkl"
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(b"no pickle")
    count, notes = write_regressed(
        tmp_path, files / "j.npz", files / "left_first.npy", {"neutral": files / "model.npz"}, False
    )
    assert count == 2
    assert len(notes) == 3
    assert "cut_00.pkl" in notes[0]
    assert notes[1].endswith("person 0: no male model was given: the neutral body is taken")
    damaged.unlink()
    tree = find_threedpw(tmp_path, joints="h36m_14", regressed=files / "j.npz")
    tree.require()
    with np.load(files / "j.npz") as data:
        assert data["downtown_walking_00_0"].shape == (10, 17, 3)
        assert data["notes"].tolist() == notes
    build_index(tree, progress=False, max_failed=5)


def test_damage_is_told(files, tmp_path):
    model = load_surface_model(files / "model.npz")
    with pytest.raises(InputError, match=r"shape \(14, 47\)"):
        regressor_in_our_order(np.zeros((14, 47)), model, "r.npy")
    with pytest.raises(InputError, match="lie on one side"):
        regressor_in_our_order(np.eye(17, 47)[[1] * 17], model, "r.npy")
    np.savez(files / "bad.npz", v_template=np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"bad\.npz: not SMPL.*lacks"):
        load_surface_model(files / "bad.npz")
    with pytest.raises(InputError, match="no sequenceFiles"):
        write_regressed(files / "nothing", files / "j.npz", files / "ours.npy", {})
    generate.write_sequence(tmp_path, images=False)
    with pytest.raises(InputError, match="no male model was given, and no neutral one"):
        write_regressed(tmp_path, files / "j.npz", files / "ours.npy", {"female": files / "model.npz"}, False)
