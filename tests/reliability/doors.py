"""Every door through which a stranger's file comes in, with a good input for each."""

import contextlib
import io
import json
import pickle
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from PIL import Image

from selfsup3d.builders.systems import build_system, load_system
from selfsup3d.config.load import load_config
from selfsup3d.config.run import Config
from selfsup3d.data.datasets.backgrounds import _read as read_background
from selfsup3d.data.datasets.frame_index import load_index
from selfsup3d.data.datasets.h36m.cameras import load_cameras
from selfsup3d.data.datasets.h36m.layouts import find_h36m
from selfsup3d.data.datasets.mpi_inf_3dhp import find_mpi_inf_3dhp
from selfsup3d.data.datasets.threedpw import find_threedpw
from selfsup3d.data.datasets.threedpw_joints import load_surface_model
from selfsup3d.data.mocap.amass import load_body_model, read_amass
from selfsup3d.data.mocap.asf_amc import read_asf_amc
from selfsup3d.data.mocap.bvh import read_bvh_recording
from selfsup3d.data.mocap.c3d_points import read_c3d
from selfsup3d.data.mocap.expmap import read_expmap
from selfsup3d.data.mocap.joint_tables import load_table
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.saliency.saliency import Saliency
from selfsup3d.data.sampling.clip_store import ClipStore, finish_store, save_clip
from selfsup3d.data.sampling.shards import ShardSource
from selfsup3d.data.sampling.shards_write import Record, write_shards
from selfsup3d.demo.door import received
from selfsup3d.demo.images import read_upload
from selfsup3d.errors import InputError
from selfsup3d.evaluation.records import load_frames
from selfsup3d.evaluation.reference_2d import load_reference
from selfsup3d.experiments.self_training import PseudoLabels
from selfsup3d.inference.keypoint_files import read_people
from selfsup3d.inference.motion import load_motion
from selfsup3d.inference.records import PoseRecord, load_record
from selfsup3d.io import pretrained
from selfsup3d.io.images import read_image
from selfsup3d.io.safe_pickle import load_npz, load_pickle
from selfsup3d.io.stored_arrays import StoredArray
from selfsup3d.io.video import read_frames, video_info
from selfsup3d.models.part_guided.confidence import SIGNALS, WITHIN, Calibration
from selfsup3d.preparation.boxes import read_boxes
from selfsup3d.preparation.verification import verify_stores
from selfsup3d.preparation.videos import find_clips
from selfsup3d.structures.skeleton import H36M_17
from selfsup3d.training.checkpoint import check as check_checkpoint
from selfsup3d.training.checkpoint import find_checkpoint
from tests.data.generators import h36m as h36m_trees
from tests.data.generators import mpi_inf_3dhp as mpi_trees
from tests.data.generators import threedpw as threedpw_trees
from tests.data.mocap.test_dialects import amass, body_models, c3d_file
from tests.data.mocap.test_formats import GOOD

__all__ = ["DOORS", "Door"]

Files = Mapping[str, bytes]


