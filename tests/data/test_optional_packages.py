"""Readers that need an optional package say which one and how to get it."""

import sys

import numpy as np
import pytest

from selfsup3d.data.datasets.h36m import readers
from selfsup3d.data.datasets.h36m.cameras import load_cameras
from selfsup3d.data.datasets.index_build import build_index
from selfsup3d.data.datasets.masks import GivenMasks
from selfsup3d.data.datasets.mpi_inf_3dhp import find_mpi_inf_3dhp
from selfsup3d.data.sampling.shards_write import write_shards
from selfsup3d.errors import InputError


def _cdf(folder):
    readers._cdf(folder / "a.cdf", 3)


def _annotation(folder):
    readers._h5(folder / "annot.h5", ("pose/2d",))


def _cameras(folder):
    load_cameras(folder / "cameras.h5")


def _train(folder):
    (folder / "S1/Seq1").mkdir(parents=True)
    (folder / "S1/Seq1/annot.mat").write_bytes(b"x")
    build_index(find_mpi_inf_3dhp(folder), progress=False, max_failed=0)


def _test(folder):
    (folder / "TS1").mkdir()
    (folder / "TS1/annot_data.mat").write_bytes(b"x")
    build_index(find_mpi_inf_3dhp(folder), progress=False, max_failed=0)


def _masks(folder):
    class Take:
        mask, mask_shift = "m.mat", 0

    GivenMasks(folder).crop(Take(), 0, np.eye(3), 8)


def _shards(folder):
    write_shards(folder / "s", [], "d")


@pytest.mark.parametrize(
    ("package", "read"),
    [
        ("cdflib", _cdf),
        ("h5py", _annotation),
        ("h5py", _cameras),
        ("scipy.io", _train),
        ("h5py", _test),
        ("h5py", _masks),
        ("webdataset", _shards),
    ],
)
def test_missing_packages_are_named(tmp_path, monkeypatch, package, read):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package.split('.')[0]}: pip install -e '\.\[datasets\]'"):
        read(tmp_path)
