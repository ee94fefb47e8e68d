"""Files that declare more than they hold: refused at once, in little memory, whichever reader they are given to."""

import contextlib
import io
import json
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from selfsup3d.config.load import load_config
from selfsup3d.data.datasets.frame_index import load_index
from selfsup3d.data.sampling.shards import ShardSource
from selfsup3d.errors import InputError
from selfsup3d.io.json_yaml import parse_yaml
from selfsup3d.io.limits import check_mat, stored_array
from selfsup3d.io.safe_pickle import load_npz

MOST = 500e6  # bytes


@contextlib.contextmanager
def refused(match):
    """The body raises InputError, and takes little memory until then."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=match):
            yield
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


def npy(shape, values=b"", dtype="<f8"):
    """An npy file of any header."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + values


def test_npz_that_unfolds_to_gigabytes(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        file.write(npy((2**27,)))
        for _ in range(64):
            file.write(bytes(2**20 * 4))
    assert (tmp_path / "a.npz").stat().st_size < 2**20
    with refused("declares 268,.* bytes but holds"):
        load_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(2**40,), (2**20, 2**20), (2**62, 4)])
def test_npz_whose_header_claims_more(tmp_path, shape):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", npy(shape, bytes(64)))
    with refused("not a readable array"):
        load_npz(tmp_path / "a.npz")


def test_packed_poses_are_read(tmp_path):
    """Whole numbers, zeros and poses compress well and are no attack."""
    arrays = {
        "zeros": np.zeros((1000, 17, 3), np.float32),
        "poses": np.random.default_rng(0).normal(size=(1000, 17, 3)),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    assert np.array_equal(load_npz(tmp_path / "a.npz")["poses"], arrays["poses"])


@pytest.mark.parametrize("chunks", [None, (2**20,)])
def test_hdf5_that_stores_nothing_of_what_it_declares(tmp_path, chunks):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (2**36,), "f8", chunks=chunks)
        file.create_dataset("b", (2**24,), "f8", chunks=chunks or (2**20,))
        file["text"] = "x"
        file["whole"] = np.arange(6.0)
    with h5py.File(tmp_path / "a.h5") as file:
        for name in ("a", "b", "text"):
            with refused("declares|expected an array of numbers"):
                stored_array(file[name], "a.h5")
        assert stored_array(file["whole"], "a.h5").tolist() == [0, 1, 2, 3, 4, 5]


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(shape, kind=6, inside=b""):
    dims = struct.pack(f"<{len(shape)}i", *shape)
    return element(14, element(6, struct.pack("<II", kind, 0)) + element(5, dims) + element(1, b"annot2") + inside)


def mat(body):
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + body


def packed(body):
    data = zlib.compress(body)
    return struct.pack("<II", 15, len(data)) + data


@pytest.mark.parametrize(
    "body",
    [
        matrix((2**30, 1)), matrix((2**30, 1), kind=1), matrix((-5, 2)), packed(matrix((2**30, 2))),
        matrix((1, 1), kind=1, inside=matrix((2**30, 3))), matrix((1, 1), kind=2), struct.pack("<II", 14, 2**31),
        packed(bytes(2**28)), matrix((3,), inside=element(9, bytes(24)))[:50],
    ],
)  # fmt: skip
def test_matlab_files_that_declare_more_than_they_hold(tmp_path, body):
    (tmp_path / "a.mat").write_bytes(mat(body).ljust(200, b"\0"))
    with refused("declares|declare more|cut off|structures"):
        check_mat(tmp_path / "a.mat")


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


# ---- shards ----


def listing(folder, samples=1, **more):
    facts = {
        "format": 1,
        "dataset": "x",
        "size": 8,
        "shards": [{"name": "shard-000000.tar", "samples": samples}],
        **more,
    }
    (folder / "shards.json").write_text(json.dumps(facts))


@pytest.mark.parametrize("samples", [10**9, 10**6, 0, -1, 1.5, "x", None])
def test_shards_that_claim_more_samples_than_fit(tmp_path, samples):
    (tmp_path / "shard-000000.tar").write_bytes(bytes(10240))
    listing(tmp_path, samples)
    with refused("no finished shards"):
        ShardSource(tmp_path, 8)


@pytest.mark.parametrize(
    "change", [{"size": 10**9}, {"shards": []}, {"notes": [1]}, {"dataset": 5}, {"format": 2}, {"shards": {}}]
)
def test_listings_of_other_kinds(tmp_path, change):
    listing(tmp_path, **change)
    with refused("no finished shards"):
        ShardSource(tmp_path, 8)


def test_sparse_members_are_refused(tmp_path):
    """A file of 4 GB that takes 1 kB, as GNU tar writes it."""
    pytest.importorskip("webdataset")
    name = tmp_path / "shard-000000.tar"
    with tarfile.open(name, "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("0.jpg")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "0.jpg",
                            "GNU.sparse.realsize": str(2**32)}  # fmt: skip
        content = b"1\n0\n1\n".ljust(512, b"\0") + b"x" * 512
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    listing(tmp_path)
    with refused("damaged shard"):
        ShardSource(tmp_path, 8).frames(np.array([0]))