def write_files(folder: Path, files: Files) -> None:
    """Each file at its name below the folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_zip(name: str, folder: Path, files: Files) -> None:
    """An archive of the files, with right checksums, which damage to the archive itself would not have."""
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, data in files.items():
            archive.writestr(member, data)


def write_png(name: str, folder: Path, files: Files) -> None:
    """The image with right checksums, so that what lies behind them is tried."""
    data, at = bytearray(files[name]), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4)
        at = end + 4
    write_files(folder, {name: bytes(data)})


@dataclass(frozen=True)
class Door:
    """A reader of files from strangers.

    Attributes:
        name: as people say it.
        good: makes files that are read: name below a folder -> bytes.
        read: reads the folder. Whatever is wrong must come as an InputError.
        inputs: damaged ones that are tried.
        write: puts files into the folder.
        says: what refusals may say in place of the folder's path (the take that a file holds).
    """

    name: str
    good: Callable[[], dict[str, bytes]]
    read: Callable[[Path], Any]
    inputs: int
    write: Callable[[Path, Files], None] = write_files
    says: tuple[str, ...] = ()


def written(write: Callable[[Path], Any]) -> Callable[[], dict[str, bytes]]:
    """All files that `write(folder)` makes."""

    @cache
    def files() -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as place:
            write(Path(place))
            return {p.relative_to(place).as_posix(): p.read_bytes() for p in Path(place).rglob("*") if p.is_file()}

    return lambda: dict(files())


def one(name: str, data: bytes | str, read: Callable[[Path], Any], title: str, inputs: int, **more: Any) -> Door:
    """A door of one file."""
    raw = data.encode() if isinstance(data, str) else data
    return Door(title, lambda: {name: raw}, lambda folder: read(folder / name), inputs, **more)


def npz(
    title: str, arrays: Callable[[], Mapping[str, Any]], read: Callable[[Path], Any], inputs: int, **more: Any
) -> Door:
    """A door of one npz, whose arrays are damaged behind right checksums."""

    @cache
    def members() -> dict[str, bytes]:
        return {f"{name}.npy": npy(value) for name, value in arrays().items()}

    write = partial(write_zip, "a.npz")
    return Door(title, lambda: dict(members()), lambda folder: read(folder / "a.npz"), inputs, write, **more)


def npy(value: Any) -> bytes:
    """The file of an array."""
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


# ---- images and videos ----


def image(suffix: str, shape: tuple[int, ...] = (12, 9, 3), kind: Any = np.uint8) -> bytes:
    values = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
    return cv2.imencode(suffix, values)[1].tobytes()


def by_pillow(kind: str, mode: str = "RGB", **more: Any) -> bytes:
    buffer = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 255, (12, 9, 3), np.uint8)
    Image.fromarray(values).convert(mode).save(buffer, kind, **more)
    return buffer.getvalue()


def turned() -> bytes:
    """A JPEG that says how its camera was held."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return by_pillow("JPEG", exif=exif.tobytes())


def video(container: str, codec: str, pixels: str = "yuv420p") -> Callable[[], bytes]:
    """Three frames of 16 px."""

    @cache
    def data() -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=container) as out:
            stream = out.add_stream(codec, rate=10)
            stream.width = stream.height = 16
            stream.pix_fmt = pixels
            for values in np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24").reformat(format=pixels)))
            out.mux(stream.encode())
        return buffer.getvalue()

    return data


def frames_of(path: Path) -> None:
    video_info(path)
    for _ in read_frames(path, stop=50):
        pass


# ---- keypoints and boxes ----

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
ALPHAPOSE = [{"image_id": f"{k}.jpg", "idx": 1, "keypoints": TRIPLES[:17].ravel().tolist(), "score": 2} for k in (0, 1)]
BOXES = [{"frame": k, "x": 1, "y": 2.5, "width": 30, "height": 60, "person": "anna"} for k in (0, 3, 40)]


def keypoints(path: Path) -> None:
    with contextlib.suppress(InputError):
        read_people(path, size=(90, 90))
    for person in read_people(path):
        person.joints.sum()


def json_door(
    title: str, value: Any, read: Callable[[Path], Any], inputs: int, name: str = "a.json", **more: Any
) -> Door:
    return one(name, json.dumps(value), read, title, inputs, **more)


# ---- motion ----

RULES = "unit: 0.01\nup: y\noffsets: {neck: [0, 1, 0.5]}\nalong: {Arm: 1.5}\ninserted: {Arm: Hips}\nlean: 0.5\ntelling: [Hips]\n"
BVH_TABLE = "joints: {" + ", ".join(f"{name}: [Arm]" for name in H36M_17.joint_names) + "}\nup: y\nunit: 0.01\n"


def table(path: Path) -> None:
    rules = load_table(path)
    (path.parent / "a.bvh").write_text(GOOD)
    with contextlib.suppress(InputError):
        read_bvh_recording(path.parent / "a.bvh", rules)


