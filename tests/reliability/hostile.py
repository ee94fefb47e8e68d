"""Files made to do harm, by class: each must be refused by an InputError, at once and in little memory, and nothing of
theirs may run, be followed or be written.

A case writes its files into a folder of its own and is then given to a reader.
"""

import functools
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from selfsup3d.builders.systems import build_system, load_system
from selfsup3d.config.load import load_config
from selfsup3d.data.datasets.frame_index import load_index
from selfsup3d.data.datasets.h36m.cameras import load_cameras
from selfsup3d.data.datasets.h36m.layouts import find_h36m
from selfsup3d.data.mocap.asf_amc import read_amc
from selfsup3d.data.mocap.bvh import read_bvh
from selfsup3d.data.mocap.expmap import read_expmap
from selfsup3d.data.mocap.joint_tables import load_table
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.sampling.clip_store import ClipStore
from selfsup3d.data.sampling.shards import ShardSource
from selfsup3d.demo.door import received
from selfsup3d.demo.images import read_upload
from selfsup3d.evaluation.records import load_frames
from selfsup3d.evaluation.reference_2d import load_reference
from selfsup3d.inference.keypoint_files import read_people
from selfsup3d.inference.motion import load_motion
from selfsup3d.inference.records import load_record
from selfsup3d.io import pretrained
from selfsup3d.io.images import read_image
from selfsup3d.io.limits import check_mat, stored_array
from selfsup3d.io.safe_pickle import load_npz, load_pickle
from selfsup3d.io.stored_arrays import StoredArray
from selfsup3d.io.video import read_frames
from selfsup3d.preparation.boxes import read_boxes
from selfsup3d.preparation.videos import find_clips
from tests.data.generators import h36m as h36m_trees
from tests.io.test_safe_pickle import STRUCTURES, _Call, _canary_calls
from tests.launch.test_odd_images import chunk, giant_png
from tests.reliability.doors import clips, index_arrays, model, scene, shards, small
from tests.test_archives import NAMES

__all__ = ["HOSTILE", "Hostile"]

CANARY = "canary"
"""A file that would appear in the case's folder if anything of its pickles ran."""


@dataclass(frozen=True)
class Hostile:
    """One case.

    Attributes:
        kind: its class, as the page names it.
        name: of the case within its class.
        write: makes its files in a folder and returns what is to be read.
        read: the reader.
        told: pattern that the refusal has.
    """

    kind: str
    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    told: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def file(name: str, data: bytes | str) -> Callable[[Path], Path]:
    """Writes one file."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        return folder / name

    return write


def every_frame(path: Path) -> None:
    for _ in read_frames(path):
        pass


# ---- more declared than held ----


def header(shape: tuple[int, ...], values: bytes = b"", dtype: str = "<f8") -> bytes:
    """An npy file of any header."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + values


def unfolding(member: str, folder: Path) -> Path:
    """An npz of a few hundred kilobytes with 268 million bytes of zeros."""
    with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w") as out:
        out.write(header((2**25,)))
        for _ in range(64):
            out.write(bytes(2**22))
    return folder / "a.npz"


def claiming(shape: tuple[int, ...], folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("a.npy", header(shape, bytes(64)))
    return folder / "a.npz"


def hdf5(make: Callable[[Any, Path], None], folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "a.h5", "w") as out:
        make(out, folder)
    return folder / "a.h5"


def read_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path) as stored:
        stored_array(stored["a"], path)


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(shape: tuple[int, ...], kind: int = 6, inside: bytes = b"") -> bytes:
    dims = struct.pack(f"<{len(shape)}i", *shape)
    return element(14, element(6, struct.pack("<II", kind, 0)) + element(5, dims) + element(1, b"annot2") + inside)


def packed(body: bytes) -> bytes:
    data = zlib.compress(body)
    return struct.pack("<II", 15, len(data)) + data


def mat(body: bytes) -> bytes:
    return (b"MATLAB 5.0".ljust(124) + b"\0\1IM" + body).ljust(200, b"\0")


MATLAB = {
    "a column of 2^30": lambda: matrix((2**30, 1)),
    "2^30 cells": lambda: matrix((2**30, 1), kind=1),
    "a negative size": lambda: matrix((-5, 2)),
    "2^31 values, compressed": lambda: packed(matrix((2**30, 2))),
    "a cell of 2^30 rows": lambda: matrix((1, 1), kind=1, inside=matrix((2**30, 3))),
    "structures": lambda: matrix((1, 1), kind=2),
    "an element of 2 GB": lambda: struct.pack("<II", 14, 2**31),
    "256 MB of zeros, compressed": lambda: packed(bytes(2**28)),
    "a cell that is cut off": lambda: matrix((3,), inside=element(9, bytes(24)))[:50],
}


