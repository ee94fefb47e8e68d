"""Ten thousand damaged inputs: every reader of files from strangers reads them or raises InputError, nothing else.

Each input is a good file with a few changes: bytes turned, removed, repeated or put in, and in texts numbers, words and
brackets replaced by what they are not expected to be.
"""

import contextlib
import io
import json
import pickle
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfsup3d.config.load import load_config
from selfsup3d.data.mocap.asf_amc import read_asf_amc
from selfsup3d.data.mocap.bvh import read_bvh_recording
from selfsup3d.data.mocap.c3d_points import read_c3d
from selfsup3d.data.mocap.expmap import read_expmap
from selfsup3d.data.mocap.joint_tables import load_table
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.saliency.saliency import Saliency
from selfsup3d.data.sampling.clip_store import ClipStore, finish_store, save_clip
from selfsup3d.errors import InputError
from selfsup3d.inference.keypoint_files import read_keypoints
from selfsup3d.io import pretrained
from selfsup3d.io.images import read_image
from selfsup3d.io.safe_pickle import load_npz, load_pickle
from selfsup3d.io.video import read_frames, video_info
from selfsup3d.preparation.boxes import read_boxes
from selfsup3d.structures.skeleton import H36M_17, Skeleton
from tests.data.mocap.test_formats import AMC, ASF, GOOD

pytestmark = pytest.mark.slow

RARE = [
    "", "0", "-1", "1e999", "-1e999", "nan", "NaN", "Infinity", "null", "~", "true", "[]", "{}", "[[[[]]]]", '"x"', "x",
    "99999999999999999999", "1e-300", "0.5", "1.5e3", "9" * 400, "'", '"', "\\", "\0", "\n", "é", "中", "\ud800", ": ",
    "- ", "&a", "*a", "!!python/object/apply:os.system [true]", "<<", "../../etc", "[" * 3000, "{" * 200, ",", "#",
]  # fmt: skip
PLACE = st.integers(0, 2**24)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), PLACE, st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("put in"), PLACE, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("remove"), PLACE, st.integers(1, 64)),
        st.tuples(st.just("cut"), PLACE, st.none()),
        st.tuples(st.just("repeat"), PLACE, st.integers(1, 64)),
        st.tuples(st.just("word"), PLACE, st.sampled_from(RARE)),
    ),
    min_size=1,
    max_size=4,
)
WORDS = re.compile(rb"-?\d+(?:\.\d+)?|\w+|[\[\]{}:,\"]")


def changed(data: bytes, changes) -> bytes:
    """The file with its changes; those of words fall back on bytes where there are no words."""
    for kind, place, value in changes:
        words = list(WORDS.finditer(data)) if kind == "word" and len(data) < 20_000 else []
        at = place % (len(data) + 1)
        match kind:
            case "turn":
                data = data[:at] + value + data[at + len(value) :]
            case "put in":
                data = data[:at] + value + data[at:]
            case "remove":
                data = data[:at] + data[at + value :]
            case "cut":
                data = data[:at]
            case "repeat":
                data = data[: at + value] + data[at:]
            case "word" if words:
                word, new = words[place % len(words)], value.encode("utf-8", "surrogatepass")
                data = data[: word.start()] + new + data[word.end() :]
    return data


def fuzz(inputs: int):
    """Run a test of (changes) on that many inputs (the same ones every time: see tests/conftest.py)."""
    ours = settings(max_examples=inputs, suppress_health_check=list(HealthCheck))
    return lambda test: ours(given(changes=CHANGES)(test))


# ---- good files: name -> contents. The first is handed to the reader. ----


