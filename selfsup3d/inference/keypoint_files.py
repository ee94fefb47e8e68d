"""2D keypoints that other tools wrote (`keypoint_formats`), as one sequence a person.

Joints are brought over by the explicit tables of `joint_formats.FOREIGN`; those that a format does not mark (spine, head)
get confidence 0, and lifters fill them in. Frame numbers come from the files' names and ids, so that gaps stay gaps.
Several people are told apart by their ids, or followed (`people`). What is left out is counted in `notes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from selfsup3d.config.choices import KeypointFormat
from selfsup3d.errors import InputError
from selfsup3d.inference.keypoint_formats import READERS, Parsed, guess_format
from selfsup3d.inference.people import Person, PersonTrack, Tracker, track_people
from selfsup3d.io.images import file_kind, find_images, natural_key
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import read_within
from selfsup3d.structures.joint_formats import FOREIGN

__all__ = ["KeypointSequence", "holds_keypoints", "read_keypoints", "read_people", "sequence_of"]

_SCALED = 2.0  # a person of so few pixels is none: the coordinates are shares of the image


@dataclass(frozen=True)
class KeypointSequence:
    """One person's keypoints.

    Attributes:
        joints: (T, 17, 2) float32 px, 0 where the confidence is 0.
        confidence: (T, 17) float32.
        frames: (T,) frame numbers, increasing; frames without the person are left out.
        size: (width, height) of the images, px, where it is known.
        format: that the file has. skeleton: name of the foreign one.
        person: the id that the file gives, or a number in order of appearance.
        others: people of the same file that are not in this sequence.
        notes: lines about what was left out, assumed or absent, to print.
    """

    joints: np.ndarray
    confidence: np.ndarray
    frames: np.ndarray
    size: tuple[int, int] | None
    format: str
    skeleton: str
    person: str = ""
    others: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.joints)


def holds_keypoints(path: str | Path) -> bool:
    """Whether a source is of keypoints, by its content: JSON, or a folder with JSON and without images.

    A damaged file counts where its name says so.
    """
    path = Path(path)
    if path.is_dir():
        return any(path.glob("*.json")) and not find_images(path).files
    if path.suffix.lower() == ".json":
        return True
    if file_kind(path) != "text":
        return False
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def read_keypoints(
    path: str | Path,
    format: KeypointFormat | None = None,
    size: tuple[int, int] | None = None,
    person: str | None = None,
) -> KeypointSequence:
    """One person's keypoints: the one that is named, or the one of whom most is seen.

    Args:
        path: JSON file, or a folder of them, one a frame.
        format: None = taken from the contents.
        size: (width, height) of the images; needed where coordinates are shares of the image.
        person: id in the file, or a number in order of appearance; None = of whom most is seen.

    Raises:
        InputError: see `read_people`; nobody of that name.
    """
    people = read_people(path, format, size)
    if person is None:
        return people[0]
    for sequence in people:
        if sequence.person == person:
            return sequence
    names = ", ".join(sequence.person for sequence in people[:8])
    raise InputError(f"{path}: nobody is called {person!r}; the people are {names}")


def read_people(
    path: str | Path, format: KeypointFormat | None = None, size: tuple[int, int] | None = None
) -> list[KeypointSequence]:
    """Everybody's keypoints; the person of whom most is seen comes first.

    Args:
        path, format, size: see `read_keypoints`.

    Raises:
        InputError: missing, damaged or of no known format; nobody in it; shares of an image whose size is not known.
    """
    path = Path(path)
    if format is not None and format not in get_args(KeypointFormat):
        raise InputError(
            f"keypoint format {format!r} is unknown; expected one of {', '.join(get_args(KeypointFormat))}"
        )
    files, notes = _folder(path, format) if path.is_dir() else ([(path.name, _load(path))], [])
    kind = format or guess_format(files[0][1])
    if kind is None:
        raise InputError(f"{path}: neither COCO, OpenPose, MediaPipe nor MMPose keypoints")
    try:
        parsed = READERS[kind](files)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path}: damaged, or not {kind} keypoints ({error!r})") from error
    if parsed.empty:
        notes.append(f"{path}: {parsed.empty} people without a single keypoint are skipped")
    if parsed.odd:
        notes.append(f"{path}: {parsed.odd} people of another number of joints than all others are skipped")
    notes += _in_pixels(path, parsed, size)
    tracker = track_people(sorted(parsed.frames.items()))
    if not tracker.tracks:
        raise InputError(f"{path}: nobody is marked in any frame")
    return _sequences(path, parsed, tracker, size or parsed.size, kind, notes)


def _sequences(
    path: Path, parsed: Parsed, tracker: Tracker, size: tuple[int, int] | None, kind: str, notes: list[str]
) -> list[KeypointSequence]:
    if tracker.duplicates:
        notes.append(f"{path}: {tracker.duplicates} people repeat the id of another in their frame and are skipped")
    found = []
    for track in sorted(tracker.tracks, key=lambda track: -track.weight):
        others = len(tracker.tracks) - 1
        sequence = sequence_of(track, parsed.skeleton, size, kind, others, tuple(notes))
        if sequence is not None:
            found.append(sequence)
    if not found:
        raise InputError(f"{path}: none of our joints is marked in any frame")
    return found


def sequence_of(
    track: PersonTrack,
    skeleton: str,
    size: tuple[int, int] | None,
    kind: str,
    others: int = 0,
    notes: tuple[str, ...] = (),
) -> KeypointSequence | None:
    """A track's keypoints in our joints; None where it shows none of them (somebody of whom only the eyes are marked)."""
    joints, confidence = FOREIGN[skeleton].convert(
        np.stack([person.joints for person in track.people]), np.stack([person.confidence for person in track.people])
    )
    seen = (confidence > 0).any(1)
    if not seen.any():
        return None
    numbers = np.array(track.frames)[seen]
    joints, confidence = joints[seen].astype(np.float32), confidence[seen].astype(np.float32)
    return KeypointSequence(joints, confidence, numbers, size, kind, skeleton, track.id, others, notes)


