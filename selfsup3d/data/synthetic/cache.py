"""synth-v1 on disk: rendered clips that look like any prepared video, and their ground truth in a folder apart.

    ROOT/<preset>-<hash>-r<rendering>/<size>/
      train/            a `data.clips` store: frames, saliency and background by the real code, meta without any pose
      train_truth/      clip_00000.npz: see `truth_of`
      val/  val_truth/  ...

ROOT is ~/.cache/selfsup3d unless given or set by SELFSUP3D_CACHE. A clip appears whole, its truth before it; a split is
usable once its store is finished. The hash covers every integer of the specification.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from selfsup3d.data.sampling.clip_store import Clip, clip_is_ready, finish_store, store_is_finished, write_clip
from selfsup3d.data.synthetic.background import View, render_background
from selfsup3d.data.synthetic.body import People
from selfsup3d.data.synthetic.render import Cameras, Rendered, render
from selfsup3d.data.synthetic.scene import Scene, make_scene, transfers
from selfsup3d.data.synthetic.spec import RENDERING, Preset, preset_named, spec_hash
from selfsup3d.errors import InputError
from selfsup3d.geometry.kinematics import body_frame, bone_lengths, canonicalize
from selfsup3d.io.files import atomic_path
from selfsup3d.io.stored_arrays import file_digest

__all__ = [
    "SIZES",
    "SplitFolders",
    "altered_truth",
    "cache_root",
    "clip_name",
    "draw_scene",
    "folders",
    "prepare",
    "truth_of",
]

SIZES = (16, 32, 64, 96, 128, 256)
"""Image sizes that can be rendered; 16 and 32 are for tests and thumbnails."""


def cache_root(root: str | Path | None = None) -> Path:
    """The folder of all caches: `root`, else $SELFSUP3D_CACHE, else ~/.cache/selfsup3d.

    Raises:
        InputError: none is given and this user has no home.
    """
    given = root or os.environ.get("SELFSUP3D_CACHE")
    try:
        return Path(given) if given else Path.home() / ".cache" / "selfsup3d"
    except RuntimeError:
        raise InputError(
            "this user has no home folder; set SELFSUP3D_CACHE=FOLDER for rendered and prepared data"
        ) from None


@dataclass(frozen=True)
class SplitFolders:
    """Where a split lies: `clips` is a `data.clips` store, `truth` holds one npz per clip."""

    clips: Path
    truth: Path


def folders(root: str | Path | None, preset: Preset, size: int, split: str) -> SplitFolders:
    """Folders of a split (they need not exist)."""
    base = cache_root(root) / f"{preset.name}-{spec_hash(preset)[:12]}-r{RENDERING}" / str(size)
    return SplitFolders(base / split, base / f"{split}_truth")


def clip_name(clip: int) -> str:
    """Folder of a clip within its store."""
    return f"clip_{clip:05d}"


def draw_scene(scene: Scene, joints: np.ndarray, cameras: Cameras, size: int, labels: bool = True) -> Rendered:
    """Images of a scene's person in T poses (T, 17, 3), seen by T cameras; a still camera's background is drawn once."""
    views: list[View] = []
    view = np.zeros(len(cameras), dtype=np.int64)
    for frame in range(len(cameras)):
        same = frame > 0 and all(
            np.array_equal(a[frame], a[frame - 1]) for a in (cameras.K, cameras.rotation, cameras.translation)
        )
        if not same:
            one = cameras[frame : frame + 1]
            views.append(render_background(scene.background, one.K[0], one.rotation[0], one.translation[0], size))
        view[frame] = len(views) - 1
    background = scene.background
    return render(
        People.of([scene.person]),
        np.zeros(len(joints), dtype=np.int64),
        joints,
        cameras,
        views,
        view,
        [background.light] * len(views),
        [background.shadow] * len(views),
        labels,
    )


def _body_to_camera(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rotation, translation = body_frame(torch.from_numpy(joints))
    return rotation.numpy(), translation.numpy()


def truth_of(preset: Preset, scene: Scene, size: int, views: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The frames (T, S, S, 3) uint8 of a scene and everything that is known about them.

    Args:
        preset: that the scene belongs to.
        scene: the clip.
        size: S.
        views: also the second view and the transfer target of every frame.

    Returns:
        frames and truth: joints_3d (T, 17, 3) camera frame, metres; joints_2d (T, 17, 2) px; canonical (T, 17, 3);
        bone_lengths (T, 17) of the kinematic tree; rotation, translation body -> camera; K (T, 3, 3); labels
        (T, S, S) uint8; depth (T, S, S) float16; action; and, with views, second and transfer (T, S, S, 3) uint8 with
        their joints_3d and labels, second_K, second_rotation, second_translation, transfer_clip, transfer_frame.
    """
    drawn = draw_scene(scene, scene.joints, scene.camera, size)
    assert drawn.labels is not None
    assert drawn.depth is not None
    seen = scene.camera.view(scene.joints)
    rotation, translation = _body_to_camera(seen)
    truth: dict[str, np.ndarray] = {
        "joints_3d": seen,
        "joints_2d": scene.camera.project(seen),
        "canonical": canonicalize(torch.from_numpy(seen)).numpy(),
        "bone_lengths": bone_lengths(torch.from_numpy(seen)).numpy(),
        "rotation": rotation,
        "translation": translation,
        "K": scene.camera.K,
        "labels": drawn.labels,
        "depth": np.minimum(drawn.depth, 6e4).astype(np.float16),
        "action": np.array(scene.motion.action),
    }
    if views:
        second = draw_scene(scene, scene.joints, scene.second, size)
        truth |= {"second": second.image, "second_labels": second.labels, "second_K": scene.second.K}  # type: ignore[dict-item]
        truth["second_joints_3d"] = scene.second.view(scene.joints)
        truth["second_rotation"], truth["second_translation"] = _body_to_camera(truth["second_joints_3d"])
        other = transfers(preset, scene)
        posed = draw_scene(scene, other.joints, scene.camera, size)
        truth |= {"transfer": posed.image, "transfer_labels": posed.labels}  # type: ignore[dict-item]
        truth["transfer_joints_3d"] = scene.camera.view(other.joints)
        truth |= {"transfer_clip": other.clip, "transfer_frame": other.frame}
    return drawn.image, {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in truth.items()}


