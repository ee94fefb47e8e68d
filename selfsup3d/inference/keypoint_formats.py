"""The formats of 2D keypoints that other tools write; each reader gives people by frame number.

COCO       results [{"image_id", "keypoints": [x, y, v, ...], "score"}], or annotations with "images"; AlphaPose's
           are these with the file's name as "image_id" and the person as "idx" (17, 26, 133 or 136 joints)
OpenPose   {"people": [{"person_id", "pose_keypoints_2d": [...]}]}, one file a frame
MMPose     {"meta_info": ..., "instance_info": [{"frame_id", "instances": [{"keypoints", "keypoint_scores"}]}]}, or
           one file an image with the list of its instances
MediaPipe  a list of frames (or {"frames": [...]}), each 33 landmarks {"x", "y", "visibility"}, bare or under
           "landmark(s)" or "pose_landmarks"; x and y are shares of the image
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from selfsup3d.config.choices import KeypointFormat
from selfsup3d.errors import InputError
from selfsup3d.inference.people import Person
from selfsup3d.io.images import natural_key
from selfsup3d.structures.joint_formats import FOREIGN

__all__ = ["READERS", "Parsed", "guess_format", "numbers_in_names"]

_KNOWN = {17: "coco_17", 18: "coco_18", 25: "body_25", 26: "halpe_26", 133: "coco_17", 136: "halpe_26"}
"""Number of joints -> skeleton; whole-body sets (133, 136) begin with those of the body."""
_LANDMARKS = ("landmarks", "pose_landmarks", "poselandmarks", "landmark")
_PIXELS = 4.0  # landmarks are shares of the image; beyond this they are pixels


@dataclass
class Parsed:
    """People by frame number, as a format's reader finds them.

    Attributes:
        frames: number -> people; frames in which the file lists nobody may stand here, empty.
        skeleton: name of the foreign one.
        size: (width, height) of the images, px, where the file states it.
        shares: coordinates are shares of the image.
        empty: people without a single keypoint, which are left out.
        odd: people of another number of joints than nearly all, which are left out.
    """

    frames: dict[int, list[Person]] = field(default_factory=dict)
    skeleton: str = "coco_17"
    size: tuple[int, int] | None = None
    shares: bool = False
    empty: int = 0
    odd: int = 0

    def add(self, number: int, person: Person | None) -> None:
        """Put a person into a frame; None is one without keypoints."""
        people = self.frames.setdefault(number, [])
        if person is None:
            self.empty += 1
        else:
            people.append(person)


def guess_format(value: Any) -> KeypointFormat | None:
    """The format of a parsed JSON file by the keys that only it has; None where there is none of them."""
    if isinstance(value, Mapping):
        if "people" in value:
            return "openpose"
        if "instance_info" in value:
            return "mmpose"
        if "annotations" in value:
            return "coco"
        value = value.get("frames", [value] if _names(value) & set(_LANDMARKS) else None)
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
        return "mediapipe" if _names(first) & {"x", "visibility", *_LANDMARKS} else None
    if not isinstance(first, Sequence) or isinstance(first, str):
        return None
    return "mediapipe" if any(person for frame in value for person in _people_of(frame)) else None


def numbers_in_names(names: Sequence[str]) -> list[int] | None:
    """The frame number in each name: its last run of digits that differs from name to name.

    Args:
        names: of files, with or without folders and suffix ("v_000000000012_keypoints.json" -> 12).

    Returns:
        None where no run of digits tells all names apart.
    """
    groups = [[int(run) for run in re.findall(r"\d+", _stem(name))] for name in names]
    fewest = min((len(group) for group in groups), default=0)
    for back in range(1, fewest + 1):
        numbers = [group[-back] for group in groups]
        if len(set(numbers)) == len(numbers):
            return numbers
    return None


def _stem(name: str) -> str:
    suffix = PurePath(name).suffix
    return PurePath(name).name.removesuffix(suffix if re.fullmatch(r"\.[A-Za-z]\w*", suffix) else "")


def _names(value: Mapping[str, Any]) -> set[str]:
    return {str(key).lower() for key in value}


# ---------------------------------------------------------------------------------------------------------- COCO


def _coco(files: Sequence[tuple[str, Any]]) -> Parsed:
    found = Parsed()
    entries: list[Mapping[str, Any]] = []
    names: dict[Any, str] = {}
    sizes: set[tuple[int, int]] = set()
    for _, value in files:
        if isinstance(value, Mapping):
            images = value.get("images", [])
            names |= {image["id"]: str(image.get("file_name", image["id"])) for image in images}
            sizes |= {(int(image["width"]), int(image["height"])) for image in images if "width" in image}
            value = value["annotations"]
        entries += value
    found.size = sizes.pop() if len(sizes) == 1 else None
    numbers = _image_numbers([entry["image_id"] for entry in entries], names)
    sizes_of_people = [len(entry["keypoints"]) / 3 for entry in entries]
    count = _usual(sizes_of_people, 17, "known are 17, 26, 133 and 136 (COCO, Halpe)")
    found.skeleton = _KNOWN[count]
    for entry in entries:
        person = None
        if len(entry["keypoints"]) not in (0, 3 * count):
            found.frames.setdefault(numbers[entry["image_id"]], [])
            found.odd += 1
            continue
        if len(entry["keypoints"]):
            points = _triples(entry["keypoints"], count)[: len(FOREIGN[found.skeleton])]
            # Annotations: 1 hidden, 2 seen, both marked.
            person = _person(
                points[:, :2], np.minimum(points[:, 2], 1.0), _identity(entry.get("idx", entry.get("track_id")))
            )
        found.add(numbers[entry["image_id"]], person)
    return found


def _image_numbers(ids: Sequence[Any], names: Mapping[Any, str]) -> dict[Any, int]:
    """Frame number of each image id: by the images' names, the ids themselves, or their order."""
    if names:
        ids = sorted(names, key=lambda i: natural_key(names[i]))
        numbers = numbers_in_names([names[i] for i in ids])
        return dict(zip(ids, numbers or range(len(ids)), strict=True))
    different = sorted(set(ids), key=lambda i: natural_key(str(i)))
    if all(isinstance(i, int) for i in different):
        return {i: i for i in different}
    numbers = numbers_in_names([str(i) for i in different])
    return dict(zip(different, numbers or range(len(different)), strict=True))


