"""From folders of videos or pictures to a finished store of clips. Resumable: a clip that stands is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from selfsup3d.data.clips import ClipStore, clip_is_ready, finish_store, write_clip
from selfsup3d.data.saliency import SaliencyMethod
from selfsup3d.data.video import VIDEO_SUFFIXES, frame_files, natural_key, read_frames, video_info
from selfsup3d.errors import InputError

__all__ = ["ClipSource", "find_clips", "prepare_clips", "square_resize"]

_WORK_SIZE = 128
"""Pixels at which saliency is found where the clips are to be smaller: outlines gain by it."""


@dataclass(frozen=True)
class ClipSource:
    """One clip to prepare: a person in a video file or a folder of pictures.

    Attributes:
        path: video, or folder of pictures.
        name: shown in reports.
        meta: known facts (person, fps, static_camera ...).
    """

    path: Path
    name: str
    meta: Mapping[str, Any] = field(default_factory=dict)


def find_clips(folder: str | Path) -> list[ClipSource]:
    """Clips in a folder, sorted by name.

    Two layouts: `NAME/frames/*.jpg` beside a `clips.json` (name -> facts), or any tree of video files and folders of
    pictures.

    Raises:
        InputError: no such folder, nothing in it, or a damaged clips.json.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected videos, folders of pictures, or clips.json")
    listing = folder / "clips.json"
    if listing.is_file():
        return _listed_clips(folder, listing)
    found = []
    for parent, children, files in os.walk(folder):
        children[:] = sorted(c for c in children if not c.startswith("."))
        here = Path(parent)
        for file in files:
            if Path(file).suffix.lower() in VIDEO_SUFFIXES and not file.startswith("."):
                found.append(ClipSource(here / file, (here / file).relative_to(folder).as_posix()))
        if frame_files(here):
            found.append(ClipSource(here, here.relative_to(folder).as_posix() if here != folder else folder.name))
    if not found:
        raise InputError(f"{folder}: neither videos ({', '.join(VIDEO_SUFFIXES)}) nor folders of pictures in it")
    return sorted(found, key=lambda source: natural_key(source.name))


def _listed_clips(folder: Path, listing: Path) -> list[ClipSource]:
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
        items = sorted(entries.items())
    except (ValueError, AttributeError, UnicodeDecodeError) as error:
        raise InputError(f"{listing}: expected a JSON object of clip name -> facts ({error})") from error
    found = []
    for name, facts in items:
        frames = folder / name / "frames"
        if not frames.is_dir():
            raise InputError(f"{frames}: missing, though {listing.name} lists {name!r}")
        still = bool(facts.get("fixed_crop", True)) and facts.get("static_camera")
        known = {
            "fps": float(facts.get("fps", 0.0)),
            "person": str(facts.get("person", name)),
            "action": facts.get("action"),
            # A background model needs a crop that stands still, not just a camera that does.
            "static_camera": bool(still) if facts.get("static_camera") is not None else None,
            "note": facts.get("note"),
        }
        found.append(ClipSource(frames, name, known))
    if not found:
        raise InputError(f"{listing}: lists no clips")
    return found


def square_resize(frame: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8: the middle square of a frame, reduced by areas or enlarged bilinearly."""
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frame[top : top + side, left : left + side]
    interpolation = cv2.INTER_AREA if side >= size else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=interpolation)


def prepare_clips(
    source: str | Path,
    output: str | Path,
    size: int = 128,
    *,
    method: SaliencyMethod = "auto",
    max_fps: float = 15.0,
    max_frames: int = 600,
    progress: bool = True,
) -> ClipStore:
    """Prepare every clip under `source` into `output`; a second call does only what is missing.

    Args:
        source: see `find_clips`.
        output: the store's folder.
        size: side of the square frames, pixels.
        method: of the saliency.
        max_fps: frames are skipped down to about this rate.
        max_frames: of one clip; longer ones are thinned out evenly.
        progress: bar on stderr.

    Raises:
        InputError: nothing to prepare, or a clip that cannot be read.
    """
    if size < 16:
        raise InputError(f"size is {size}; expected at least 16 pixels")
    sources = find_clips(source)
    output = Path(output)
    (output / "store.json").unlink(missing_ok=True)  # unfinished from here on
    names = []
    for index, clip in enumerate(tqdm(sources, desc="clips", unit="clip", disable=not progress)):
        name = f"clip_{index:05d}"
        info = video_info(clip.path)
        every = _thinning(info.fps, info.frames, max_fps, max_frames)
        prepared = {"source": clip.name, "size": size, "method": method, "every": every, "stamp": _stamp(clip.path)}
        if not clip_is_ready(output, name, prepared):
            work = max(size, _WORK_SIZE)
            frames = np.stack([square_resize(frame, work) for frame in read_frames(clip.path, every=every)])
            meta = {"name": clip.name, "person": clip.name, "fps": info.fps / every, **clip.meta}
            still = meta.pop("static_camera", None)
            write_clip(output, name, frames, meta, prepared=prepared, method=method, static_camera=still, size=size)
        names.append(name)
    finish_store(output, names, {"source": str(source), "size": size, "method": method})
    return ClipStore(output)


def _thinning(fps: float, frames: int, max_fps: float, max_frames: int) -> int:
    by_rate = max(1, round(fps / max_fps)) if fps else 1
    return max(by_rate, -(-frames // max_frames) if frames else 1)


def _stamp(path: Path) -> list[float]:
    """Size and time of the source, by which a changed one is noticed."""
    files = frame_files(path) if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return [len(files), float(sum(s.st_size for s in stats)), max(s.st_mtime for s in stats)]