def asf() -> str:
    """A skeleton with the names of CMU's, every bone at the root."""
    names = ["lhipjoint", "lfemur", "ltibia", "rhipjoint", "rfemur", "rtibia", "lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head", "lclavicle", "lhumerus", "lradius", "lwrist", "rclavicle", "rhumerus", "rradius", "rwrist", "lfoot", "rfoot", "lhand", "rhand"]  # fmt: skip
    bones = "".join(
        f"  begin\n    id {n}\n    name {name}\n    direction 0 1 0\n    length {n}\n    axis 0 0 90 XYZ\n"
        + ("    dof rx rz\n    limits (-1 1)\n           (-1 1)\n" if name == "lfemur" else "") + "  end\n" for n, name in enumerate(names, 1)
    )  # fmt: skip
    return (
        ":version 1.10\n:units\n  length 0.45\n  angle deg\n:root\n  order TX TY TZ RX RY RZ\n  axis XYZ\n  position 0 0 0\n"
        f"  orientation 0 0 0\n:bonedata\n{bones}:hierarchy\n  begin\n    root {' '.join(names)}\n  end\n"
    )


AMC = ":FULLY-SPECIFIED\n1\nroot 1 2 3 0 0 0\nlfemur 9 0\n2\nroot 1 2 3 0 0 9\nlfemur 0 90\n"


@cache
def bvh_rules() -> Any:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "table.yaml"
        path.write_text(BVH_TABLE)
        return load_table(path)


@cache
def body() -> Any:
    with tempfile.TemporaryDirectory() as place:
        return load_body_model(body_models(Path(place))["neutral"])


def loaded(write: Callable[[Path], Any], name: str) -> Callable[[], dict[str, Any]]:
    """Arrays of the npz that `write(folder)` makes."""

    def arrays() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as place:
            write(Path(place))
            with np.load(Path(place) / name) as data:
                return {key: data[key] for key in data.files}

    return arrays


def capture() -> dict[str, Any]:
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


def record(folder: Path) -> None:
    """Poses as predict writes them."""
    rng = np.random.default_rng(0)
    poses, points = rng.normal(size=(3, 17, 3)), rng.uniform(0, 99, (3, 17, 2))
    PoseRecord(poses, points, poses[:, 0], np.arange(3), np.array([[0, 0, 9]] * 3), 12.5).save(folder / "a.npz")


# ---- prepared data ----


def clips(folder: Path) -> None:
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    found = Saliency(frames[..., 0], frames[0], True, "background", 0.1)
    save_clip(folder, "clip", frames, found, {"K": np.eye(3).tolist(), "person": "anna"})
    finish_store(folder, ["clip"], {"size": 8})


def read_clips(folder: Path) -> None:
    for store in verify_stores(folder):
        assert store.remedy or not store.faults
    for clip in ClipStore(folder):
        assert clip.K() is None or clip.K().shape == (len(clip), 3, 3)
        assert clip.person
        clip.frames[:].sum()


def shards(folder: Path) -> None:
    joints = np.random.default_rng(0).normal(size=(17, 3))
    samples = [
        Record(np.full((8, 8, 3), n, np.uint8), np.eye(3), "anna", np.zeros((8, 8), np.uint8), None, {"frame": n},
               {"joints_3d": joints, "joints_2d": joints[:, :2], "confidence": np.ones(17)})
        for n in range(2)
    ]  # fmt: skip
    write_shards(folder, samples, "mine", per_shard=2)
    listing = json.loads((folder / "shards.json").read_text())
    for shard in listing["shards"]:
        del shard["sha256"]  # so that what lies behind the checksum is tried
    (folder / "shards.json").write_text(json.dumps(listing))


def index_arrays() -> dict[str, Any]:
    take = {
        "name": "S1/a/0", "subject": "S1", "action": "a", "person": "S1", "camera": "0", "split": "train",
        "image": "v/img_{:06d}.jpg", "fps": 10.0, "width": 64, "height": 48, "static_camera": True,
        "K": [50, 0, 32, 0, 50, 24, 0, 0, 1],
    }  # fmt: skip
    header = {"format": 2, "dataset": "x", "root": "/", "takes": [take], "left_out": {"train": {"x": 3}}, "notes": {}}
    return {
        "header": np.array(json.dumps(header)),
        "take": np.zeros(2, np.int32), "frame": np.arange(2, dtype=np.int32), "box": np.ones((2, 4), np.float32),
        "joints_3d": np.ones((2, 17, 3), np.float32), "joints_2d": np.ones((2, 17, 2), np.float32),
        "confidence": np.ones((2, 17), np.float32),
    }  # fmt: skip