def _bytes_of(write, suffix):
    """What `write(path)` writes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write(path)
        return path.read_bytes()


def _image(suffix, shape=(12, 9, 3), kind=np.uint8):
    image = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
    return cv2.imencode(suffix, image)[1].tobytes()


def _video(path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (16, 16))
    for frame in np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8):
        writer.write(frame)
    writer.release()


def _clips(folder):
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    found = Saliency(frames[..., 0], frames[0], True, "background", 0.1)
    save_clip(folder, "clip", frames, found, {"K": np.eye(3).tolist(), "person": "anna"})
    finish_store(folder, ["clip"], {"size": 8})


def _mocap():
    pose = np.array([
        (0, 1.0, 0), (-0.1, 1.0, 0), (-0.1, 0.55, 0.02), (-0.1, 0.1, 0), (0.1, 1.0, 0), (0.1, 0.55, 0.02),
        (0.1, 0.1, 0), (0, 1.25, 0), (0, 1.5, 0), (0, 1.6, 0.05), (0, 1.72, 0.02), (0.18, 1.45, 0), (0.2, 1.15, 0),
        (0.2, 0.9, 0.05), (-0.18, 1.45, 0), (-0.2, 1.15, 0), (-0.2, 0.9, 0.05),
    ], dtype=np.float32)  # fmt: skip
    return {
        "positions": np.repeat(pose[None], 4, 0),
        "offsets": np.array([0, 3, 4]),
        "names": np.array(["a", "b"]),
        "subjects": np.array(["cmu001", "cmu005"]),
        "actions": np.array(["walk", "run"]),
        "joint_names": np.array(H36M_17.joint_names),
        "fps": np.float32(20),
        "up_axis": np.array("y"),
        "units": np.array("m"),
    }


def _member(value):
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


TRIPLES = np.random.default_rng(0).uniform(1, 90, (33, 3)).round(1)
COCO = [{"image_id": k, "keypoints": TRIPLES[:17].ravel().tolist(), "score": 0.5} for k in range(2)]
IMAGES = {
    "images": [{"id": 0, "file_name": "a1.jpg", "width": 9, "height": 9}, {"id": 1, "file_name": "a2.jpg"}],
    "annotations": COCO,
}
OPENPOSE = {"people": [{"pose_keypoints_2d": TRIPLES[:25].ravel().tolist()}]}
MMPOSE = {
    "meta_info": {"dataset_name": "coco"},
    "instance_info": [
        {"frame_id": k, "instances": [{"keypoints": TRIPLES[:17, :2].tolist(), "keypoint_scores": [0.5] * 17}]}
        for k in (1, 2)
    ],
}
MEDIAPIPE = {"width": 9, "height": 9, "frames": [[{"x": x, "y": y, "visibility": 0.5} for x, y, _ in TRIPLES / 90]] * 2}
BOXES = [{"frame": k, "x": 1, "y": 2.5, "width": 30, "height": 60, "person": "anna"} for k in (0, 3, 40)]
CONFIG = """
output_dir: runs/x
seed: 3
system: {kind: part_guided, preset: tiny, parts: {weight: 1.0}, stages: {pretrain: 0.3, decoder: 0.3, joint: 0.4}}
data: {kind: videos, root: videos, size: 64}
trainer: {steps: 30, batch_size: 2, mixed_precision: "no", optimizer: {kind: adamw, lr: 1.0e-3, betas: [0.9, 0.99]}}
"""
RULES = """
unit: 0.01
up: y
offsets: {neck: [0, 1, 0.5]}
along: {Arm: 1.5}
inserted: {Arm: Hips}
lean: 0.5
telling: [Hips]
"""
BVH_TABLE = "joints: {" + ", ".join(f"{name}: [Arm]" for name in H36M_17.joint_names) + "}\nup: y\nunit: 0.01\n"


def _keypoints(path):
    with contextlib.suppress(InputError):
        read_keypoints(path, size=(90, 90))
    return read_keypoints(path)


def _bvh(path):
    (path.parent / "table.yaml").write_text(BVH_TABLE)
    return read_bvh_recording(path, load_table(path.parent / "table.yaml"))


def _table(path):
    table = load_table(path)
    (path.parent / "a.bvh").write_text(GOOD)
    with contextlib.suppress(InputError):
        read_bvh_recording(path.parent / "a.bvh", table)


def _rows(path):
    np.savetxt(path, np.zeros((2, 117)), delimiter=",", fmt="%g")


ARRAYS = {"S1": {"Walking": np.arange(12.0).reshape(2, 3, 2)}, "m": [1, "a", (None, b"x")]}
CASES = {  # name -> (file name, its good contents, reader, inputs)
    "pickle": ("a.pkl", pickle.dumps(ARRAYS, 2), load_pickle, 1200),
    "pickle of protocol 5": ("a.pkl", pickle.dumps(ARRAYS, 5), load_pickle, 800),
    "npz": ("a.npz", _bytes_of(lambda p: np.savez(p, a=np.arange(4), b=np.array(ARRAYS)), ".npz"), load_npz, 300),
    "png": ("a.png", _image(".png"), read_image, 400),
    "png of 16 bits": ("a.png", _image(".png", (8, 5), np.uint16), read_image, 200),
    "jpg": ("a.jpg", _image(".jpg"), read_image, 300),
    "webp": ("a.webp", _image(".webp"), read_image, 200),
    "bmp": ("a.bmp", _image(".bmp", (7, 5, 4)), read_image, 200),
    "video": ("a.avi", _bytes_of(_video, ".avi"), lambda p: [video_info(p), *read_frames(p, stop=50)], 500),
    "boxes as JSON": ("a.boxes.json", json.dumps({"boxes": BOXES}).encode(), read_boxes, 500),
    "boxes as CSV": ("a.boxes.csv", b"frame,x,y,width,height,person\n0,1,2,3,4,a\n1,1,2,3,4,b\n", read_boxes, 400),
    "COCO": ("a.json", json.dumps(COCO).encode(), _keypoints, 300),
    "COCO annotations": ("a.json", json.dumps(IMAGES).encode(), _keypoints, 300),
    "OpenPose": ("a_keypoints.json", json.dumps(OPENPOSE).encode(), _keypoints, 250),
    "MMPose": ("a.json", json.dumps(MMPOSE).encode(), _keypoints, 300),
    "MediaPipe": ("a.json", json.dumps(MEDIAPIPE).encode(), _keypoints, 300),
    "config": ("a.yaml", CONFIG.encode(), load_config, 800),
    "joint table": ("a.yaml", (RULES + BVH_TABLE.splitlines()[0]).encode(), _table, 500),
    "BVH": ("a.bvh", GOOD.encode(), _bvh, 500),
    "exponential maps": ("a.txt", _bytes_of(_rows, ".txt"), read_expmap, 200),
    "C3D": ("a.c3d", b"\x02\x50" + bytes(range(256)) * 6, read_c3d, 150),
    "weights": (
        "model.safetensors",
        _bytes_of(lambda p: pretrained.write_tensors(p, {"a": __import__("torch").arange(6.0)}), ".safetensors"),
        pretrained.read_tensors,
        250,
    ),
}
MEMBERS, STORE, ASF_AMC, SKELETONS = 900, 700, 400, 400


def test_ten_thousand_inputs():
    assert sum(case[3] for case in CASES.values()) + MEMBERS + STORE + ASF_AMC + SKELETONS >= 10_000


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_read_or_refused(tmp_path, name):
    file, good, read, inputs = CASES[name]
    if name == "C3D":
        pytest.importorskip("c3d")
    path = tmp_path / file

    @fuzz(inputs)
    def check(changes):
        path.write_bytes(changed(good, changes))
        told = str(tmp_path)
        try:
            read(path)
        except InputError as error:
            told = str(error)
        assert told.startswith((str(tmp_path), "a: ")), told  # the file, or the take that it holds

    check()


def test_arrays_of_motion_capture(tmp_path):
    """Their bytes behind a right checksum, which a damaged zip would not have."""
    members = {f"{name}.npy": _member(value) for name, value in _mocap().items()}
    path = tmp_path / "mocap.npz"

    def write(parts):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)

    write(members)
    assert len(load_mocap(path, "all")) == 4

    @fuzz(MEMBERS)
    def check(changes):
        name = sorted(members)[changes[0][1] % len(members)]
        write(members | {name: changed(members[name], changes)})
        with contextlib.suppress(InputError):
            load_mocap(path, "all").canonical()

    check()


def test_prepared_clips(tmp_path):
    _clips(tmp_path)
    files = [tmp_path / "store.json", *sorted((tmp_path / "clip").iterdir())]
    good = {file: file.read_bytes() for file in files}

    @fuzz(STORE)
    def check(changes):
        file = files[changes[0][1] % len(files)]
        file.write_bytes(changed(good[file], changes))
        try:
            for clip in ClipStore(tmp_path):
                assert clip.K() is None or clip.K().shape == (len(clip), 3, 3)
                assert clip.person
                clip.frames[:].sum()
        except InputError:
            pass
        finally:
            file.write_bytes(good[file])

    check()


def test_skeleton_and_motion_of_acclaim(tmp_path):
    good = {
        "a.asf": ASF.format(length=1, angle="deg", quarter=90).encode(),
        "a_01.amc": AMC.format(a=90).encode(),
    }

    @fuzz(ASF_AMC)
    def check(changes):
        for file, data in good.items():
            (tmp_path / file).write_bytes(data)
        file = sorted(good)[changes[0][1] % 2]
        (tmp_path / file).write_bytes(changed(good[file], changes))
        with contextlib.suppress(InputError):
            read_asf_amc(tmp_path / "a_01.amc")

    check()


@settings(max_examples=SKELETONS)
@given(
    names=st.lists(st.text(max_size=3), max_size=6),
    parents=st.lists(st.integers(-3, 7), max_size=6),
    pairs=st.lists(st.tuples(st.integers(-2, 7), st.integers(-2, 7)), max_size=3),
)
def test_skeletons_are_whole_or_refused(names, parents, pairs):
    try:
        skeleton = Skeleton("s", tuple(names), tuple(parents), tuple(pairs))
    except ValueError:
        return
    assert sorted(skeleton.flip_order) == list(range(len(names)))
    assert len(skeleton.bones) == len(names) - 1
    assert skeleton.adjacency.all(0).any() or len(names) > 1