# ------------------------------------------------------------------------------------------------------ OpenPose


def _openpose(files: Sequence[tuple[str, Any]]) -> Parsed:
    if len(files) == 1 and isinstance(files[0][1], list):  # frames in one list
        files = [(str(k), value) for k, value in enumerate(files[0][1])]
    numbers = numbers_in_names([name.removesuffix(".json").removesuffix("_keypoints") for name, _ in files])
    sizes = [len(person["pose_keypoints_2d"]) / 3 for _, file in files for person in file["people"]]
    count = _usual(sizes, 25, f"known are {sorted(_KNOWN)}")  # Pose2Sim and others write theirs in OpenPose's form
    found = Parsed(skeleton=_KNOWN[count])
    for number, (_, file) in zip(numbers or range(len(files)), files, strict=True):
        found.frames.setdefault(number, [])
        for entry in file["people"]:
            values = entry["pose_keypoints_2d"]
            if len(values) not in (0, 3 * count):
                found.odd += 1
                continue
            points = _triples(values, count) if len(values) else np.zeros((count, 3))
            points = points[: len(FOREIGN[found.skeleton])]
            found.add(number, _person(points[:, :2], points[:, 2], _identity(entry.get("person_id"))))
    return found


# -------------------------------------------------------------------------------------------------------- MMPose


def _mmpose(files: Sequence[tuple[str, Any]]) -> Parsed:
    name = ""
    frames: list[tuple[int, Sequence[Mapping[str, Any]]]] = []
    if len(files) == 1 and isinstance(files[0][1], Mapping):
        value = files[0][1]
        name = str(value.get("meta_info", {}).get("dataset_name", name)).lower()
        frames = [(int(frame["frame_id"]), frame["instances"]) for frame in value["instance_info"]]
        if frames and min(number for number, _ in frames) >= 1:  # MMPose counts frames from 1
            frames = [(number - 1, people) for number, people in frames]
    else:
        numbers = numbers_in_names([file for file, _ in files]) if len(files) > 1 else [0]
        frames = list(zip(numbers or range(len(files)), [value for _, value in files], strict=True))
    sizes = [len(person["keypoints"]) for _, people in frames for person in people]
    count = _usual(sizes, 17, "known are 17, 26, 133 and 136", known={17, 26, 133, 136})
    skeleton = "h36m_17" if "h36m" in name and count == 17 else _KNOWN[count]
    found = Parsed(skeleton=skeleton)
    for number, people in frames:
        found.frames.setdefault(number, [])
        for entry in people:
            if len(entry["keypoints"]) not in (0, count):
                found.odd += 1
                continue
            found.add(number, _instance(entry, count, len(FOREIGN[skeleton])))
    return found


def _instance(entry: Mapping[str, Any], count: int, kept: int) -> Person | None:
    if not len(entry["keypoints"]):
        return None
    points = np.asarray(entry["keypoints"], dtype=np.float64)
    if points.shape != (count, 2):
        raise InputError(f"an instance has keypoints of shape {points.shape}; expected ({count}, 2)")
    scores = np.asarray(entry.get("keypoint_scores", np.ones(count)), dtype=np.float64)
    if scores.shape != (count,):
        raise InputError(f"an instance has keypoint_scores of shape {scores.shape}; expected ({count},)")
    identity = _identity(entry.get("track_id", entry.get("instance_id")))
    return _person(points[:kept], scores[:kept].clip(0.0, 1.0), identity)


