import numpy as np
import pytest

from selfsup3d.data.mocap.mocap import TEST_SUBJECTS, VALIDATION_SUBJECTS, load_mocap
from selfsup3d.errors import InputError
from selfsup3d.structures.skeleton import joint_index


def test_splits_are_disjoint_by_subject_and_cover_all(write_toy_mocap):
    path = write_toy_mocap()
    parts = {split: load_mocap(path, split) for split in ("train", "val", "test", "all")}
    assert {s: len(p) for s, p in parts.items()} == {"train": 47, "val": 6, "test": 5, "all": 58}
    assert set(parts["train"].subjects) == {"cmu001", "someone"}
    assert set(parts["test"].subjects) <= set(TEST_SUBJECTS)
    assert set(parts["val"].subjects) <= set(VALIDATION_SUBJECTS)
    assert parts["test"].sequence.tolist() == [0] * 5
    assert parts["train"].names == ("cmu001_00", "cmu001_01", "someone_04")


def test_world_is_z_up_and_canonical_faces_forward(write_toy_mocap):
    capture = load_mocap(write_toy_mocap(), "all")
    head, ankle = joint_index("head"), joint_index("left_ankle")
    assert (capture.positions[:, head, 2] > capture.positions[:, ankle, 2] + 1.5).all()
    body = capture.canonical()
    assert np.abs(body[:, 0]).max() < 1e-6
    assert (body[:, joint_index("nose"), 0] > 0.04).all()  # the nose points forward, +X
    assert (body[:, joint_index("left_wrist"), 1] > 0.19).all()  # left is +Y
    assert np.abs(body[:, 8, :2]).max() < 1e-5  # the neck stands on +Z
    assert (body[:, 8, 2] > 0.49).all()


def test_joints_are_ordered_by_name(write_toy_mocap):
    path = write_toy_mocap()
    with np.load(path) as data:
        order = np.random.default_rng(0).permutation(17)
        shuffled = write_toy_mocap(
            "shuffled.npz", positions=data["positions"][:, order], joint_names=data["joint_names"][order]
        )
    assert np.array_equal(load_mocap(path, "all").positions, load_mocap(shuffled, "all").positions)


def _with_nan(positions):
    positions = positions.copy()
    positions[41, 3, 1] = np.nan
    return positions


def _with_hips_above_each_other(positions):
    positions = positions.copy()
    pelvis, up = positions[7, 0], positions[7, 8] - positions[7, 0]
    positions[7, joint_index("right_hip")], positions[7, joint_index("left_hip")] = pelvis - 0.2 * up, pelvis + 0.2 * up
    return positions


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: {"positions": p * 1000}, "millimetres"),
        (lambda p: {"positions": p * 100}, "centimetres"),
        (lambda p: {"positions": _with_nan(p)}, "cmu001_01"),
        (lambda p: {"positions": p[:, :14]}, "(N, 17, 3)"),
        (lambda p: {"positions": p[..., :2]}, "(N, 17, 3)"),
        (lambda p: {"positions": np.where(np.arange(17)[:, None] == 3, p[:, 2:3], p)}, "right_ankle has no length"),
        (lambda p: {"positions": _with_hips_above_each_other(p)}, "the first at 7: the hip line is parallel"),
        (lambda p: {"offsets": np.array([0, 5])}, "offsets"),
        (lambda p: {"subjects": None}, "lacks subjects"),
        (lambda p: {"up_axis": np.array("x")}, "up_axis"),
        (lambda p: {"units": np.array("mm")}, "units"),
        (lambda p: {"joint_names": np.array(["a"] * 17)}, "joint_names lacks pelvis"),
        (lambda p: {"subjects": np.array([{}], dtype=object)}, "pickled"),
        (lambda p: {"actions": np.array(["walk"])}, "actions has 1"),
    ],
)
def test_bad_files_are_named(write_toy_mocap, change, words):
    with np.load(write_toy_mocap()) as data:
        positions = data["positions"]
    path = write_toy_mocap("bad.npz", **change(positions))
    with pytest.raises(InputError) as error:
        load_mocap(path, "all")
    assert words in str(error.value)
    assert "bad.npz" in str(error.value)


def test_missing_damaged_and_empty_split(tmp_path, write_toy_mocap):
    with pytest.raises(InputError, match="no such file"):
        load_mocap(tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(write_toy_mocap().read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        load_mocap(tmp_path / "cut.npz")
    others = write_toy_mocap("others.npz", subjects=np.array(["anna"] * 5))
    with pytest.raises(InputError, match="anna"):
        load_mocap(others, "test")
    with pytest.raises(InputError, match="split"):
        load_mocap(others, "validation")  # type: ignore[arg-type]


def test_real_motion_capture(real_data):
    path = real_data / "mocap.npz"
    assert len(load_mocap(path, "train")) == 51_109
    capture = load_mocap(path, "all")
    assert len(capture) == 66_484
    body = capture.canonical()
    assert np.isfinite(body).all()
    assert np.linalg.norm(body, axis=-1).max() < 2.0
