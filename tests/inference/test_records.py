import json
from dataclasses import replace

import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.inference.records import PoseRecord, load_record
from selfsup3d.structures.skeleton import H36M_17


@pytest.fixture
def record():
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(3, 17, 3)).astype(np.float32)
    root = np.array([[0, 0, 3], [0, 0, np.nan], [1, 0, 3]], np.float32)
    return PoseRecord(
        joints, rng.uniform(0, 99, (3, 17, 2)).astype(np.float32), root, np.array([0, 2, 4]),
        np.array([[0, 0, 9]] * 3), 12.5, source="walk.mp4",
    )  # fmt: skip


def test_npz_gives_everything_back(tmp_path, record):
    record.save(tmp_path / "p.npz")
    back = load_record(tmp_path / "p.npz")
    for name in ("joints_3d", "joints_2d", "root", "frames", "windows"):
        np.testing.assert_array_equal(getattr(back, name), getattr(record, name))
    assert (back.fps, back.unit, back.view, back.source) == (12.5, "m", "crop", "walk.mp4")


def test_json_tells_names_units_and_frame(tmp_path, record):
    record.save_json(tmp_path / "p.json")
    told = json.loads((tmp_path / "p.json").read_text())
    assert told["joint_names"] == list(H36M_17.joint_names)
    assert told["unit"] == "m"
    assert "y down" in told["frame"]
    assert told["poses"][1]["root"] == [0.0, 0.0, None]
    np.testing.assert_allclose(told["poses"][2]["joints_3d"], record.joints_3d[2], atol=1e-5)


def test_poses_without_a_scale_are_given_one(record):
    scaled = replace(record, joints_3d=record.joints_3d * 7.0, unit="relative").metric()
    torso = np.linalg.norm(scaled[:, 8], axis=-1)
    assert np.median(torso) == pytest.approx(0.5)
    assert record.metric() is record.joints_3d


def test_records_in_a_row_are_one(record):
    assert len(PoseRecord.joined([record, record])) == 6


def test_files_that_hold_no_poses_are_told(tmp_path, record):
    with pytest.raises(InputError, match="no such file"):
        load_record(tmp_path / "p.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match="cannot be read"):
        load_record(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(InputError, match="lacks joints_3d"):
        load_record(tmp_path / "other.npz")
    record.save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as data:
        np.savez(tmp_path / "nan.npz", **{**data, "joints_3d": np.full((3, 17, 3), np.nan)})
    with pytest.raises(InputError, match="not finite"):
        load_record(tmp_path / "nan.npz")
