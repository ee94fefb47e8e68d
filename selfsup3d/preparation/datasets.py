"""What `selfsup3d prepare-data` does beside the index: backgrounds, shards, motion capture; parallel and resumable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from selfsup3d.data.datasets.backgrounds import Backgrounds
from selfsup3d.data.datasets.frame_index import FrameIndex, Take, load_index, select_split, with_images
from selfsup3d.data.mocap.convert import MocapOptions, find_recordings, read_recording
from selfsup3d.data.mocap.mocap import check_poses, load_mocap, z_up
from selfsup3d.data.mocap.recording import Recording, retarget, write_mocap
from selfsup3d.data.sampling.clip_store import ClipStore
from selfsup3d.data.sampling.indexed_frames import IndexedFrames
from selfsup3d.data.sampling.shards_write import Record, write_shards
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import default_intrinsics
from selfsup3d.geometry.kinematics import bone_lengths

__all__ = ["fit_backgrounds", "prepare_mocap", "records_of_clips", "records_of_index", "shard_clips", "shard_index"]


def fit_backgrounds(
    index_file: Path, folder: Path, workers: int = 0, progress: bool = True
) -> tuple[int, dict[str, str]]:
    """Fit the background of every still camera of an index; those that stand are kept.

    Returns:
        How many there are now, and take -> reason of those that could not be fitted.
    """
    index = load_index(index_file)
    backgrounds = Backgrounds(folder, index)
    takes = {str(backgrounds.path(t)): t for t in index.takes if t.static_camera and t.image}
    todo = [t for path, t in takes.items() if not Path(path).is_file()]
    failed: dict[str, str] = {}
    job = partial(_fit_one, index_file, folder)
    with tqdm(total=len(takes), initial=len(takes) - len(todo), desc="backgrounds", unit="camera",
              disable=not progress) as bar:  # fmt: skip
        for take, reason in _spread(job, todo, workers):
            bar.update()
            if reason:
                failed[take.name] = reason
    return len(takes) - len(failed), failed


def _fit_one(index_file: Path, folder: Path, take: Take) -> str:
    try:
        Backgrounds(folder, load_index(index_file)).fit(take)
        return ""
    except InputError as error:
        return str(error)


def _spread(job: Any, items: Sequence[Any], workers: int) -> Iterator[tuple[Any, Any]]:
    """(item, job(item)) as they finish, in this process or in several."""
    if workers < 1:
        for item in items:
            yield item, job(item)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[Any], Any] = {pool.submit(job, item): item for item in items}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


# --------------------------------------------------------------------------------------------------------------- shards


def shard_index(
    index: FrameIndex,
    folder: Path,
    size: int,
    backgrounds: Backgrounds | None,
    per_shard: int = 2000,
    progress: bool = True,
) -> dict[str, int]:
    """Write the crops of each split of an index as shards below `folder`; returns samples by split."""
    written = {}
    for split in sorted({t.split for t in index.takes}):
        rows = with_images(select_split(index, split))
        still = backgrounds if backgrounds is not None and all(t.static_camera for t in rows.takes) else None
        source = IndexedFrames(rows, size, backgrounds=still)
        bar = tqdm(records_of_index(source), total=len(rows), desc=f"shards {split}", unit="crop", disable=not progress)
        written[split] = write_shards(folder / split, bar, index.dataset, per_shard, source.notes)
    return written


def records_of_index(source: IndexedFrames, chunk: int = 64) -> Iterator[Record]:
    """Every readable row of an index as a shard's record, take by take."""
    for start in range(0, len(source), chunk):
        batch = source.frames(np.arange(start, min(start + chunk, len(source))))
        assert batch.target is not None
        assert batch.K is not None
        assert batch.joints_3d is not None
        assert batch.joints_2d is not None
        assert batch.confidence is not None
        crops = _bytes(batch.target)
        masks = None if batch.target_saliency is None else _bytes(batch.target_saliency)[..., 0]
        behind = None if batch.target_background is None else _bytes(batch.target_background)
        for n, meta in enumerate(batch.meta):
            joints = batch.joints_3d[n].numpy()
            if not np.isfinite(joints).any():  # its image could not be read
                continue
            yield Record(
                crop=crops[n],
                K=batch.K[n].numpy(),
                person=str(meta["person"]),
                saliency=None if masks is None else masks[n],
                background=None if behind is None else behind[n],
                meta={key: value for key, value in meta.items() if key not in ("dataset", "person")},
                labels={
                    "joints_3d": joints,
                    "joints_2d": batch.joints_2d[n].numpy(),
                    "confidence": batch.confidence[n].numpy(),
                },
            )