def _in_pixels(path: Path, parsed: Parsed, size: tuple[int, int] | None) -> list[str]:
    """Turn shares of the image into pixels, in place; a line about what was taken.

    Raises:
        InputError: the image's size is not known.
    """
    people = [person for frame in parsed.frames.values() for person in frame]
    values = np.concatenate([p.joints[p.confidence > 0] for p in people]) if people else np.zeros((0, 2))
    if not len(values):
        return []
    low, high = float(values.min()), float(values.max())
    if not parsed.shares and max(abs(low), abs(high)) > _SCALED:
        return []
    size = size or parsed.size
    if size is None:
        raise InputError(
            f"{path}: all coordinates lie in {low:.2f} ... {high:.2f}, so they are shares of the image and not pixels; "
            "give its size with --image-size WIDTHxHEIGHT"
        )
    signed = not parsed.shares and low < -0.2  # OpenPose's --keypoint_scale 4
    for number, frame in parsed.frames.items():
        parsed.frames[number] = [
            Person((0.5 * (p.joints + 1.0) if signed else p.joints) * np.array(size, float), p.confidence, id=p.id)
            for p in frame
        ]
    if parsed.shares:
        return []
    return [f"{path}: coordinates are taken for shares of the image, {'-1 ... 1' if signed else '0 ... 1'}"]


def _folder(path: Path, format: KeypointFormat | None) -> tuple[list[tuple[str, Any]], list[str]]:
    """Names and contents of a folder's keypoint files, and a line about those that were skipped.

    Raises:
        InputError: no JSON, or none that holds keypoints.
    """
    names = sorted(path.glob("*.json"), key=lambda p: natural_key(p.stem))
    if not names:
        raise InputError(f"{path}: no JSON in this folder; expected one file of keypoints a frame")
    read: list[tuple[str, Any, KeypointFormat | None]] = []
    skipped, first = [], None
    for file in names:
        try:
            value = _load(file)
        except InputError as error:
            skipped.append(file.name)
            first = first or error
            continue
        read.append((file.name, value, format or guess_format(value)))
    kinds = [kind for _, _, kind in read if kind is not None]
    if not kinds:
        raise first or InputError(f"{path}: neither COCO, OpenPose, MediaPipe nor MMPose keypoints in these files")
    usual = max(set(kinds), key=kinds.count)
    # A list without anybody has no marks of a format: it is an empty frame of the usual one.
    kept = [(name, value) for name, value, kind in read if kind == usual or (kind is None and value == [])]
    skipped += [name for name, value, kind in read if kind != usual and not (kind is None and value == [])]
    notes = []
    if skipped:
        shown = ", ".join(skipped[:3]) + (" ..." if len(skipped) > 3 else "")
        notes.append(
            f"{path}: {len(skipped)} of {len(names)} files hold no {usual} keypoints and are skipped ({shown})"
        )
    return kept, notes


def _load(path: Path) -> Any:
    try:
        data = read_within(path)
        wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        return parse_json(data.decode("utf-16" if wide else "utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected keypoints as JSON") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
