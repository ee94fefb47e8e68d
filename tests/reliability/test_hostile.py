"""Files made to do harm: refused at once, in little memory, and nothing of theirs runs, is followed or is written."""

import os
import re
import tracemalloc

import numpy as np
import pytest

from selfsup3d.data.datasets.frame_index import load_index
from selfsup3d.data.sampling.shards_write import Record, write_shards
from selfsup3d.errors import InputError
from selfsup3d.io.json_yaml import parse_yaml
from selfsup3d.io.limits import check_mat, stored_array
from selfsup3d.io.safe_pickle import load_npz
from tests.reliability import kills
from tests.reliability.hostile import CANARY, HOSTILE, index
from tests.reliability.measure import measure

MOST = 500e6
"""Bytes to refuse a file."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_a_hostile_file_is_refused_in_little_memory(tmp_path, case, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = case.write(tmp_path)
    before = sorted(p for p in tmp_path.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as told:
            case.read(path)
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    assert re.search(case.told, str(told.value)), told.value
    assert "\n" not in str(told.value).strip()
    assert sorted(p for p in tmp_path.rglob("*")) == before
    assert not (tmp_path / CANARY).exists()


@pytest.mark.slow
def test_processes_stay_small_and_quick():
    """As the page measures: memory also of libraries that Python does not see."""
    context = kills.processes()
    outcomes = [measure(context, number) for number in range(len(HOSTILE))]
    assert [o for o in outcomes if o.result != "refused"] == []
    assert [o for o in outcomes if o.memory > MOST or o.cpu > 5] == []


# ---- what looks alike and is good ----


def test_packed_poses_are_read(tmp_path):
    """Whole numbers, zeros and poses compress well and are no attack."""
    arrays = {
        "zeros": np.zeros((1000, 17, 3), np.float32),
        "poses": np.random.default_rng(0).normal(size=(1000, 17, 3)),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    assert np.array_equal(load_npz(tmp_path / "a.npz")["poses"], arrays["poses"])


def test_arrays_of_hdf5_are_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["whole"] = np.arange(6.0)
        file.create_dataset("packed", data=np.zeros((500, 96)), compression="gzip")
    with h5py.File(tmp_path / "a.h5") as file:
        assert stored_array(file["whole"], f"{tmp_path / 'a.h5'}: whole").tolist() == [0, 1, 2, 3, 4, 5]
        assert stored_array(file["packed"], tmp_path / "a.h5").shape == (500, 96)


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_files_of_scipy_pass(tmp_path, compressed):
    scipy_io = pytest.importorskip("scipy.io")
    cell = np.empty((3, 1), object)
    for k in range(3):
        cell[k, 0] = np.arange(12.0).reshape(2, 6) + k if k else np.zeros((0, 0))
    scipy_io.savemat(
        tmp_path / "a.mat", {"annot2": cell, "a": np.eye(3), "s": np.zeros((5000, 30))}, do_compression=compressed
    )
    check_mat(tmp_path / "a.mat")


def test_tars_of_others_are_never_deleted(tmp_path):
    pytest.importorskip("webdataset")

    def records(good):
        yield Record(np.zeros((8, 8, 3), np.uint8), np.eye(3), "a")
        if not good:
            raise RuntimeError("killed")

    (tmp_path / "shard-000000.tar").write_bytes(b"precious")
    with pytest.raises(InputError, match="was not written here"):
        write_shards(tmp_path, records(True), "x")
    assert (tmp_path / "shard-000000.tar").read_bytes() == b"precious"
    with pytest.raises(RuntimeError):
        write_shards(tmp_path / "ours", records(False), "x")
    assert write_shards(tmp_path / "ours", records(True), "x") == 1  # its own leftovers are replaced
    assert sorted(os.listdir(tmp_path / "ours")) == ["shard-000000.tar", "shards.json"]


def test_a_good_index_is_read(tmp_path):
    assert load_index(index(tmp_path)).takes[0].K == (50, 0, 32, 0, 50, 24, 0, 0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 900_000,
        "1" * 500_000 + "." + "1" * 400_000,
        "1:" * 400_000 + "1",
        "1_" * 400_000,
        ".1" * 400_000,
        "a: " + "0" * 900_000 + "e",
    ],
)
def test_long_numbers_in_yaml_are_text_at_once(text):
    value = parse_yaml(text)
    assert isinstance(value if not isinstance(value, dict) else value["a"], str)
