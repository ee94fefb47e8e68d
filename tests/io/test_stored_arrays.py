import hashlib
import os
import resource
from contextlib import contextmanager

import numpy as np
import pytest

from selfsup3d.errors import FatalInputError, InputError
from selfsup3d.io import stored_arrays
from selfsup3d.io.stored_arrays import StoredArray


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(24, dtype=np.int16).reshape(4, 3, 2))
    return tmp_path / "a.npy"


@contextmanager
def open_files_at_most(count):
    """A limit `count` above the lowest number that is free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_reads_as_numpy_does(file):
    stored, expected = StoredArray(file), np.load(file)
    assert (stored.shape, stored.dtype, stored.ndim, stored.size, len(stored)) == ((4, 3, 2), np.int16, 3, 24, 4)
    assert np.array_equal(stored, expected)
    assert np.array_equal(stored[1:3, 0], expected[1:3, 0])
    assert np.asarray(stored, dtype=float).dtype == float


def test_many_arrays_need_few_open_files(tmp_path):
    for number in range(200):
        np.save(tmp_path / f"{number}.npy", np.full((2, 2), number))
    with open_files_at_most(40):
        arrays = [StoredArray(tmp_path / f"{number}.npy") for number in range(200)]
        for _ in range(2):
            assert [int(array[0, 0]) for array in arrays] == list(range(200))


def test_a_limit_of_open_files_is_never_called_damage(file):
    stored = StoredArray(file)
    stored_arrays._map.cache_clear()
    with open_files_at_most(0), pytest.raises(FatalInputError, match=r"too many open files.*ulimit") as one:
        StoredArray(file)
    with open_files_at_most(0), pytest.raises(FatalInputError, match="too many open files"):
        stored[0]
    assert "damaged" not in str(one.value)
    assert stored[0, 0, 1] == 1


def test_altered_values_are_noticed_at_the_first_read(file):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert StoredArray(file, digest)[3, 2, 1] == 23
    np.save(file, 100 - np.load(file))
    with pytest.raises(FatalInputError, match="altered after it was prepared; delete"):
        StoredArray(file, digest)[0]


@pytest.mark.parametrize(
    "change", [lambda b: b[:60], lambda b: b[:-1], lambda b: b + b"x", lambda b: b"", lambda b: b"\0" * 99]
)
def test_damaged_files_are_refused(file, change):
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=r"a.npy"):
        StoredArray(file)


def test_objects_are_refused(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged header"):
        StoredArray(tmp_path / "o.npy")


def test_a_header_cannot_claim_more_than_the_file_holds(file):
    data = file.read_bytes()
    file.write_bytes(data.replace(b"(4, 3, 2)", b"(9999999)"))
    with pytest.raises(InputError, match=r"its header says|damaged header"):
        StoredArray(file)