def listing(folder: Path, samples: Any = 1, **more: Any) -> Path:
    facts = {
        "format": 1,
        "dataset": "x",
        "size": 8,
        "shards": [{"name": "shard-000000.tar", "samples": samples}],
        **more,
    }
    (folder / "shards.json").write_text(json.dumps(facts))
    if not (folder / "shard-000000.tar").exists():
        (folder / "shard-000000.tar").write_bytes(bytes(10240))
    return folder


def sparse_member(folder: Path) -> Path:
    """A member of 4 GB that takes 1 kB, as GNU tar writes it."""
    with tarfile.open(folder / "shard-000000.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("0.jpg")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "0.jpg",
                            "GNU.sparse.realsize": str(2**32)}  # fmt: skip
        content = b"1\n0\n1\n".ljust(512, b"\0") + b"x" * 512
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return listing(folder)


def first_sample(folder: Path) -> None:
    ShardSource(folder, 8, labels=True).frames(np.array([0]))


def safetensors(header_bytes: bytes, length: int | None = None, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header_bytes) if length is None else length) + header_bytes + body


def declared() -> Iterator[Hostile]:
    kind = "declares more than it holds"
    for member, read in (("a.npy", load_npz), ("positions.npy", partial(load_mocap, split="all")), ("index.npy", load_frames),
                         ("joints_3d.npy", load_record), ("a/pixels.npy", load_reference), ("x.npy", load_motion)):  # fmt: skip
        yield Hostile(kind, f"npz that unfolds ({member})", partial(unfolding, member), read, "declares 268,")
    for shape in ((2**40,), (2**20, 2**20), (2**62, 4)):
        yield Hostile(kind, f"npz of shape {shape}", partial(claiming, shape), load_npz, "not a readable array")
    yield Hostile(kind, "npy", file("a.npy", header((2**40,), bytes(64))), StoredArray, "its header says")
    for chunks in (None, (2**20,)):
        yield Hostile(kind, f"HDF5 of 512 GB, chunks {chunks}", partial(hdf5, lambda out, _, c=chunks: out.create_dataset(
            "a", (2**36,), "f8", chunks=c)), read_hdf5, "declares")  # fmt: skip
    yield Hostile(
        kind, "HDF5 of text", partial(hdf5, lambda out, _: out.__setitem__("a", "x")), read_hdf5, "array of numbers"
    )
    for name, body in MATLAB.items():
        yield Hostile(kind, f"MATLAB, {name}", lambda folder, body=body: file("a.mat", mat(body()))(folder), check_mat,
                      "declares|declare more|cut off|structures")  # fmt: skip
    for samples in (10**9, 10**6, 0, -1, 1.5, "x", None):
        yield Hostile(
            kind, f"shards of {samples!r} samples", partial(listing, samples=samples), first_sample, "no finished"
        )
    for change in ({"size": 10**9}, {"shards": []}, {"notes": [1]}, {"dataset": 5}, {"format": 2}, {"shards": {}}):
        yield Hostile(kind, f"listing with {change}", partial(listing, **change), first_sample, "no finished shards")
    yield Hostile(kind, "sparse member of a tar", sparse_member, first_sample, "damaged shard")
    whole = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,8]}}'
    for name, data in {"of 4 TB": safetensors(whole, body=bytes(8)), "with a header of 8 EB": safetensors(b"{}", 2**63),
                       "without a header": bytes(8)}.items():  # fmt: skip
        yield Hostile(kind, f"safetensors {name}", file("a.safetensors", data), pretrained.read_tensors, "damaged")
    for setting in ("blocks: 1000000000", "width: 1000000000", "width: 99999999999999999999"):
        text = f"system:\n  kind: martinez\n  {setting}\n"
        yield Hostile(kind, f"config with {setting}", file("c.yaml", text), load_config, "less than or equal to")


# ---- files too large to be read ----

LARGE: dict[str, Callable[[Path], Any]] = {
    "a.json": read_people, "a.boxes.json": read_boxes, "a.boxes.csv": read_boxes, "a.yaml": load_config, "b.yaml": load_table,
    "a.bvh": read_bvh, "a.amc": read_amc, "a.txt": partial(read_expmap), "a.png": read_image, "metadata.xml": load_cameras,
    "cameras.json": load_cameras, "h36m_dataset.py": load_cameras, "a.pkl": load_pickle, "a.png ": read_upload,
}  # fmt: skip