# ----------------------------------------------------------------------------------------------------- MediaPipe


def _mediapipe(files: Sequence[tuple[str, Any]]) -> Parsed:
    found = Parsed(skeleton="mediapipe_33", shares=True)
    frames: list[tuple[int, Any]] = []
    if len(files) > 1:
        numbers = numbers_in_names([name for name, _ in files])
        frames = list(zip(numbers or range(len(files)), [value for _, value in files], strict=True))
    else:
        value = files[0][1]
        if isinstance(value, Mapping):
            width = value.get("width", value.get("image_width"))
            height = value.get("height", value.get("image_height"))
            found.size = (int(width), int(height)) if width and height else None
            value = value.get("frames", [value])
        if value and isinstance(value[0], Mapping) and "x" in _names(value[0]):
            value = [value]  # one frame's landmarks
        frames = [(_frame_number(frame, k), frame) for k, frame in enumerate(value)]
    points = []
    _usual([len(person) for _, frame in frames for person in _people_of(frame)], 33, "MediaPipe has 33", known={33})
    for number, frame in frames:
        found.frames.setdefault(number, [])
        for landmarks in _people_of(frame):
            if len(landmarks) != 33:
                found.empty += not landmarks
                found.odd += bool(landmarks)
                continue
            person = _landmarks(landmarks)
            points.append(np.abs(person.joints[person.confidence > 0]).max(initial=0.0))
            found.add(number, person)
    if points and float(np.median(points)) > _PIXELS:
        found.shares = False
    return found


def _frame_number(frame: Any, order: int) -> int:
    """The number that a frame states, else its place in the list."""
    if isinstance(frame, Mapping):
        for name in ("frame", "frame_id", "frame_number", "frame_index"):
            if isinstance(frame.get(name), int):
                return int(frame[name])
    return order


def _people_of(frame: Any) -> list[Sequence[Mapping[str, Any]]]:
    """Lists of landmarks, one a person, however they are wrapped."""
    if isinstance(frame, Mapping):
        for key, value in frame.items():
            if str(key).lower() in _LANDMARKS and value:
                return _people_of(value)
        return []
    if not frame or not isinstance(frame, Sequence) or isinstance(frame, str):
        return []
    first = frame[0]
    if isinstance(first, Mapping) and "x" in _names(first):
        return [frame]
    return [person for entry in frame for person in (_people_of(entry) or [[]])]


def _landmarks(person: Sequence[Mapping[str, Any]]) -> Person:
    low = [{str(key).lower(): value for key, value in landmark.items()} for landmark in person]
    points = np.array([[float(p["x"]), float(p["y"])] for p in low])
    seen = np.array([float(p.get("visibility", p.get("presence", 1.0))) for p in low]).clip(0.0, 1.0)
    return Person(points, seen * np.isfinite(points).all(1))


# -------------------------------------------------------------------------------------------------------- shared


def _usual(sizes: Iterable[float], default: int, known_ones: str, known: Collection[int] = tuple(_KNOWN)) -> int:
    """The number of joints of (nearly) all people; people without any do not count.

    Raises:
        InputError: more than a tenth of them have another number, or it is not known.
    """
    counts = Counter(size for size in sizes if size)
    if not counts:
        return default
    size, times = counts.most_common(1)[0]
    if times < 0.9 * counts.total() or size not in known:
        listed = ", ".join(f"{size:.4g}" for size in sorted(counts))
        raise InputError(f"people of {listed} joints; {known_ones}, all people alike")
    return int(size)


def _triples(values: Sequence[float], count: int) -> np.ndarray:
    """(count, 3) x, y, confidence of a flat list; what is not finite is missing."""
    points = np.asarray(values, dtype=np.float64)
    if points.size != 3 * count:
        raise InputError(f"{points.size} numbers for a person; expected {count} times x, y, confidence")
    points = points.reshape(count, 3)
    points[:, 2] = np.where(np.isfinite(points).all(1), points[:, 2], 0.0)
    return points


def _person(joints: np.ndarray, confidence: np.ndarray, identity: str | None) -> Person | None:
    """None for somebody without a single keypoint."""
    confidence = np.where(np.isfinite(joints).all(1), confidence.clip(0.0, None), 0.0)
    return Person(joints, confidence, id=identity) if (confidence > 0).any() else None


def _identity(value: Any) -> str | None:
    """A person's id as text; -1, empty and absent are none."""
    while isinstance(value, list):
        if not value:
            return None
        value = value[0]
    if value is None or (isinstance(value, (int, float)) and value < 0) or str(value) in ("", "-1"):
        return None
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


READERS = {"coco": _coco, "openpose": _openpose, "mmpose": _mmpose, "mediapipe": _mediapipe}
"""Format -> reader of the parsed files (name, JSON value)."""