@dataclass(frozen=True)
class _Job:
    preset: Preset
    split: str
    clip: int
    size: int
    where: SplitFolders
    prepared: dict[str, Any]


def _prepare_clip(job: _Job) -> int:
    """Render one clip, write its truth, then the clip with its saliency and background. Returns its number of frames."""
    scene = make_scene(job.preset, job.split, job.clip, job.size)
    frames, truth = truth_of(job.preset, scene, job.size, views=job.split != "train")
    with atomic_path(job.where.truth / f"{clip_name(job.clip)}.npz") as temporary:
        with temporary.open("wb") as file:
            np.savez(file, **truth)  # type: ignore[arg-type]
        digest = file_digest(temporary)
    K = scene.camera.K[0] if scene.static else scene.camera.K
    meta = {
        "name": f"{job.split}/{job.clip}",
        "person": f"{job.split}-{job.clip}",
        "action": scene.motion.action,
        "fps": round(scene.motion.fps, 3),
        "K": np.round(K, 5).tolist(),
        "truth_sha256": digest,
    }
    write_clip(job.where.clips, clip_name(job.clip), frames, meta, prepared=job.prepared, static_camera=scene.static)
    return len(scene)


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def prepare(
    root: str | Path | None = None,
    preset: str | Preset = "quickstart",
    size: int = 64,
    splits: Iterable[str] = ("train", "val"),
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, SplitFolders]:
    """Render what is not rendered yet, or no longer whole, with a progress bar on stderr; call it again at any time.

    Args:
        root: of the cache, see `cache_root`.
        preset: or its name.
        size: of `SIZES`.
        splits: of "train", "val", "test"; a split that the preset leaves empty is skipped.
        workers: processes; 0 = in this one; None = one for each core, at most 4. They are started afresh, so a script
            that calls this needs the usual `if __name__ == "__main__"`.
        progress: show the bar.

    Returns:
        The folders of each split that has clips.

    Raises:
        InputError: unknown preset, size or split.
    """
    preset = preset_named(preset) if isinstance(preset, str) else preset
    if size not in SIZES:
        raise InputError(f"synthetic size {size}: expected one of {', '.join(map(str, SIZES))}")
    prepared = {"spec": spec_hash(preset), "rendering": RENDERING, "size": size}
    where = {split: folders(root, preset, size, split) for split in splits if preset.clips(split)}
    jobs = [
        _Job(preset, split, clip, size, places, prepared)
        for split, places in where.items()
        for clip in range(preset.clips(split))
        if not _is_ready(places, clip, prepared)
    ]
    workers = (
        min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        if workers is None
        else workers
    )
    for folder in {folder for job in jobs for folder in (job.where.clips, job.where.truth)}:
        folder.mkdir(parents=True, exist_ok=True)  # where nothing can be written, that is told before any work
    with tqdm(total=len(jobs), desc=f"rendering synth-v1 {preset.name} {size}px", unit="clip",
              disable=not progress or not jobs) as bar:  # fmt: skip
        for _ in _run(jobs, min(workers, len(jobs))):
            bar.update()
    for split, places in where.items():
        names = [clip_name(clip) for clip in range(preset.clips(split))]
        if not store_is_finished(places.clips, names):
            finish_store(places.clips, names, {"preset": preset.name, "split": split, **prepared})
    return where


def altered_truth(clips: Iterable[Clip], store: Path) -> dict[Path, str]:
    """Ground truth that is missing or differs from its checksum: file -> what is wrong; {} for what was not rendered.

    Args:
        clips: whole ones of a store. store: its folder.
    """
    faults = {}
    for clip in clips:
        digest = clip.meta.get("truth_sha256")
        path = store.with_name(f"{store.name}_truth") / f"{clip.name}.npz"
        if digest is not None and not path.is_file():
            faults[path] = "missing"
        elif digest is not None and file_digest(path) != digest:
            faults[path] = "altered after it was rendered"
    return faults


def _is_ready(places: SplitFolders, clip: int, prepared: dict[str, Any]) -> bool:
    truth = places.truth / f"{clip_name(clip)}.npz"
    return truth.is_file() and clip_is_ready(places.clips, clip_name(clip), prepared)


def _run(jobs: list[_Job], workers: int) -> Iterable[int]:
    if workers <= 1:
        yield from map(_prepare_clip, jobs)
        return
    # Forked processes inherit locks of torch's and OpenCV's thread pools: start them afresh.
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
        pending: list[Future[int]] = [pool.submit(_prepare_clip, job) for job in jobs]
        try:
            for future in as_completed(pending):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