class Camera:
    """As much of a `Take` as a background needs."""

    width = height = 8


# ---- datasets ----


def tree(find: Callable[[Path], Any], folder: Path) -> None:
    """Read every file of a dataset's folder."""
    found = find(folder)
    for part in found.parts:
        part.read()
    found.require()


@cache
def scene() -> Any:
    return h36m_trees.Scene(subjects=("S1",), trials=("Walking 1",), frames=2)


def official(folder: Path) -> None:
    h36m_trees.official(folder, scene(), videos=False, mono=False)


def calibrated(folder: Path) -> None:
    mpi_trees.write_train_sequence(folder, frames=2, images="none", cameras=())


def tested(folder: Path) -> None:
    mpi_trees.write_test_sequence(folder, frames=4, images=False)


def sequences(folder: Path) -> None:
    threedpw_trees.write_sequence(folder, people=1, frames=4, images=False)


# ---- models and runs ----


def small() -> Config:
    return Config.model_validate({"system": {"kind": "martinez", "width": 8, "blocks": 1}})


def model(folder: Path) -> None:
    config = small()
    pretrained.save_pretrained(folder / "model", build_system(config), config.to_dict(), "a card")
    calibration = {
        "signals": list(SIGNALS), "within_mm": WITHIN * 1000, "bias": [0.0] * 17, "weights": [0.0] * len(SIGNALS),
        "source": "x",
    }  # fmt: skip
    (folder / "model" / "confidence.json").write_text(json.dumps(calibration))


def load_model(folder: Path) -> None:
    Calibration.load(folder / "model")
    load_system(folder / "model")


def run(folder: Path) -> None:
    from selfsup3d.training.loop import train
    from tests.training.toy import Autoencoder, Noise, config

    with contextlib.redirect_stderr(io.StringIO()):
        train(config(folder, steps=2, checkpoint_every=1, workers=0), Autoencoder(), Noise())


def resume(folder: Path) -> None:
    """What a resumed run reads of its folder: config, checkpoints, log."""
    from selfsup3d.training.checkpoint import TrainingState
    from selfsup3d.training.ema import AveragedWeights
    from selfsup3d.training.optimizers import UpdateOptimizers
    from tests.training.toy import Autoencoder, config

    load_config(folder / "config.yaml")
    found = find_checkpoint("auto", folder, lambda message: None)
    settings = config(folder, steps=2, checkpoint_every=1, workers=0)
    for checkpoint in sorted((folder / "checkpoints").glob("step-*")):  # also what its manifest would refuse
        check_checkpoint(checkpoint)
        system = Autoencoder()
        state = TrainingState(
            system, AveragedWeights(system, settings.trainer.ema), UpdateOptimizers(system, settings.trainer)
        )
        with contextlib.suppress(InputError):
            state.load(checkpoint)
    assert found is not None


CONFIG = """
output_dir: runs/x
seed: 3
system: {kind: part_guided, preset: tiny, stages: {pretrain: 0.3, decoder: 0.3, joint: 0.4}}
data: {kind: videos, root: videos, size: 64}
trainer: {steps: 30, batch_size: 2, mixed_precision: "no", optimizer: {kind: adamw, lr: 1.0e-3, betas: [0.9, 0.99]}}
"""


# ---- the demo ----


def uploaded(folder: Path) -> None:
    """What a request says of its file, and the file."""
    try:
        request = json.loads((folder / "request.json").read_text(encoding="utf-8", errors="replace"))
    except (ValueError, RecursionError):
        request = None  # refused by the server's own parser
    if isinstance(request, dict) and isinstance(request.get("path"), str):
        request["path"] = request["path"].replace("UPLOADS", str(folder))
    path, name = received(request, folder, [])
    read_upload(path, name)


DEMO = ("was not uploaded", "is not an image", "is damaged", "has too many", "has ", "is larger")
ARRAYS = {"S1": {"Walking": np.arange(12.0).reshape(2, 3, 2)}, "m": [1, "a", (None, b"x")]}

