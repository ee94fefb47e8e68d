"""From folders of videos or images to a finished store of clips, one person each. Resumable.

What was kept and what was dropped, and why, stands in STORE/report.json and is drawn in STORE/report.png.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from selfsup3d.config.choices import CropMode, SaliencyMethod
from selfsup3d.data.saliency.saliency import with_masks
from selfsup3d.data.sampling.clip_store import ClipStore, clip_is_ready, finish_store, save_clip
from selfsup3d.errors import FatalInputError, InputError
from selfsup3d.io.files import visible_files, write_json
from selfsup3d.io.images import frame_files, natural_key
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import read_within
from selfsup3d.io.names import clean_relative
from selfsup3d.io.video import VIDEO_SUFFIXES, is_video
from selfsup3d.preparation.boxes import find_box_file
from selfsup3d.preparation.cropping import Dropped, PersonClip
from selfsup3d.preparation.person_clips import CropSettings, person_clips
from selfsup3d.preparation.report import write_report

__all__ = ["ClipKeypoints", "ClipSource", "Marker", "find_clips", "prepare_clips"]

_WORK_SIZE = 128
"""Pixels at which saliency is found where the clips are to be smaller: outlines gain by it."""


_MARKED_SIZE = 256
"""Pixels of the crops in which a detector marks keypoints: those of 64 would be too coarse."""


@dataclass(frozen=True)
class ClipKeypoints:
    """What a detector finds in a clip.

    Attributes:
        joints: (T, 17, 3) x and y px of the frames, and confidence, 0 = not found.
        masks: (T, S, S) uint8, 255 = surely the person; None = the detector makes none.
    """

    joints: np.ndarray
    masks: np.ndarray | None = None


class Marker(Protocol):
    """Marks keypoints of the person whom a clip shows.

    Attributes:
        name: of the detector and its weights; clips of another one are prepared again.
    """

    name: str

    def __call__(self, frames: np.ndarray, fps: float) -> ClipKeypoints:
        """Keypoints of frames (T, S, S, 3) uint8 RGB of one person."""
        ...


@dataclass(frozen=True)
class ClipSource:
    """A video file or a folder of images.

    Attributes:
        path: of the file or folder.
        name: shown in reports.
        crop: None = as asked for; "whole" where somebody cut the person out already.
        meta: known facts (person, action, fps, static_camera, note).
    """

    path: Path
    name: str
    crop: CropMode | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def find_clips(folder: str | Path) -> list[ClipSource]:
    """Videos and folders of images, sorted by name.

    Two layouts: `NAME/frames/*.jpg` beside a `clips.json` (name -> facts), or any tree of video files and folders of
    images. A single video is fine too.

    Raises:
        InputError: no such folder, nothing in it, or a damaged clips.json.
    """
    folder = Path(folder)
    if folder.is_file():
        return [ClipSource(folder, folder.name)]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected videos, folders of images, or clips.json")
    listing = folder / "clips.json"
    if listing.is_file():
        return _listed_clips(folder, listing)
    found = []
    for here, files in visible_files(folder):
        for file in files:
            if is_video(here / file):
                found.append(ClipSource(here / file, (here / file).relative_to(folder).as_posix()))
        if frame_files(here):
            found.append(ClipSource(here, here.relative_to(folder).as_posix() if here != folder else folder.name))
    if not found:
        raise InputError(f"{folder}: neither videos ({', '.join(VIDEO_SUFFIXES)}) nor folders of images in it")
    return sorted(found, key=lambda source: natural_key(source.name))


def _listed_clips(folder: Path, listing: Path) -> list[ClipSource]:
    try:
        entries = parse_json(read_within(listing).decode())
        items = sorted(entries.items())
        found = [_listed_clip(folder, name, facts) for name, facts in items]
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{listing}: expected a JSON object of clip name -> facts ({error})") from error
    if not found:
        raise InputError(f"{listing}: lists no clips")
    return found


def _listed_clip(folder: Path, name: str, facts: Mapping[str, Any]) -> ClipSource:
    clean_relative(name, folder / "clips.json")
    frames = folder / name / "frames"
    if not frames.is_dir():
        raise InputError(f"{frames}: missing, though clips.json lists {name!r}")
    known: dict[str, Any] = {
        "fps": float(facts.get("fps", 0.0)),
        "person": str(facts.get("person", name)),
        "action": facts.get("action"),
        "note": facts.get("note"),
    }
    if facts.get("static_camera") is not None:
        # A background model needs a crop that stands still, not just a camera that does.
        known["static_camera"] = bool(facts["static_camera"]) and bool(facts.get("fixed_crop", True))
    return ClipSource(frames, name, "whole", known)


def prepare_clips(
    source: str | Path,
    output: str | Path,
    size: int = 128,
    *,
    crop: CropMode = "auto",
    method: SaliencyMethod = "auto",
    max_fps: float = 15.0,
    max_frames: int = 600,
    detector: str | None = None,
    segmenter: str | None = None,
    marker: Marker | None = None,
    progress: bool = True,
) -> ClipStore:
    """Prepare every person under `source` into `output`; a second call does only what is missing.

    A video that cannot be read is skipped and named in the report and on stderr.

    Args:
        source: see `find_clips`.
        output: the store's folder.
        size: side of the square frames, pixels.
        crop: how people are found, see `data.people.CropSettings`.
        method: of the saliency.
        max_fps: frames are skipped down to about this rate.
        max_frames: of one clip; longer ones are thinned out evenly.
        detector, segmenter: weight files for crop "detector" and method "network", see `data.pretrained`.
        marker: gives keypoints and masks, which take the saliency's place; None = clips without keypoints.
        progress: bar on stderr.

    Raises:
        InputError: nothing to prepare, or nobody found in any video; the message tells the first reason.
    """
    if size < 16:
        raise InputError(f"size is {size}; expected at least 16 pixels")
    sources = find_clips(source)
    output = Path(output)
    work = max(size, _WORK_SIZE if marker is None else _MARKED_SIZE)
    settings = CropSettings(crop, work, max_fps, max_frames, method=method, detector=detector, segmenter=segmenter)
    key = {"size": size, **asdict(settings)} | ({} if marker is None else {"marker": marker.name})
    if _stands(output, sources, key):
        return ClipStore(output)
    (output / "store.json").unlink(missing_ok=True)  # unfinished from here on
    records = []
    for index, video in enumerate(tqdm(sources, desc="videos", unit="video", disable=not progress)):
        records.append(_prepare_video(output, f"clip_{index:05d}", video, settings, size, key, marker))
        if records[-1]["error"]:
            tqdm.write(f"skipped: {records[-1]['error']}", file=sys.stderr)
    names = [clip["clip"] for record in records for clip in record["kept"]]
    write_report(output, records)
    if not names:
        reasons = [
            r["error"] or f"{r['name']}: {r['dropped'][0]['reason'] if r['dropped'] else 'empty'}" for r in records
        ]
        raise InputError(f"{source}: no person was found in {len(sources)} videos; {reasons[0]}")
    finish_store(output, names, {"source": str(Path(source).resolve()), "key": key, "sources": _fingerprint(sources)})
    return ClipStore(output)


def _stands(output: Path, sources: list[ClipSource], key: Mapping[str, Any]) -> bool:
    """Whether the finished store is of just these sources and settings, and all of its clips are whole."""
    try:
        settings = ClipStore(output).settings
    except FatalInputError:
        raise
    except InputError:
        return False
    return bool(settings.get("key") == json.loads(json.dumps(key)) and settings.get("sources") == _fingerprint(sources))


def _prepare_video(
    output: Path,
    prefix: str,
    video: ClipSource,
    settings: CropSettings,
    size: int,
    key: Mapping[str, Any],
    marker: Marker | None,
) -> dict[str, Any]:
    """Cut out and write the people of one video; its record for the report. Done before = read back."""
    file = output / "videos" / f"{prefix}.json"
    stamp = {"key": dict(key), "stamp": _stamp(video)}
    done = _done(file, output, stamp)
    if done is not None:
        return done
    record: dict[str, Any] = {**stamp, "name": video.name, "error": None, "kept": [], "dropped": []}
    settings = replace(settings, mode=video.crop or settings.mode, static_camera=video.meta.get("static_camera"))
    try:
        for result in person_clips(video.path, settings):
            if isinstance(result, Dropped):
                record["dropped"].append(asdict(result))
                continue
            marked = None if marker is None else marker(result.frames, result.fps)
            if marked is not None and not (marked.joints[..., 2] > 0).any():
                first, last = result.numbers[[0, -1]].tolist()
                record["dropped"].append(asdict(Dropped("no keypoints: the detector finds nobody", first, last)))
                continue
            name = f"{prefix}_{len(record['kept']):02d}"
            record["kept"].append({"clip": name, **_write(output, name, video, result, size, marked)})
    except InputError as error:
        record["error"] = str(error)
        return record  # not kept for the next time: the file may be mended by then
    write_json(file, record)
    return record


def _write(
    output: Path, name: str, video: ClipSource, clip: PersonClip, size: int, marked: ClipKeypoints | None
) -> dict[str, Any]:
    known = {k: v for k, v in video.meta.items() if v is not None and k != "static_camera"}
    person = clip.person or known.get("person") or f"{video.name} {name}"
    meta = {
        **known,
        "name": video.name,
        "person": str(person),
        "fps": known.get("fps") or clip.fps,
        "boxes": clip.boxes.round(2).tolist(),
        "frame_numbers": clip.numbers.tolist(),
    }
    saliency = clip.saliency
    facts: dict[str, Any] = {}
    if marked is not None:
        found = np.asarray(marked.joints[..., 2] > 0).any(1)
        facts["frames_with_keypoints"] = int(found.sum())
        if marked.masks is not None:  # where the detector finds nobody, the usual mask stays
            masks = np.where(np.asarray(found)[:, None, None], marked.masks, saliency.saliency)
            saliency = with_masks(saliency, clip.frames, masks, "detector")
    save_clip(output, name, clip.frames, saliency, meta, size=size, keypoints=None if marked is None else marked.joints)
    return {
        "frames": len(clip.frames),
        "first": int(clip.numbers[0]),
        "last": int(clip.numbers[-1]),
        "person": str(person),
        "saliency": saliency.method,
        "coverage": round(saliency.coverage, 4),
        **facts,
        **clip.statistics,
    }


def _done(file: Path, output: Path, stamp: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of an earlier call, if it was made alike and all of its clips stand."""
    try:
        record = parse_json(file.read_text(encoding="utf-8"))
        same = {name: record[name] for name in stamp} == json.loads(json.dumps(stamp))
        stand = all(clip_is_ready(output, clip["clip"], {}) for clip in record["kept"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if same and stand else None


def _fingerprint(sources: list[ClipSource]) -> list[Any]:
    return json.loads(json.dumps([[source.name, _stamp(source)] for source in sources]))


def _stamp(video: ClipSource) -> list[Any]:
    """Size and time of the source and its box file, and what is known of it: by these a change is noticed."""
    files = frame_files(video.path) if video.path.is_dir() else [video.path]
    boxes = find_box_file(video.path)
    # A link that leads nowhere is the reader's to tell.
    stats = [file.stat() for file in [*files, *([boxes] if boxes else [])] if file.exists()]
    return [len(files), sum(s.st_size for s in stats), max((s.st_mtime for s in stats), default=0.0), dict(video.meta)]
