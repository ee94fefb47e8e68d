"""2D keypoints that other tools wrote: COCO, OpenPose, MediaPipe and MMPose JSON, as the keypoints of one person.

    COCO       results [{"image_id", "keypoints": [x, y, v, ...], "score"}], or annotations with "images"
    OpenPose   a folder of *_keypoints.json, one a frame, or one of them: {"people": [{"pose_keypoints_2d": [...]}]}
    MMPose     {"meta_info": ..., "instance_info": [{"frame_id", "instances": [{"keypoints", "keypoint_scores"}]}]}, or
               the list of one image's instances
    MediaPipe  a list of frames (or {"frames": [...]}), each 33 landmarks {"x", "y", "visibility"}, bare or under
               "landmarks" or "pose_landmarks"; x and y are shares of the image, so its size must be known

Joints are brought over by the explicit tables of `skeleton.FOREIGN`; those that a format does not mark (spine, head)
get confidence 0, and lifters fill them in. Where several people are seen, the most certain one of the first frame is
followed by nearness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from selfsup3d.config.choices import KeypointFormat
from selfsup3d.errors import InputError
from selfsup3d.io.images import natural_key
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.structures.skeleton import FOREIGN, ForeignSkeleton

__all__ = ["KeypointSequence", "read_keypoints"]


_Person = tuple[np.ndarray, np.ndarray]  # (F, 2) joints and (F,) confidence of a foreign skeleton
_Frames = list[tuple[int, list[_Person]]]

_OPENPOSE = {25: "body_25", 18: "coco_18"}
_MMPOSE = {"coco": "coco_17", "h36m": "h36m_17", "body17": "coco_17"}


@dataclass(frozen=True)
class KeypointSequence:
    """One person's keypoints.

    Attributes:
        joints: (T, 17, 2) float32 px, 0 where the confidence is 0.
        confidence: (T, 17) float32.
        frames: (T,) frame numbers, increasing; frames without a person are left out.
        size: (width, height) of the images, px, where it is known.
        format: that the file has. skeleton: name of the foreign one.
    """

    joints: np.ndarray
    confidence: np.ndarray
    frames: np.ndarray
    size: tuple[int, int] | None
    format: KeypointFormat
    skeleton: str

    def __len__(self) -> int:
        return len(self.joints)


def read_keypoints(
    path: str | Path, format: KeypointFormat | None = None, size: tuple[int, int] | None = None
) -> KeypointSequence:
    """Read keypoints.

    Args:
        path: JSON file; for OpenPose also a folder of them.
        format: None = told from the contents.
        size: (width, height) of the images; MediaPipe needs it, unless the file says.

    Raises:
        InputError: missing, damaged or of no known format; nobody in it; MediaPipe without a size.
    """
    path = Path(path)
    if format is not None and format not in get_args(KeypointFormat):
        raise InputError(
            f"keypoint format {format!r} is unknown; expected one of {', '.join(get_args(KeypointFormat))}"
        )
    value = [_load(file) for file in _openpose_files(path)] if path.is_dir() else _load(path)
    kind = format or ("openpose" if path.is_dir() else _guess(value))
    if kind is None:
        raise InputError(f"{path}: neither COCO, OpenPose, MediaPipe nor MMPose keypoints")
    try:
        frames, skeleton, told = _READERS[kind](value, size)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path}: damaged, or not {kind} keypoints ({error!r})") from error
    followed = _follow([(number, people) for number, people in sorted(frames, key=lambda f: f[0]) if people])
    if not followed:
        raise InputError(f"{path}: nobody is marked in any frame")
    joints, confidence = skeleton.convert(
        np.stack([person[0] for _, person in followed]), np.stack([person[1] for _, person in followed])
    )
    seen = (confidence > 0).any(1)  # somebody of whom only the eyes are marked is nobody
    if not seen.any():
        raise InputError(f"{path}: none of our joints is marked in any frame")
    numbers = np.array([number for number, _ in followed])[seen]
    joints, confidence = joints[seen].astype(np.float32), confidence[seen].astype(np.float32)
    return KeypointSequence(joints, confidence, numbers, size or told, kind, skeleton.name)


def _openpose_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.json"), key=lambda p: natural_key(p.stem))
    if not files:
        raise InputError(f"{folder}: no JSON in this folder; expected OpenPose's *_keypoints.json")
    return files


def _load(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected keypoints as JSON") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error


def _guess(value: Any) -> KeypointFormat | None:
    """The format by the keys that only it has."""
    if isinstance(value, Mapping):
        if "people" in value:
            return "openpose"
        if "instance_info" in value:
            return "mmpose"
        if "annotations" in value:
            return "coco"
        value = value.get("frames", [value] if set(value) & set(_LANDMARKS) else None)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    first = next((v for v in value if v), None)
    if isinstance(first, Mapping):
        if "people" in first:
            return "openpose"
        if "image_id" in first:
            return "coco"
        if "keypoint_scores" in first:
            return "mmpose"
        if set(first) & {"x", "visibility", *_LANDMARKS}:
            return "mediapipe"
        return None
    return "mediapipe" if isinstance(first, Sequence) and not isinstance(first, str) else None


# -------------------------------------------------------------------------------------------------------------- formats

_Read = tuple[_Frames, ForeignSkeleton, tuple[int, int] | None]


def _coco(value: Any, size: tuple[int, int] | None) -> _Read:
    told: tuple[int, int] | None = None
    order: dict[Any, int] = {}
    if isinstance(value, Mapping):
        images = value.get("images", [])
        order = {image["id"]: k for k, image in enumerate(sorted(images, key=lambda i: natural_key(i["file_name"])))}
        sizes = {(int(image["width"]), int(image["height"])) for image in images if "width" in image}
        told = sizes.pop() if len(sizes) == 1 else None
        value = value["annotations"]
    if not order:
        ids = sorted({entry["image_id"] for entry in value}, key=lambda i: natural_key(str(i)))
        order = {i: int(i) if isinstance(i, int) else k for k, i in enumerate(ids)}
    frames: dict[int, list[_Person]] = {}
    for entry in value:
        points = _triples(entry["keypoints"], 17)
        if not points[:, 2].any():
            continue
        confidence = np.minimum(points[:, 2], 1.0)  # annotations: 1 hidden, 2 seen, both marked
        frames.setdefault(order[entry["image_id"]], []).append((points[:, :2], confidence))
    return list(frames.items()), FOREIGN["coco_17"], told


def _openpose(value: Any, size: tuple[int, int] | None) -> _Read:
    files = value if isinstance(value, list) else [value]
    counts = {len(person["pose_keypoints_2d"]) // 3 for file in files for person in file["people"]}
    if not counts <= set(_OPENPOSE) or len(counts) > 1:
        raise InputError(f"people of {sorted(counts)} joints; OpenPose has {sorted(_OPENPOSE)} (BODY_25, COCO)")
    count = counts.pop() if counts else 25
    frames = [
        (k, [(p[:, :2], p[:, 2]) for p in (_triples(q["pose_keypoints_2d"], count) for q in file["people"])])
        for k, file in enumerate(files)
    ]
    return frames, FOREIGN[_OPENPOSE[count]], None


def _mmpose(value: Any, size: tuple[int, int] | None) -> _Read:
    name = "coco"
    if isinstance(value, Mapping):
        name = str(value.get("meta_info", {}).get("dataset_name", name)).lower()
        frames = [(int(frame["frame_id"]), frame["instances"]) for frame in value["instance_info"]]
        # MMPose counts frames from 1
        frames = [(number - 1 if min(f[0] for f in frames) >= 1 else number, people) for number, people in frames]
    else:
        frames = [(0, value)]
    skeleton = FOREIGN[next((ours for theirs, ours in _MMPOSE.items() if theirs in name), "coco_17")]
    people = [(number, [_instance(p, len(skeleton)) for p in instances]) for number, instances in frames]
    return people, skeleton, None


def _instance(person: Mapping[str, Any], count: int) -> _Person:
    points = np.asarray(person["keypoints"], dtype=np.float64)
    if points.shape != (count, 2):
        raise InputError(f"an instance has keypoints of shape {points.shape}; expected ({count}, 2)")
    scores = np.asarray(person.get("keypoint_scores", np.ones(count)), dtype=np.float64)
    if scores.shape != (count,):
        raise InputError(f"an instance has keypoint_scores of shape {scores.shape}; expected ({count},)")
    return points, scores.clip(0.0, 1.0)


_LANDMARKS = ("landmarks", "pose_landmarks", "poseLandmarks")


def _mediapipe(value: Any, size: tuple[int, int] | None) -> _Read:
    told = None
    if isinstance(value, Mapping):
        width = value.get("width", value.get("image_width"))
        height = value.get("height", value.get("image_height"))
        told = (int(width), int(height)) if width and height else None
        value = value.get("frames", [value])
    size = size or told
    if size is None:
        raise InputError("MediaPipe's landmarks are shares of the image; give its size with --image-size WIDTHxHEIGHT")
    if value and isinstance(value[0], Mapping) and "x" in value[0]:
        value = [value]  # one frame's landmarks
    frames: _Frames = []
    for number, frame in enumerate(value):
        if isinstance(frame, Mapping):
            frame = next((frame[name] for name in _LANDMARKS if frame.get(name)), [])
        people = frame if frame and isinstance(frame[0], Sequence) else [frame] if frame else []
        frames.append((number, [_landmarks(person, size) for person in people]))
    return frames, FOREIGN["mediapipe_33"], told


def _landmarks(person: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> _Person:
    if len(person) != 33:
        raise InputError(f"a person of {len(person)} landmarks; MediaPipe has 33")
    points = np.array([[float(p["x"]), float(p["y"])] for p in person]) * np.array(size, dtype=np.float64)
    return points, np.array([float(p.get("visibility", 1.0)) for p in person]).clip(0.0, 1.0)


def _triples(values: Sequence[float], count: int) -> np.ndarray:
    """(count, 3) x, y, confidence of a flat list."""
    points = np.asarray(values, dtype=np.float64)
    if points.size != 3 * count:
        raise InputError(f"{points.size} numbers for a person; expected {count} times x, y, confidence")
    points = points.reshape(count, 3)
    points[:, 2] *= np.isfinite(points).all(1)
    return points


_READERS = {"coco": _coco, "openpose": _openpose, "mmpose": _mmpose, "mediapipe": _mediapipe}


def _follow(frames: _Frames) -> list[tuple[int, _Person]]:
    """One person a frame: at first the most certain, then the nearest to where the last one was."""
    followed: list[tuple[int, _Person]] = []
    for number, people in frames:
        if not followed:
            chosen = max(people, key=lambda person: float(person[1].sum()))
        else:
            chosen = min(people, key=lambda person: _distance(person, followed[-1][1]))
        followed.append((number, chosen))
    return followed


def _distance(a: _Person, b: _Person) -> float:
    both = (a[1] > 0) & (b[1] > 0)
    return float(np.linalg.norm(a[0] - b[0], axis=-1)[both].mean()) if both.any() else float("inf")