def sparse(name: str, folder: Path) -> Path:
    """Eight gigabytes of nothing, on no disk."""
    path = folder / name.strip()
    with path.open("wb") as out:
        out.truncate(2**33)
    return path


def pipe(name: str, folder: Path) -> Path:
    os.mkfifo(folder / name.strip())
    return folder / name.strip()


def large() -> Iterator[Hostile]:
    for name, read in LARGE.items():
        yield Hostile(
            "eight gigabytes", name.strip() + (" (upload)" if name.endswith(" ") else ""), partial(sparse, name), read
        )
    for name, read in LARGE.items():
        yield Hostile("pipe that nobody writes", name.strip() + (" (upload)" if name.endswith(" ") else ""), partial(pipe, name),
                      read)  # fmt: skip
    yield Hostile("pipe that nobody writes", "a.avi", partial(pipe, "a.avi"), every_frame)
    yield Hostile("pipe that nobody writes", "a.npz", partial(pipe, "a.npz"), load_record)


# ---- pictures and films ----


def bmp(side: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    )


def jpeg(side: int) -> bytes:
    """A JPEG whose header says another size."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def gif(side: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0xF7, 0, 0) + bytes(768) + b"," + struct.pack(
        "<HHHHB", 0, 0, side, side, 0) + b"\x08\x02\x4c\x01\x00;"  # fmt: skip


RADIANCE = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n" + bytes(4096)
PLAYLISTS = {
    "HLS": "#EXTM3U\n#EXTINF:1,\nsecret.avi\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile secret.avi\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "DASH": '<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>secret.avi</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
}


def zipped_text(size: int) -> bytes:
    """A PNG with a text of `size` zeros, compressed."""
    text = b"x\0\0" + zlib.compress(bytes(size))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    return start + chunk(b"zTXt", text) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def images() -> Iterator[Hostile]:
    kind = "picture or film"
    giants = {"PNG": giant_png, "BMP": bmp, "JPEG": jpeg, "PPM": lambda side: b"P6\n%d %d\n255\n" % (side, side)}
    for name, make in giants.items():
        yield Hostile(kind, f"{name} of 400 million pixels", lambda f, make=make: file("a.png", make(20_000))(f), read_image,
                      "pixels|damaged|not an image")  # fmt: skip
        yield Hostile(kind, f"{name} of 400 million pixels, uploaded", lambda f, make=make: file("a.png", make(20_000))(f),
                      read_upload, "pixels|damaged|not an image")  # fmt: skip
    for name, data in {
        "Radiance": RADIANCE, "OpenEXR": b"v/1\x01" + bytes(4096), "PFM": b"PF\n30000 30000\n-1.0\n" + bytes(4096),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "Sun raster": b"\x59\xa6\x6a\x95" + struct.pack(">7I", 30000, 30000, 24, 0, 1, 0, 0) + bytes(99),
    }.items():  # fmt: skip
        yield Hostile(kind, f"{name} called a.png", file("a.png", data), read_image, "not an image|pixels")
        yield Hostile(kind, f"{name} called a.png, uploaded", file("a.png", data), read_upload, "image")
    yield Hostile(
        kind, "PNG with 256 MB of text", lambda f: file("a.png", zipped_text(2**28))(f), read_image, "not an image"
    )
    yield Hostile(kind, "GIF of 60,000 px", file("a.gif", gif(60_000)), every_frame)
    for name, text in PLAYLISTS.items():
        for suffix in (".mp4", ".avi"):
            yield Hostile(
                kind, f"playlist ({name}) called a{suffix}", file(f"a{suffix}", text), every_frame, "not a video"
            )


# ---- nesting, bombs and long numbers ----

DEEP = "[" * 100_000 + "]" * 100_000
NESTED: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "JSON keypoints": ("a.json", read_people, DEEP),
    "JSON boxes": ("a.boxes.json", read_boxes, DEEP),
    "JSON cameras": ("cameras.json", load_cameras, DEEP),
    "YAML config": ("a.yaml", load_config, "[" * 100_000),
    "YAML table": ("a.yaml", load_table, "[" * 100_000),
    "YAML of aliases": ("a.yaml", load_config, "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))),
    "YAML object": ("a.yaml", load_config, "a: !!python/object/apply:os.system ['touch canary']\n"),
    "Python brackets": ("h36m_dataset.py", load_cameras, "h36m_cameras_intrinsic_params = " + DEEP),
    "Python minus signs": ("h36m_dataset.py", load_cameras, "h36m_cameras_intrinsic_params = " + "-" * 100_000 + "1"),
    "Python attributes": ("h36m_dataset.py", load_cameras, "h36m_cameras_intrinsic_params = a" + ".a" * 100_000),
    "Python call": ("h36m_dataset.py", load_cameras, "h36m_cameras_intrinsic_params = __import__('os').system('touch canary')\n"
                    "h36m_cameras_extrinsic_params = {}"),
    "Python power": ("h36m_dataset.py", load_cameras, "h36m_cameras_intrinsic_params = 9**9**9**9\n"
                     "h36m_cameras_extrinsic_params = {}"),
    "XML of entities": ("metadata.xml", load_cameras, '<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {c} "{f"&{p};" * 10}">' for p, c in zip("abcdefgh", "bcdefghi", strict=True)) + "]><m><w0>&i;</w0></m>"),
    "XML of a foreign file": ("metadata.xml", load_cameras,
                              '<!DOCTYPE m [<!ENTITY a SYSTEM "file:///etc/passwd">]><m><w0>&a;</w0></m>'),
    "XML elements": ("metadata.xml", load_cameras, "<a>" * 100_000 + "</a>" * 100_000),
    "XML in UTF-16": ("metadata.xml", load_cameras, ""),
    "boxes of frames 0 and 10^12": ("a.boxes.csv", read_boxes, "frame,x,y,width,height\n0,1,1,9,9\n0,2,2,9,9\n1e12,1,1,9,9\n"),
    "a number of 10^6 digits in JSON": ("a.json", read_people, "[" + "9" * 10**6 + "]"),
    "a line of 10^7 numbers in motion": ("a.txt", read_expmap, "1 " * 10**7),
    "BVH that announces 10^12 frames": ("a.bvh", read_bvh, "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition "
                                        "Zposition\nEnd Site\n{\nOFFSET 0 1 0\n}\n}\nMOTION\nFrames: 1000000000000\n"
                                        "Frame Time: 0.1\n"),
    "BVH of 10^5 joints in one another": ("a.bvh", read_bvh, "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\n"
                                          + "JOINT b\n{\nOFFSET 0 0 0\n" * 100_000 + "}\n" * 100_001 + "MOTION\n"),
}  # fmt: skip


def nested() -> Iterator[Hostile]:
    for name, (called, read, text) in NESTED.items():
        data: bytes | str = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE m [<!ENTITY a "b">]><m><w0>&a;</w0></m>'.encode(
            "utf-16") if name == "XML in UTF-16" else text  # fmt: skip
        yield Hostile("nesting and expansion", name, file(called, data), read)


# ---- what would run ----


def pickles() -> Iterator[Hostile]:
    names = [name for name, _ in _canary_calls(Path(CANARY))]
    for name in names:

        def write(folder: Path, name: str = name) -> Path:
            return file("a.pkl", dict(_canary_calls(folder / CANARY))[name])(folder)

        yield Hostile("pickle that calls", name, write, load_pickle, "not read|not a readable")
    for name, data in STRUCTURES.items():
        yield Hostile("malformed pickle", name, file("a.pkl", data), load_pickle, "not ")

    def inside(folder: Path) -> Path:
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
        call = pickle.dumps(_Call(os.system, f"touch {folder / CANARY}"))
        with zipfile.ZipFile(folder / "a.npz", "w") as archive:
            for name in ("positions", "joints_3d", "index", "poses", "trans", "a/pixels", "header", "J_regressor"):
                archive.writestr(f"{name}.npy", buffer.getvalue() + call)
        return folder / "a.npz"

    readers: dict[str, Callable[[Path], Any]] = {
        "plain": load_npz, "mocap": partial(load_mocap, split="all"), "poses": load_record, "per frame": load_frames,
        "reference": load_reference, "index": load_index, "motion": load_motion,
    }  # fmt: skip
    for name, read in readers.items():
        yield Hostile("pickle that calls", f"in an npz ({name})", inside, read)


# ---- what leads out of its folder ----


def changed_listing(
    name: str, change: Callable[[dict[str, Any]], None], make: Callable[[Path], Any], folder: Path
) -> Path:
    make(folder)
    facts = json.loads((folder / name).read_text())
    change(facts)
    (folder / name).write_text(json.dumps(facts))
    return folder


def index(folder: Path, take: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None, **more: Any) -> Path:
    """An index of frames with some facts changed."""
    values = index_arrays()
    facts = json.loads(str(values["header"]))
    facts = {**facts, "takes": [{**facts["takes"][0], **(take or {})}], **more}
    np.savez(folder / "i.npz", **{**values, "header": np.array(json.dumps(facts)), **(arrays or {})})
    return folder / "i.npz"


TAKES: list[dict[str, Any]] = [
    {"camera": "../../victim"}, {"camera": "a/b"}, {"camera": ""}, {"camera": 5}, {"image": "/etc/passwd"},
    {"image": "../x.mp4"}, {"image": "a_{:02000000000d}.jpg"}, {"image": "{0.__class__}.jpg"}, {"image": "{:d}{:d}"},
    {"mask": "../m.mat"}, {"width": 10**9}, {"width": -1}, {"height": "x"}, {"fps": float("inf")}, {"fps": -1},
    {"K": [1, 2]}, {"K": "x"}, {"K": [None] * 9}, {"name": None}, {"distortion": [0] * 99},
]  # fmt: skip
ROWS: list[dict[str, Any]] = [
    {"take": np.array(0)}, {"take": np.zeros((2, 2), np.int32)}, {"take": np.array([0, 7], np.int32)}, {"take": np.zeros(2)},
    {"box": np.ones((2, 4))}, {"frame": np.zeros(3, np.int32)},
]  # fmt: skip
HEADERS: list[dict[str, Any]] = [
    {"takes": 5}, {"takes": [[]]}, {"left_out": []}, {"notes": {"a": []}}, {"root": None}, {"dataset": "x" * 999},
]  # fmt: skip
SAMPLE = {"person": "a", "K": np.eye(3).tolist(), "meta": {}, "labels": {"joints_3d": [[0, 0, 1]] * 17}}
SAMPLES: list[dict[str, Any]] = [
    {"K": [[1, 2], [3]]}, {"K": [["x"] * 3] * 3}, {"K": [[1e300] * 3] * 3}, {"K": None}, {"person": 5}, {"person": None},
    {"labels": {"joints_3d": [[0, 0]] * 17}}, {"labels": {"joints_3d": [[0, 0, 1]]}}, {"labels": {"joints_2d": "x"}},
    {"labels": {"confidence": [None] * 5}}, {"labels": []}, {"meta": []}, {"meta": {"a": {}}},
    {"labels": {"joints_3d": [[{}, 0, 1]] * 17}},
]  # fmt: skip


def sample(change: dict[str, Any], folder: Path) -> Path:
    with tarfile.open(folder / "shard-000000.tar", "w") as archive:
        for suffix, data in (("jpg", b"x"), ("json", json.dumps({**SAMPLE, **change}).encode())):
            info = tarfile.TarInfo(f"0.{suffix}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return listing(folder)


def outside() -> Iterator[Hostile]:
    kind = "leads out of its folder"
    names = [name for name in NAMES if name not in ("", "ABSOLUTE/evil", "~/evil")]
    for name in names:
        yield Hostile(kind, f"clip {name[:20]!r}", partial(changed_listing, "store.json", lambda facts, name=name: facts.update(
            clips=[name]), clips), ClipStore)  # fmt: skip
        yield Hostile(kind, f"shard {name[:20]!r}", partial(changed_listing, "shards.json", lambda facts, name=name: facts[
            "shards"][0].update(name=name), shards), first_sample)  # fmt: skip
        yield Hostile(kind, f"listed video {name[:20]!r}", file("clips.json", json.dumps({name: {}})), lambda p: find_clips(
            p.parent))  # fmt: skip
    for name in names[:4]:

        def cameras(folder: Path, name: str = name) -> Path:
            h36m_trees.npz(folder, scene())
            facts = json.loads((folder / "cameras.json").read_text())
            facts["intrinsics"][0]["id"] = name
            (folder / "cameras.json").write_text(json.dumps(facts))
            return folder

        yield Hostile(
            kind, f"camera {name!r}", cameras, lambda folder: [part.read() for part in find_h36m(folder).parts]
        )
    for take in TAKES:
        yield Hostile(
            "values at the door", f"take with {str(take)[:40]}", partial(index, take=take), load_index, "not an index"
        )
    for change in HEADERS:
        yield Hostile(
            "values at the door", f"index with {str(change)[:40]}", partial(index, **change), load_index, r"i\.npz"
        )
    for rows in ROWS:
        yield Hostile(
            "values at the door", f"rows with {str(rows)[:40]}", partial(index, arrays=rows), load_index, r"i\.npz"
        )
    for change in SAMPLES:
        yield Hostile(
            "values at the door", f"sample with {str(change)[:40]}", partial(sample, change), first_sample, "sample 0"
        )

    def external(out: Any, folder: Path) -> None:
        (folder / "secret").write_bytes(bytes(800))
        out.create_dataset("a", (100,), "f8", external=[(str(folder / "secret"), 0, 800)])

    def linked(out: Any, folder: Path) -> None:
        import h5py

        hdf5_other(folder)
        out["a"] = h5py.ExternalLink(str(folder / "other.h5"), "a")

    def virtual(out: Any, folder: Path) -> None:
        import h5py

        hdf5_other(folder)
        layout = h5py.VirtualLayout((6,), "f8")
        layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "a", (6,))
        out.create_virtual_dataset("a", layout)

    for make in (external, linked, virtual):
        yield Hostile(kind, f"HDF5, {make.__name__} values", partial(hdf5, make), read_hdf5, "another file")
    link = functools.partial(link_out)
    yield Hostile(
        kind, "upload that is a link", link, lambda p: received({"path": str(p)}, p.parent, []), "not uploaded"
    )
    for raw in (5, "x.png", [], {}, {"path": 5}, {"path": "a\0b"}, {"path": None}, {"path": ""}, {"path": "."},
                {"path": "/etc/passwd"}, {"path": "../../etc/passwd"}, {"path": "file:///etc/passwd"}):  # fmt: skip
        yield Hostile(kind, f"request for {raw!r}", lambda folder: folder, lambda folder, raw=raw: received(raw, folder, []),
                      "not uploaded")  # fmt: skip


def hdf5_other(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "other.h5", "w") as out:
        out["a"] = np.arange(6.0)


def link_out(folder: Path) -> Path:
    (folder / "link.png").symlink_to("/etc/passwd")
    return folder / "link.png"


# ---- models ----


def changed_model(change: Callable[[dict[str, Any]], None], folder: Path) -> Path:
    model(folder)
    path = folder / "model" / "config.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    return folder / "model"


def of_systems(system: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda facts: facts["config"].update(system=system)


def not_finite(value: float, folder: Path) -> Path:
    config = small()
    system = build_system(config)
    with torch.no_grad():
        next(iter(system.parameters())).view(-1)[0] = value
    pretrained.save_pretrained(folder / "model", system, config.to_dict(), "a card")
    return folder / "model"


def models() -> Iterator[Hostile]:
    kind = "model"
    for backbone in (
        "hf-hub:timm/resnet18.a1_in1k",
        "local-dir:/etc",
        "hf_hub:x/y",
        "../../etc",
        "/etc/passwd",
        "resnet18:x",
    ):
        yield Hostile(kind, f"backbone {backbone}", partial(changed_model, of_systems(
            {"kind": "part_guided", "backbone": backbone})), load_system)  # fmt: skip
        yield Hostile(kind, f"image encoder {backbone}", partial(changed_model, of_systems(
            {"kind": "cross_modal", "backbone": backbone})), load_system)  # fmt: skip
    yield Hostile(
        kind, "of a newer version", partial(changed_model, lambda facts: facts.update(format=99)), load_system
    )
    yield Hostile(
        kind, "without a config", partial(changed_model, lambda facts: facts.update(config=None)), load_system
    )
    yield Hostile(kind, "of another architecture", partial(changed_model, of_systems({"kind": "martinez", "width": 16})),
                  load_system)  # fmt: skip
    yield Hostile(kind, "of an unknown kind", partial(changed_model, of_systems({"kind": "os.system"})), load_system)
    for value in (float("nan"), float("inf")):
        yield Hostile(kind, f"with {value} in its weights", partial(not_finite, value), load_system, "NaN or Inf")

    def pickled(folder: Path) -> Path:
        model(folder)
        torch.save({"a": _Call(os.system, f"touch {folder / CANARY}")}, folder / "model" / "model.safetensors")
        return folder / "model"

    yield Hostile(kind, "whose weights are a pickle", pickled, load_system, "damaged")


HOSTILE: list[Hostile] = [*declared(), *large(), *images(), *nested(), *pickles(), *outside(), *models()]