DOORS = [
    one("a.pkl", pickle.dumps(ARRAYS, 2), load_pickle, "pickle", 700),
    one("a.pkl", pickle.dumps(ARRAYS, 5), load_pickle, "pickle of protocol 5", 500),
    Door("npz", written(lambda f: np.savez(f / "a.npz", a=np.arange(4), b=np.array(ARRAYS))),
         lambda f: load_npz(f / "a.npz"), 200),
    npz("npz with objects", lambda: {"a": np.arange(4), "b": np.array(ARRAYS)}, load_npz, 200),
    one("a.npy", npy(np.arange(6.0)), lambda p: StoredArray(p)[:], "npy", 800),
    one("a.png", image(".png"), read_image, "PNG", 300, write=partial(write_png, "a.png")),
    one("a.png", image(".png", (8, 5), np.uint16), read_image, "PNG of 16 bits", 150, write=partial(write_png, "a.png")),
    one("a.png", by_pillow("PNG", "P"), read_image, "PNG of a palette", 300, write=partial(write_png, "a.png")),
    one("a.jpg", image(".jpg"), read_image, "JPEG", 200),
    one("a.jpg", turned(), read_image, "JPEG with EXIF", 200),
    one("a.webp", image(".webp"), read_image, "WebP", 150),
    one("a.bmp", image(".bmp", (7, 5, 4)), read_image, "BMP", 150),
    one("a.tif", by_pillow("TIFF", compression="tiff_lzw"), read_image, "TIFF", 150),
    one("a.jp2", image(".jp2", (64, 64, 3)), read_image, "JPEG 2000", 100),
    one("a.ppm", image(".ppm"), read_image, "PPM", 100),
    one("a.mp4", video("mp4", "mpeg4")(), frames_of, "MP4", 250),
    one("a.avi", video("avi", "mjpeg", "yuvj420p")(), frames_of, "AVI", 150),
    one("a.webm", video("webm", "libvpx-vp9")(), frames_of, "WebM", 100),
    one("a.gif", video("gif", "gif", "rgb8")(), frames_of, "GIF", 150),
    json_door("boxes as JSON", {"boxes": BOXES}, read_boxes, 250, "a.boxes.json"),
    one("a.boxes.csv", "frame,x,y,width,height,person\n0,1,2,3,4,a\n1,1,2,3,4,b\n", read_boxes, "boxes as CSV", 200),
    one("a.boxes.csv", "1,1,10,20,30,40,1,-1,-1,-1\n2,1,10,20,30,40,1,-1,-1,-1\n", read_boxes, "boxes as MOT", 150),
    json_door("COCO", COCO, keypoints, 200),
    json_door("COCO annotations", IMAGES, keypoints, 200),
    json_door("AlphaPose", ALPHAPOSE, keypoints, 150),
    json_door("OpenPose", OPENPOSE, keypoints, 150, "a_keypoints.json"),
    json_door("MMPose", MMPOSE, keypoints, 200),
    json_door("MediaPipe", MEDIAPIPE, keypoints, 200),
    Door("list of clips", lambda: {"clips.json": json.dumps({"a": {"fps": 10, "person": "anna", "action": "walk"}}).encode(),
                                   "a/frames/0.png": image(".png")}, find_clips, 150),
    one("a.yaml", CONFIG, load_config, "config", 500),
    one("a.yaml", RULES + BVH_TABLE.splitlines()[0], table, "joint table", 250),
    one("a.bvh", GOOD, lambda p: read_bvh_recording(p, bvh_rules()), "BVH", 300, says=("a: ",)),
    Door("ASF and AMC", lambda: {"a.asf": asf().encode(), "a_01.amc": AMC.encode()},
         lambda f: read_asf_amc(f / "a_01.amc"), 250, says=("a_01: ",)),
    Door("exponential maps", written(lambda f: np.savetxt(f / "a.txt", np.zeros((2, 117)), delimiter=",", fmt="%g")),
         lambda f: read_expmap(f / "a.txt"), 150, says=("a: ",)),
    Door("C3D", written(lambda f: c3d_file(f / "a.c3d")), lambda f: read_c3d(f / "a.c3d"), 200, says=("a: ",)),
    npz("AMASS", loaded(lambda f: amass(f / "a.npz"), "a.npz"), lambda p: read_amass(p, body()), 150, says=("a: ",)),
    npz("body model", loaded(body_models, "neutral.npz"), load_body_model, 100),
    npz("surface model", lambda: {
        "v_template": np.zeros((2, 3)), "shapedirs": np.zeros((2, 3, 4)), "posedirs": np.zeros((2, 3, 207)),
        "J_regressor": np.zeros((24, 2)), "weights": np.zeros((2, 24)),
        "kintree_table": np.stack([np.arange(24) - 1, np.arange(24)])}, load_surface_model, 100),
    npz("motion capture", capture, lambda p: load_mocap(p, "all").canonical(), 300),
    npz("motion to drive with", capture, load_motion, 100),
    npz("predicted poses", loaded(record, "a.npz"), lambda p: (load_record(p).metric(), load_motion(p)), 200),
    npz("errors per frame", lambda: {"index": np.arange(3), "mpjpe": np.ones(3)}, load_frames, 80),
    npz("reference keypoints", lambda: {"a/pixels": np.ones((2, 17, 2)), "a/visibility": np.ones((2, 17))},
        load_reference, 100),
    npz("pseudo-labels", lambda: {"joints": np.ones((2, 17, 3), np.float32), "weight": np.ones(2, np.float32),
                                  "signals": np.ones((2, 5), np.float32), "teacher": np.array("x")}, PseudoLabels.load, 80),
    npz("background", lambda: {"background": np.zeros((4, 4, 3), np.uint8), "noise": np.zeros((4, 4), np.uint8)},
        lambda p: read_background(p, Camera()), 80),
    npz("index of frames", index_arrays, load_index, 250),
    Door("prepared clips", written(clips), read_clips, 300),
    Door("shards", written(shards), lambda f: ShardSource(f, 8, labels=True).frames(np.arange(2)), 250),
    Door("Human3.6M cameras (XML)", written(lambda f: h36m_trees.write_metadata(scene(), f / "metadata.xml")),
         lambda f: load_cameras(f / "metadata.xml"), 150),
    Door("Human3.6M cameras (HDF5)", written(lambda f: h36m_trees.cameras_h5(f / "cameras.h5", scene())),
         lambda f: load_cameras(f / "cameras.h5"), 400),
    Door("Human3.6M (CDF)", written(official), partial(tree, find_h36m), 600),
    Door("Human3.6M (npz, JSON)", written(lambda f: h36m_trees.npz(f, scene())), partial(tree, find_h36m), 100),
    Door("Human3.6M (npz, Python)", written(lambda f: h36m_trees.npz(f, scene(), cameras="python")),
         partial(tree, find_h36m), 150),
    Door("Human3.6M (HDF5)", written(lambda f: h36m_trees.baseline(f, scene())), partial(tree, find_h36m), 100),
    Door("Human3.6M (annot.h5)", written(lambda f: h36m_trees.fetch(f, scene(), images=False)), partial(tree, find_h36m), 100),
    Door("MPI-INF-3DHP (MATLAB 5)", written(calibrated), partial(tree, find_mpi_inf_3dhp), 150),
    Door("MPI-INF-3DHP (HDF5)", written(tested), partial(tree, find_mpi_inf_3dhp), 400),
    Door("3DPW", written(sequences), partial(tree, find_threedpw), 150),
    Door("model", written(model), load_model, 200),
    Door("run", written(run), resume, 150),
    Door("weights", written(lambda f: pretrained.write_tensors(f / "a.safetensors", {"a": torch.arange(6.0)})),
         lambda f: pretrained.read_tensors(f / "a.safetensors"), 800),
    Door("upload to the demo", lambda: {"request.json": json.dumps({"path": "UPLOADS/a.png", "orig_name": "me.png"}).encode(),
                                        "a.png": image(".png", (20, 18, 3))}, uploaded, 400, says=DEMO),
]  # fmt: skip
