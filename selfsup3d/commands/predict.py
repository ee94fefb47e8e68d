"""3D pose of the person in an image, a folder of images, a video, or 2D keypoints."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from selfsup3d.builders.systems import evaluated, load_system
from selfsup3d.cli import refuse_overwrite
from selfsup3d.commands.options.predict import parse
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.export.bvh import write_bvh
from selfsup3d.export.gltf import write_glb
from selfsup3d.export.rig import grounded
from selfsup3d.inference.clock import Clock
from selfsup3d.inference.device import pick_device
from selfsup3d.inference.drawing import beside, overlay, overlays
from selfsup3d.inference.keypoint_files import read_keypoints
from selfsup3d.inference.predictor import (
    PosedFrame,
    Predictor,
    images_of,
    lift_keypoints,
    smoothed,
    somebody_of,
)
from selfsup3d.inference.records import PoseRecord, no_finite_pose
from selfsup3d.inference.smoothing import OneEuro
from selfsup3d.inference.windows import WindowOptions, find_windows
from selfsup3d.io.files import no_trace
from selfsup3d.io.images import frame_files, is_image
from selfsup3d.io.names import fitting
from selfsup3d.io.video import video_info
from selfsup3d.models.system import System
from selfsup3d.viz.animation import write_animation
from selfsup3d.viz.sheets import write_png
from selfsup3d.viz.view3d import turntable

__all__ = ["main"]

USUAL_FPS = 12.0
"""Of what has no frame rate of its own."""


def main(argv: list[str]) -> int:
    args = parse(argv)
    keypoints = args.input.suffix.lower() == ".json" or (
        args.input.is_dir() and any(args.input.glob("*_keypoints.json"))
    )
    images = not keypoints and (args.input.is_dir() or is_image(args.input))
    files = _files(args, images)
    refuse_overwrite(list(files.values()), args.overwrite)
    system, config = load_system(args.checkpoint, pick_device(args.device))
    clock = Clock()
    with no_trace(args.output):
        args.output.mkdir(parents=True, exist_ok=True)
        record = _predict(args, system, config, keypoints, images, files, clock)
        with clock.stage("save"):
            _save(record, files, _fps(args, record.fps), args.ground)
    print(clock.report(len(record)))
    for path in files.values():
        print(path)
    return 0


def _predict(
    args: argparse.Namespace,
    system: System,
    config: Config,
    keypoints: bool,
    images: bool,
    files: dict[str, Path],
    clock: Clock,
) -> PoseRecord:
    """Poses of the input; the overlay is written on the way."""
    if not keypoints:
        size = int(getattr(evaluated(config), "size", 64))
        over_time = not images if args.over_time is None else args.over_time
        predictor = Predictor(
            system, size, args.batch_size, args.focal, args.parts, averaging=args.averaging, over_time=over_time
        )
        return _watch(args, predictor, images, files, clock)
    if args.averaging != "none" or args.over_time is not None:
        raise InputError("--averaging and --over-time are of image models; keypoints are lifted as they are")
    found = read_keypoints(args.input, args.format, args.image_size)
    with clock.stage("network"):
        record = lift_keypoints(system, found, args.fps or 0.0, args.focal, str(args.input))
    record.refuse_nonfinite()
    record = record.thinned(args.every, args.limit)
    if args.smooth:
        record = smoothed(record, OneEuro(_fps(args, record.fps), args.cutoff))
    if "overlay" in files:
        write_animation(
            files["overlay"], turntable(record.metric(), frames=max(len(record), 24)), _fps(args, record.fps)
        )
    return record


def _files(args: argparse.Namespace, images: bool) -> dict[str, Path]:
    """Everything that will be written, by what it is."""
    files = {"npz": args.output / "poses.npz", "json": args.output / "poses.json"}
    if args.video != "none" and images:
        sources = frame_files(args.input)[:: args.every][: args.limit] if args.input.is_dir() else [args.input]
        stems = Counter(source.stem for source in sources)
        for k, source in enumerate(sources):  # a.jpg beside a.png: the whole name tells them apart
            name = source.stem if stems[source.stem] == 1 else source.name
            files[f"overlay {k * args.every}"] = args.output / f"{fitting(name)}_overlay.png"
    elif args.video != "none":
        files["overlay"] = args.output / f"overlay.{args.video}"
    return files | {kind: args.output / f"pose.{kind}" for kind in ("bvh", "glb") if getattr(args, kind)}


def _fps(args: argparse.Namespace, own: float) -> float:
    """Of what is written."""
    return float(args.fps or own or USUAL_FPS)


def _watch(
    args: argparse.Namespace, predictor: Predictor, images: bool, files: dict[str, Path], clock: Clock
) -> PoseRecord:
    """Predict frame by frame; the overlay is written on the way, so memory does not grow with the length."""
    looked_at = None if args.limit is None else args.limit * args.every
    options = WindowOptions(args.crop, args.boxes, args.detector, args.detector_architecture, looked_at)
    with clock.stage("find people"):
        windows = find_windows(args.input, options)
    info = None if images else video_info(args.input)
    fps = 0.0 if info is None else (args.fps or info.fps) / args.every
    smooth = OneEuro(_fps(args, fps), args.cutoff) if args.smooth else None
    total = None if info is None or not info.frames else min(-(-info.frames // args.every), args.limit or 10**9)
    frames = tqdm(images_of(args.input, args.every, args.limit), total=total, desc="frames", unit="frame")
    kept: list[PosedFrame] = []
    posed = _without_images(predictor.stream(frames, windows, smooth, clock), kept, str(args.input))
    if images:
        _write_overlays(posed, files, clock)
    elif "overlay" in files:
        with clock.stage("write"):
            write_animation(files["overlay"], overlays(posed, clock), _fps(args, fps))
    else:
        for _ in posed:
            pass
    return predictor.record(kept, fps, str(args.input))


def _without_images(frames: Iterable[PosedFrame], kept: list[PosedFrame], source: str) -> Iterator[PosedFrame]:
    """The same frames; what was predicted is kept, the images are not.

    Raises:
        InputError: nobody was found in any of them, or a pose is not finite; an overlay that is being written is then
            given up.
    """
    for frame in frames:
        if frame.joints_3d is not None and not np.isfinite(frame.joints_3d).all():
            raise no_finite_pose(source, frame.number)
        kept.append(frame.bare())
        yield frame
    somebody_of(kept, source)


def _write_overlays(frames: Iterable[PosedFrame], files: dict[str, Path], clock: Clock) -> None:
    """One image each; none of them is left where nobody is found in any."""
    written = []
    try:
        for frame in frames:
            path = files.get(f"overlay {frame.number}")
            if path is not None:
                with clock.stage("draw"):
                    drawn = beside(overlay(frame), frame.joints_3d, azimuth=45.0)
                with clock.stage("write"):
                    write_png(path, drawn)
                written.append(path)
    except InputError:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _save(record: PoseRecord, files: dict[str, Path], fps: float, ground: bool) -> None:
    record.save(files["npz"])
    record.save_json(files["json"])
    joints = record.world()
    if ground:
        joints = grounded(joints, each_frame=not np.isfinite(record.root).all())
    if "bvh" in files:
        write_bvh(files["bvh"], joints, fps)
    if "glb" in files:
        write_glb(files["glb"], joints, fps)