def shard_clips(store: ClipStore, folder: Path, per_shard: int = 2000, progress: bool = True) -> int:
    """Write the frames of prepared clips as shards; returns how many."""
    bar = tqdm(records_of_clips(store), total=store.frames, desc="shards", unit="crop", disable=not progress)
    return write_shards(folder, bar, "videos", per_shard)


def records_of_clips(store: ClipStore) -> Iterator[Record]:
    """Every frame of a store of clips as a shard's record; clips without a known pinhole get the default one."""
    default = np.asarray(default_intrinsics(store.image_size))
    for clip in store:
        known = clip.K()
        for frame in range(len(clip)):
            yield Record(
                crop=clip.frames[frame],
                K=default if known is None else known[frame],
                person=clip.person,
                saliency=clip.saliency[frame],
                background=clip.background if clip.background.ndim == 3 else clip.background[frame],  # type: ignore[arg-type]
                meta={"clip": clip.name, "file": str(clip.meta.get("name", clip.name)), "frame": frame},
            )


def _bytes(images: Any) -> np.ndarray:
    """(B, C, S, S) in [0, 1] -> (B, S, S, C) uint8."""
    return (images * 255.0).round().byte().permute(0, 2, 3, 1).numpy()


# --------------------------------------------------------------------------------------------------------------- mocap


def prepare_mocap(
    folder: Path,
    output: Path,
    options: MocapOptions,
    fps: float = 20.0,
    max_failed: int = 20,
    workers: int = 0,
    progress: bool = True,
    body: Path | None = None,
) -> tuple[list[Recording], dict[str, str]]:
    """Bring a folder of motion capture to the npz of `data.mocap`.

    Args:
        body: npz of motion capture whose mean bone lengths every recording takes (inverse and forward kinematics);
            None = everyone keeps their own.

    Returns:
        The recordings, and file -> reason of those that were left out: unreadable, slower than `fps`, or with poses that
        `load_mocap` would refuse.

    Raises:
        InputError: nothing there, or more than `max_failed` files failed (the first is named).
    """
    files = find_recordings(folder)
    lengths: np.ndarray | None = None
    if body is not None:
        lengths = bone_lengths(torch.from_numpy(load_mocap(body, "all").positions).double()).mean(0).numpy()
    found: dict[Path, Recording] = {}
    failed: dict[str, str] = {}
    with tqdm(total=len(files), desc="motion capture", unit="file", disable=not progress) as bar:
        for path, (recording, reason) in _spread(partial(_read_one, options, fps, lengths), files, workers):
            bar.update()
            if recording is not None:
                found[path] = recording
                continue
            failed[str(path)] = reason
            if len(failed) > max_failed:
                first = next(iter(failed.values()))
                raise InputError(
                    f"{folder}: {len(failed)} files cannot be read (limit {max_failed}); the first: {first}"
                )
    recordings = [found[path] for path in files if path in found]
    if not recordings:
        raise InputError(f"{folder}: no file can be read; the first: {next(iter(failed.values()))}")
    write_mocap(output, recordings, fps)
    return recordings, failed


def _read_one(
    options: MocapOptions, fps: float, lengths: np.ndarray | None, path: Path
) -> tuple[Recording | None, str]:
    """A recording that the npz can hold and `load_mocap` reads, or why there is none."""
    try:
        recording = read_recording(path, options)
        if recording.fps < fps - 1e-3:
            raise InputError(
                f"{path}: {recording.fps:g} frames/s, less than the {fps:g} of the npz; give a lower --fps"
            )
        if lengths is not None:
            recording = retarget(recording, lengths)
        check_poses(z_up(recording.positions), np.zeros(len(recording), int), [recording.name], path)
        return recording, ""
    except InputError as error:
        return None, str(error)
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, OSError) as error:
        return None, f"{path}: {type(error).__name__}: {error}"  # one damaged file never ends a folder