GOOD = {"person": "a", "K": np.eye(3).tolist(), "meta": {}, "labels": {"joints_3d": [[0, 0, 1]] * 17}}


@pytest.mark.parametrize(
    "change",
    [
        {"K": [[1, 2], [3]]}, {"K": [["x"] * 3] * 3}, {"K": [[1e300] * 3] * 3}, {"K": None}, {"person": 5}, {"person": None},
        {"labels": {"joints_3d": [[0, 0]] * 17}}, {"labels": {"joints_3d": [[0, 0, 1]]}}, {"labels": {"joints_2d": "x"}},
        {"labels": {"confidence": [None] * 5}}, {"labels": []}, {"meta": []}, {"meta": {"a": {}}},
        {"labels": {"joints_3d": [[{}, 0, 1]] * 17}},
    ],
)  # fmt: skip
def test_facts_of_samples_are_validated_once(tmp_path, change):
    pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "shard-000000.tar", "w") as archive:
        for suffix, data in (("jpg", b"x"), ("json", json.dumps({**GOOD, **change}).encode())):
            info = tarfile.TarInfo(f"0.{suffix}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    listing(tmp_path)
    with refused(r"sample 0"):
        ShardSource(tmp_path, 8, labels=True).frames(np.array([0]))


def test_tars_of_others_are_never_deleted(tmp_path):
    pytest.importorskip("webdataset")
    from selfsup3d.data.sampling.shards_write import Record, write_shards

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


# ---- indices ----

TAKE = {
    "name": "S1/a/0", "subject": "S1", "action": "a", "person": "S1", "camera": "0", "split": "train",
    "image": "v/img_{:06d}.jpg", "fps": 10.0, "width": 64, "height": 48, "static_camera": True, "K": [50, 0, 32, 0, 50, 24, 0, 0, 1],
}  # fmt: skip


def index(path, take=None, arrays=None, **header):
    facts = {
        "format": 2,
        "dataset": "x",
        "root": "/",
        "takes": [{**TAKE, **(take or {})}],
        "left_out": {},
        "notes": {},
        **header,
    }
    rows = {
        "take": np.zeros(2, np.int32), "frame": np.arange(2, dtype=np.int32), "box": np.ones((2, 4), np.float32),
        "joints_3d": np.ones((2, 17, 3), np.float32), "joints_2d": np.ones((2, 17, 2), np.float32),
        "confidence": np.ones((2, 17), np.float32), **(arrays or {}),
    }  # fmt: skip
    np.savez(path, header=np.array(json.dumps(facts)), **rows)
    return path


def test_a_good_index_is_read(tmp_path):
    assert load_index(index(tmp_path / "i.npz")).takes[0].K == (50, 0, 32, 0, 50, 24, 0, 0, 1)


@pytest.mark.parametrize(
    "take",
    [
        {"camera": "../../victim"}, {"camera": "a/b"}, {"camera": ""}, {"camera": 5}, {"image": "/etc/passwd"},
        {"image": "../x.mp4"}, {"image": "a_{:02000000000d}.jpg"}, {"image": "{0.__class__}.jpg"}, {"image": "{:d}{:d}"},
        {"mask": "../m.mat"}, {"width": 10**9}, {"width": -1}, {"height": "x"}, {"fps": float("inf")}, {"fps": -1},
        {"K": [1, 2]}, {"K": "x"}, {"K": [None] * 9}, {"name": None}, {"distortion": [0] * 99},
    ],
)  # fmt: skip
def test_takes_are_validated_at_the_door(tmp_path, take):
    with refused(r"i\.npz: not an index of frames"):
        load_index(index(tmp_path / "i.npz", take))


@pytest.mark.parametrize(
    "change",
    [{"takes": 5}, {"takes": [[]]}, {"left_out": []}, {"notes": {"a": []}}, {"root": None}, {"dataset": "x" * 999}],
)
def test_headers_are_validated_at_the_door(tmp_path, change):
    with refused(r"i\.npz"):
        load_index(index(tmp_path / "i.npz", **change))


@pytest.mark.parametrize(
    "arrays",
    [{"take": np.array(0)}, {"take": np.zeros((2, 2), np.int32)}, {"take": np.array([0, 7], np.int32)}, {"take": np.zeros(2)},
     {"box": np.ones((2, 4))}, {"frame": np.zeros(3, np.int32)}],
)  # fmt: skip
def test_rows_are_validated_at_the_door(tmp_path, arrays):
    with refused(r"i\.npz"):
        load_index(index(tmp_path / "i.npz", arrays=arrays))


# ---- texts ----


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


@pytest.mark.parametrize("setting", ["blocks: 1000000000", "width: 1000000000", "width: 99999999999999999999"])
def test_networks_of_impossible_size_are_refused(tmp_path, setting):
    (tmp_path / "c.yaml").write_text(f"system:\n  kind: martinez\n  {setting}\n")
    with refused("less than or equal to"):
        load_config(tmp_path / "c.yaml")
