"""Pickles are read as data: whatever numpy and Python write comes back equal, and hostile files are refused, inert."""

import collections
import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from selfsup3d.errors import InputError
from selfsup3d.io.safe_pickle import load_npz, load_pickle, loads

PROTOCOLS = range(6)


def same(a, b):
    if isinstance(a, np.ndarray):
        if not isinstance(b, np.ndarray) or a.shape != b.shape or a.dtype.newbyteorder("=") != b.dtype:
            return False
        if a.dtype == object:
            return all(same(x, y) for x, y in zip(a.ravel(), b.ravel(), strict=True))
        return a.astype(b.dtype).tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and len(a) == len(b) and all(k in b and same(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and (a == b or (a != a and b != b))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
arrays = hnp.arrays(
    dtype=hnp.floating_dtypes() | hnp.integer_dtypes() | hnp.boolean_dtypes() | hnp.unicode_string_dtypes(max_len=5),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
hashable = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars | arrays,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(hashable, inner) | st.frozensets(hashable)
    ),
    max_leaves=12,
)


@given(value=values, protocol=st.sampled_from(PROTOCOLS))
@settings(max_examples=300)
def test_reads_what_pickle_writes(value, protocol):
    data = pickle.dumps(value, protocol)
    assert same(pickle.loads(data), loads(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_arrays_of_every_layout(protocol):
    base = np.arange(24.0).reshape(2, 3, 4)
    value = [base, base.T, base.transpose(1, 0, 2), np.asfortranarray(base), base[:, ::2], base.astype(">f4")]
    value += [np.float32(3), np.array(7), np.array([{"a": base}, [1, "x"]], dtype=object), np.zeros((0, 5))]
    value += [collections.OrderedDict(a=1), {1, 2}, frozenset("ab"), b"", bytearray(b"xy"), 10**300, -1, 2**31]
    back = loads(pickle.dumps(value, protocol))
    for a, b in zip(value, back, strict=True):
        assert same(dict(a) if isinstance(a, collections.OrderedDict) else a, b)
    assert back[0].flags.writeable


def test_shared_parts_stay_shared():
    part = [np.arange(3)]
    back = loads(pickle.dumps([part, part]))
    assert back[0] is back[1]


def test_a_structure_shared_a_million_times_is_resolved_once():
    value = []
    for _ in range(60):
        value = [value, value]
    assert isinstance(loads(pickle.dumps(value)), list)


# Written by Python 2.7 with numpy 1.16, protocols 0 and 2: {'pose': array([[1., 2.]], dtype=float32), 'name': 'caf\xe9'}
PYTHON_2 = {
    0: b"(dp1\nS'pose'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntS'b'\ntRp5\n"
    b"(I1\n(I1\nI2\ntcnumpy\ndtype\np6\n(S'f4'\nI0\nI1\ntRp7\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
    b"S'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntbsS'name'\np8\nS'caf\\xe9'\np9\ns.",
    2: b"\x80\x02}q\x01(U\x04poseq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85"
    b"U\x01b\x87Rq\x05(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87Rq\x07(K\x03U\x01<NNNJ\xff"
    b"\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tbU\x04nameq\x08U\x04caf\xe9q\tu.",
}


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_reads_pickles_of_python_2_as_latin1(protocol):
    back = loads(PYTHON_2[protocol])
    assert back["name"] == "café"
    np.testing.assert_array_equal(back["pose"], np.array([[1, 2]], np.float32))
    assert same(pickle.loads(PYTHON_2[protocol], encoding="latin1"), back)


# ---- hostile files ----


class _Call:
    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


def _canary_calls(canary):
    """Pickles that would create `canary` if anything of theirs ran."""
    touch = f"open({str(canary)!r}, 'w').close()"
    import functools
    import operator
    import runpy
    import shutil

    yield "os.system", pickle.dumps(_Call(os.system, f"touch {canary}"))
    yield "subprocess.Popen", pickle.dumps(_Call(subprocess.Popen, ["touch", str(canary)]))
    yield "eval", pickle.dumps(_Call(eval, touch))
    yield "exec", pickle.dumps(_Call(exec, touch), 2)
    yield "exec in an object array", pickle.dumps(np.array([_Call(exec, touch), None], object))
    yield "exec as a dict value", pickle.dumps({"positions_3d": {"S1": _Call(exec, touch)}})
    yield "open for writing", pickle.dumps(_Call(open, str(canary), "w"))
    yield "numpy file writer", pickle.dumps(_Call(np.savetxt, str(canary), [1.0]))
    yield "numpy memmap", pickle.dumps(_Call(np.memmap, str(canary), "u1", "w+", 0, (4,)))
    yield "ndarray.tofile", pickle.dumps(_Call(getattr, np.arange(2), "tofile"))
    yield "partial", pickle.dumps(_Call(functools.partial, os.system, f"touch {canary}"))
    yield "methodcaller", pickle.dumps(_Call(operator.methodcaller, "system", f"touch {canary}"))
    yield "shutil", pickle.dumps(_Call(shutil.copy, __file__, str(canary)))
    yield "runpy", pickle.dumps(_Call(runpy.run_path, __file__))
    yield "inst", f"(S'touch {canary}'\nios\nsystem\n.".encode()
    yield "obj", f"(cos\nsystem\nS'touch {canary}'\no.".encode()
    yield "newobj", f"cos\nsystem\n(S'touch {canary}'\nt\x81.".encode("latin1")
    yield "newobj_ex", b"\x80\x04cos\nsystem\n)}\x92."
    yield "stack_global with dots", b"\x80\x04\x8c\x02os\x8c\x0bpath.exists\x93(S'x'\ntR."
    yield "dotted allowed name", b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile\x93."
    yield "builtins under a new name", b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."


STRUCTURES = {
    "extension registry": b"\x80\x02\x82\x01.",
    "persistent id": b"Pid\n.",
    "binary persistent id": b"K\x01Q.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "build on a dict": b"}}b.",
    "build on a function (attribute poisoning)": b"cnumpy\ndtype\n(N}S'__call__'\nI1\nstb.",
    "call of a value": b"I1\n(tR.",
    "matrix subclass": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmatrix\n(I0\ntS'b'\ntR.",
    "allocation by _reconstruct": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L1000000000000L\ntS'b'\ntR.",
    "bare function": b"cnumpy\ndtype\n.",
    "array without content": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.",
    "contains itself": b"]q\x00h\x00a.",
    "nested too deep": b"]" * 5000 + b"a" * 4999 + b".",
    "deep tuple as key": b"})" + b"\x85" * 100_000 + b"I1\ns.",
    "list as key": b"}]I1\ns.",
    "list in a set": b"\x80\x04\x8f(]\x90.",
    "eight exabytes of bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
    "negative length": b"T" + struct.pack("<i", -5) + b".",
    "giant integer": b"\x8b" + struct.pack("<i", 1 << 30) + b".",
    "giant decimal": b"L" + b"9" * 100_000 + b"L\n.",
    "memo never stored": b"h\x05.",
    "mark only": b"(.",
    "mark not opened": b"t.",
    "empty": b"",
    "no stop": b"I1\n",
    "two values": b"I1\nI2\n.",
    "text file": b"positions_3d,1,2,3\n",
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "unknown protocol byte": b"\xff\xfe.",
}


def _dtype(code, state="(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"):
    return f"cnumpy\ndtype\n(S'{code}'\nI0\nI1\ntR{state}"


def _array(shape, dtype, raw):
    return f"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n{shape}{dtype}I00\n{raw}tb.".encode()


STRUCTURES |= {
    "shape beyond its bytes": _array("(I1000000\ntp1\n", _dtype("f8"), "S'abc'\n"),
    "negative shape": _array("(I-1\ntp1\n", _dtype("f8"), "S''\n"),
    "object array from bytes": _array("(I1\ntp1\n", _dtype("O8"), "S'AAAAAAAA'\n"),
    "object count": _array("(I5\ntp1\n", _dtype("O8"), "(lp2\n"),
    "structured type": _array("(I1\ntp1\n", _dtype("V8", "(I3\nS'|'\nN(S'a'\nt}I8\nI1\nI0\ntb"), "S'AAAAAAAA'\n"),
    "type with fields": _array("(I1\ntp1\n", _dtype("f8", "(I3\nS'<'\nN(S'a'\nt}I8\nI1\nI0\ntb"), "S'AAAAAAAA'\n"),
    "type by expression": _array("(I1\ntp1\n", _dtype("i4,i4"), "S'AAAAAAAA'\n"),
    "item size zero": _array("(I1000000000\ntp1\n", _dtype("S0"), "S''\n"),
    "bytes repeated through the memo": b"(T"
    + struct.pack("<i", 1 << 20)
    + bytes(1 << 20)
    + b"p9\n"
    + b"".join(_array("(I1048576\ntp1\n", _dtype("u1"), "g9\n")[:-1] for _ in range(200))
    + b"l.",
}


def test_hostile_calls_are_refused_and_inert(tmp_path):
    canary = tmp_path / "canary"
    count = 0
    for name, data in _canary_calls(canary):
        with pytest.raises(InputError, match=r"not read|not a readable"):
            loads(data, name)
        assert not canary.exists(), name
        count += 1
    assert count >= 20


@pytest.mark.parametrize("name", STRUCTURES)
def test_hostile_structures_are_refused(name):
    with pytest.raises(InputError, match=r"^file\.pkl: not "):
        loads(STRUCTURES[name], "file.pkl")


def test_a_memo_index_of_four_billion_takes_no_memory():
    assert loads(b"I1\nr\xff\xff\xff\xff.") == 1  # a real unpickler allocates 64 GB for it


def test_no_name_of_the_file_is_imported():
    code = (
        "import sys; from selfsup3d.io.safe_pickle import loads\n"
        "try: loads(b'cthis\\ns\\n.')\nexcept ValueError: pass\nassert 'this' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(data=st.binary(max_size=200) | st.sampled_from(list(STRUCTURES.values())), cut=st.integers(0, 200))
@settings(max_examples=300)
def test_garbage_raises_input_error_or_reads(data, cut):
    with contextlib.suppress(InputError):
        loads(data[:cut])


@given(place=st.integers(0, 400), byte=st.integers(0, 255), protocol=st.sampled_from(PROTOCOLS))
@settings(max_examples=400)
def test_a_flipped_byte_raises_input_error_or_reads(place, byte, protocol):
    data = bytearray(pickle.dumps({"S1": {"Walking": np.arange(12.0).reshape(2, 3, 2)}, "m": [1, "a"]}, protocol))
    data[place % len(data)] = byte
    with contextlib.suppress(InputError):
        loads(bytes(data))


# ---- files ----


def test_npz_with_object_arrays(tmp_path):
    value = {"S1": {"Walking": np.ones((4, 32, 3), np.float32)}}
    np.savez_compressed(tmp_path / "a.npz", positions_3d=value, plain=np.arange(3), names=np.array(["a", "b"]))
    back = load_npz(tmp_path / "a.npz")
    assert same(back["positions_3d"], value)
    assert back["plain"].tolist() == [0, 1, 2]
    assert back["names"].tolist() == ["a", "b"]


def test_bad_npz_files_name_themselves(tmp_path):
    np.savez(tmp_path / "good.npz", a=np.array({"x": np.arange(100)}, object))
    raw = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "text.npz").write_text("404: Not Found")
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    with zipfile.ZipFile(tmp_path / "evil.npz", "w") as archive:
        archive.writestr("positions_3d.npy", buffer.getvalue() + pickle.dumps(_Call(os.system, "true")))
    for name in ("cut", "text", "evil", "absent"):
        with pytest.raises(InputError, match=f"{name}.npz"):
            load_npz(tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match="unpacks to"):
        load_npz(tmp_path / "good.npz", max_bytes=100)


def test_pickle_files(tmp_path):
    (tmp_path / "a.pkl").write_bytes(PYTHON_2[2])
    assert load_pickle(tmp_path / "a.pkl")["name"] == "café"
    with pytest.raises(InputError, match=r"b\.pkl: no such file"):
        load_pickle(tmp_path / "b.pkl")
    with pytest.raises(InputError, match="bytes"):
        load_pickle(tmp_path / "a.pkl", max_bytes=3)
