"""3D poses of the people in a video, an image, a folder of images, a webcam, or 2D keypoints."""

from __future__ import annotations

import argparse
import itertools
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from selfsup3d.builders.systems import evaluated, load_system
from selfsup3d.commands.options.predict import parse
from selfsup3d.commands.pose_outputs import refuse_standing, write_people
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.inference.camera_frame import GUESSED_FIELD_OF_VIEW
from selfsup3d.inference.clock import Clock
from selfsup3d.inference.detection import ahead, detect_people, windows_of_detector
from selfsup3d.inference.detectors.build import build_detector
from selfsup3d.inference.detectors.protocol import DetectorFailedError, PoseDetector
from selfsup3d.inference.device import pick_device
from selfsup3d.inference.drawing import AZIMUTH, beside, overlay, overlays, people_overlays
from selfsup3d.inference.keypoint_files import KeypointSequence, holds_keypoints, read_people
from selfsup3d.inference.lifting import fill_gaps, lift_keypoints, repair_sides, smoothed
from selfsup3d.inference.predictor import PosedFrame, Predictor, frames_of, somebody_of
from selfsup3d.inference.records import PoseRecord, no_finite_pose
from selfsup3d.inference.smoothing import OneEuro
from selfsup3d.inference.timeline import USUAL_FPS, with_times
from selfsup3d.inference.webcam import record_webcam
from selfsup3d.inference.windows import WindowOptions, find_windows
from selfsup3d.io.files import no_trace
from selfsup3d.io.images import find_images, frame_files, is_image
from selfsup3d.io.names import fitting
from selfsup3d.io.resources import shipped_models
from selfsup3d.io.video import VideoFrame, VideoInfo, video_info
from selfsup3d.models.system import System
from selfsup3d.viz.animation import write_animation
from selfsup3d.viz.sheets import write_png
from selfsup3d.viz.view3d import draw_pose_3d

__all__ = ["main"]

Kind = Literal["keypoints", "images", "video"]

_TURN = 2.0  # degrees a frame of --turntable
_LEAST = 8  # frames of a person who counts, where another is there longer
_USUAL_LIFTER = "lifter"


def main(argv: list[str]) -> int:
    args = parse(argv)
    device = pick_device(args.device)
    with no_trace(args.output):
        kind: Kind = "video" if args.camera is not None else _kind(args)
        overlay_files = _overlay_files(args) if kind == "images" and args.video != "none" else {}
        animation = args.output / f"overlay.{args.video}" if kind != "images" and args.video != "none" else None
        recording = args.output / "webcam.mp4" if args.camera is not None else None
        refuse_standing(args, [*overlay_files.values(), *(path for path in (animation, recording) if path)])
        system, config = load_system(_checkpoint(args, kind), device)
        lifts = "target" not in system.predict_requires
        args.output.mkdir(parents=True, exist_ok=True)
        if recording is not None:
            if lifts:
                _detector(args).close()  # complaints come before anybody moves before the camera
            args.input = record_webcam(args.camera, recording, args.limit * args.every)
        clock, failure = Clock(), None
        if lifts:
            people, failure = _lift(args, system, kind, clock)
            _draw_people(args, people, kind, overlay_files, animation, clock)
        else:
            people = [_watch(args, system, config, kind, overlay_files, animation, clock)]
        with clock.stage("save"):
            files = write_people(args, people)
    print(clock.report(clock.watched or max(len(record) for record in people)))
    for path in [*overlay_files.values(), *([animation] if animation else []), *files]:
        print(path)
    if failure is not None:
        raise failure
    return 0


def _kind(args: argparse.Namespace) -> Kind:
    """What the input is, by its content or by --format; what a folder holds besides is said."""
    if args.format is not None or (not is_image(args.input) and holds_keypoints(args.input)):
        return "keypoints"
    if args.input.is_dir() and (line := find_images(args.input).report()):
        print(line)
    return "images" if args.input.is_dir() or is_image(args.input) else "video"


def _checkpoint(args: argparse.Namespace, kind: Kind) -> Path:
    if args.checkpoint is not None:
        return Path(args.checkpoint)
    if kind == "keypoints" or args.detector is not None:
        if _USUAL_LIFTER in shipped_models():
            return Path(_USUAL_LIFTER)
        raise InputError(
            f"no lifter named {_USUAL_LIFTER!r} is shipped here; name one: --checkpoint RUN (configs/lifters)"
        )
    raise InputError("--checkpoint is missing: a model that takes images, or a lifter and --detector (see --help)")


def _overlay_files(args: argparse.Namespace) -> dict[int, Path]:
    """Frame number -> the overlay of an image."""
    sources = frame_files(args.input)[:: args.every][: args.limit] if args.input.is_dir() else [args.input]
    stems = Counter(source.stem for source in sources)
    names = [source.stem if stems[source.stem] == 1 else source.name for source in sources]  # a.jpg beside a.png
    return {k * args.every: args.output / f"{fitting(name)}_overlay.png" for k, name in enumerate(names)}


# ------------------------------------------------------------------------------------------------------ one clock


class _Times:
    """Seconds by frame number, noted while frames pass."""

    def __init__(self, args: argparse.Namespace, info: VideoInfo | None) -> None:
        self.fps = args.fps
        self.seconds: dict[int, float] = {}
        self.rate = float(self.fps or (info.fps if info else 0.0))  # of the source
        if info is not None and info.note:
            print(info.note if not self.fps else f"{args.input}: frame k is at k / {self.fps:g} s (--fps)")
        elif info is not None and info.fps and self.fps:
            print(
                f"{args.input}: its own times ({info.fps:g} frames/s) are replaced: frame k is at k / {self.fps:g} s (--fps)"
            )

    def passing(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """The same frames; --fps replaces their times."""
        for frame in frames:
            time = frame.number / self.fps if self.fps else frame.time
            self.seconds[frame.number] = time
            yield frame if time == frame.time else VideoFrame(frame.number, time, frame.image)


def _progress(args: argparse.Namespace, info: VideoInfo | None, what: str) -> Iterable[VideoFrame]:
    total = None if info is None or not info.frames else min(-(-info.frames // args.every), args.limit or 10**9)
    frames = iter(frames_of(args.input, args.every, args.limit, print))
    first = list(itertools.islice(frames, 1))  # an input that cannot be read is told before a bar is drawn
    return tqdm(itertools.chain(first, frames), total=total, desc=what, unit="frame")


# -------------------------------------------------------------------------------------------------------- lifters


def _lift(
    args: argparse.Namespace, system: System, kind: Kind, clock: Clock
) -> tuple[list[PoseRecord], DetectorFailedError | None]:
    """Everybody's poses by a lifter, from keypoints of a file or of a detector; and why the detector stopped early."""
    if args.averaging != "none" or args.over_time is not None or args.second_crop is not None:
        raise InputError(
            "--averaging, --second-crop and --over-time are of image models; keypoints are lifted as they are"
        )
    failure = None
    if kind == "keypoints":
        people = read_people(args.input, args.format, args.image_size)
        for line in people[0].notes:
            print(line)
        times: dict[int, float] = {}
        rate = float(args.fps or 0.0)
        longest = max(len(one) for one in people)
        kept = [one for one in people if len(one) >= min(_LEAST, longest)]
        people, others = kept, len(people) - len(kept)
    else:
        people, others, times, rate, failure = _detect(args, kind, clock)
    people, more = _chosen(args, people)
    if others + more:
        print(f"{args.input}: {others + more} other people ignored (seen too shortly, or not named by --person)")
    records = []
    for keypoints in people:
        with clock.stage("lift"):
            records.append(_lifted(args, system, keypoints, times, rate))
    print(_camera_line(records))
    return records, failure


def _camera_line(records: list[PoseRecord]) -> str:
    """Which camera people stand before, and how far that can be believed."""
    first = records[0]
    width, height = first.image_size
    if not any(np.isfinite(record.root).any() for record in records):
        return f"places: none, poses are of unknown size (unit {first.unit}); a supervised lifter gives metres"
    who = "the pelvis is" if len(records) == 1 else f"all {len(records)} people are"
    lens = f"focal length {first.focal:.0f} px at {width}x{height}"
    if not first.focal_assumed:
        return f"places: {who} in one camera frame (root, metres), {lens} as given"
    return (
        f"places: {who} in one camera frame (root, metres); {lens} is assumed ({GUESSED_FIELD_OF_VIEW:.0f} degrees over the "
        "longer side): distances scale with it, --focal sets it"
    )


def _chosen(args: argparse.Namespace, people: list[KeypointSequence]) -> tuple[list[KeypointSequence], int]:
    """Who is wanted, and how many are not."""
    if args.person is None or args.person == "all":
        return people, 0
    for one in people:
        if one.person == args.person:
            return [one], len(people) - 1
    names = ", ".join(one.person for one in people[:8])
    raise InputError(f"{args.input}: nobody is called {args.person!r}; the people are {names}")


def _detect(
    args: argparse.Namespace, kind: Kind, clock: Clock
) -> tuple[list[KeypointSequence], int, dict[int, float], float, DetectorFailedError | None]:
    """People of a video or of images by the detector: keypoints, how many others, times, rate, and why it stopped."""
    with clock.stage("load"):
        detector = _detector(args)
    info = video_info(args.input) if kind == "video" else None
    times = _Times(args, info)
    try:
        found = detect_people(times.passing(_progress(args, info, "detect")), detector, clock)
    finally:
        detector.close()
    people, others = found.sequences()
    failure = None
    if found.failure is not None:
        done = len(found.times)
        if not people:
            raise found.failure
        print(f"{args.input}: the detector stopped after {done} frames; what was found until then is written")
        failure = DetectorFailedError(
            f"{args.input}: {found.failure}, after {done} frames; go on with the rest, or try another --detector"
        )
    if not people:
        raise InputError(f"{args.input}: no person was found in any frame by --detector {args.detector}")
    return people, others, found.times, times.rate, failure


def _detector(args: argparse.Namespace) -> PoseDetector:
    if args.detector is None:
        raise InputError(
            f"{args.input}: this system lifts 2D keypoints; give it a file of them, or a detector: "
            "--detector mediapipe --detector-weights pose_landmarker_full.task"
        )
    return build_detector(args.detector, args.detector_weights, args.people, str(pick_device(args.device)))


def _lifted(
    args: argparse.Namespace, system: System, keypoints: KeypointSequence, times: dict[int, float], rate: float
) -> PoseRecord:
    if args.repair_sides:
        keypoints, changed = repair_sides(keypoints)
        if changed:
            print(f"person {keypoints.person}: left and right are exchanged in {changed} frames")
    if args.fill:
        before = len(keypoints)
        keypoints = fill_gaps(keypoints, round(args.fill * (rate or USUAL_FPS) / args.every))
        if len(keypoints) > before:
            print(f"person {keypoints.person}: {len(keypoints) - before} absent frames are filled in, confidence 0.01")
    seconds = None
    if times:
        known = np.array(sorted(times))
        seconds = np.interp(keypoints.frames, known, [times[int(k)] for k in known])
    record = lift_keypoints(system, keypoints, rate, args.focal, str(args.input), seconds)
    record.refuse_nonfinite()
    record = record.thinned(args.every, args.limit)
    return smoothed(record, OneEuro(record.fps or USUAL_FPS, args.cutoff)) if args.smooth else record


def _draw_people(
    args: argparse.Namespace,
    people: list[PoseRecord],
    kind: Kind,
    overlay_files: dict[int, Path],
    animation: Path | None,
    clock: Clock,
) -> None:
    """The overlays of lifted people; the frames are decoded a second time, so that memory stays flat."""
    degrees = _TURN if args.turntable else 0.0
    if kind == "keypoints":
        if animation is not None:
            _draw_keypoints(args, people[0], animation, degrees)
        return
    if not overlay_files and animation is None:
        return
    last = max(int(record.frames[-1]) for record in people)
    frames = (
        frame
        for frame in frames_of(args.input, args.every, args.limit, lambda line: None)
        if kind == "images" or frame.number <= last
    )
    if animation is None:
        for frame in frames:
            (drawn,) = people_overlays([frame], people, clock)
            with clock.stage("write"):
                write_png(overlay_files[frame.number], drawn)
        return
    shown: deque[float] = deque()

    def noted() -> Iterator[VideoFrame]:
        for frame in ahead(frames):
            shown.append(frame.number / args.fps if args.fps else frame.time)
            yield frame

    rate = people[0].fps or USUAL_FPS
    with clock.stage("write"):
        write_animation(animation, people_overlays(noted(), people, clock, degrees), rate, iter(shown.popleft, None))


def _draw_keypoints(args: argparse.Namespace, record: PoseRecord, animation: Path, degrees: float) -> None:
    """The lifted poses alone: there are no images."""
    times, rate, notes = with_times(record, args.fps)
    for line in notes:
        print(line)
    poses = record.metric()
    frames = (draw_pose_3d(pose, view=(AZIMUTH + degrees * k, 12.0)) for k, pose in enumerate(poses))
    write_animation(animation, frames, rate, times.tolist())


# ------------------------------------------------------------------------------------------ systems that see images


def _watch(
    args: argparse.Namespace,
    system: System,
    config: Config,
    kind: Kind,
    overlay_files: dict[int, Path],
    animation: Path | None,
    clock: Clock,
) -> PoseRecord:
    """Predict frame by frame; the overlay is written on the way, so memory does not grow with the length."""
    size = int(getattr(evaluated(config), "size", 64))
    if kind == "keypoints":
        raise InputError(f"{args.input}: this system takes images; keypoints need a lifter (configs/lifters)")
    over_time = kind == "video" if args.over_time is None else args.over_time
    predictor = Predictor(
        system, size, args.batch_size, args.focal, args.parts,
        averaging=args.averaging, over_time=over_time, second_crop=args.second_crop,
    )  # fmt: skip
    looked_at = None if args.limit is None else args.limit * args.every
    boxes_by = args.detector == "torchvision" or (args.detector is None and args.crop == "detector")
    options = WindowOptions(
        args.crop,
        args.boxes,
        args.detector_weights[0] if boxes_by and args.detector_weights else None,
        args.detector_architecture,
        looked_at,
        args.person,
        args.box_gap,
    )
    with clock.stage("find people"):
        if args.detector is not None and not boxes_by:
            windows = windows_of_detector(_detector(args))
        else:
            windows = find_windows(args.input, options, print)
    info = None if kind == "images" else video_info(args.input)
    times = _Times(args, info)
    rate = times.rate / args.every
    smooth = OneEuro(rate or USUAL_FPS, args.cutoff) if args.smooth else None
    frames = ((f.number, f.image) for f in times.passing(_progress(args, info, "frames")))
    kept: list[PosedFrame] = []
    posed = _without_images(predictor.stream(frames, windows, smooth, clock, times.seconds), kept, str(args.input))
    if overlay_files:
        _write_overlays(posed, overlay_files, clock)
    elif animation is not None:
        shown = (times.seconds[kept[k].number] for k in range(10**9))
        with clock.stage("write"):
            drawn = overlays(posed, clock, _TURN if args.turntable else 0.0)
            write_animation(animation, drawn, rate or USUAL_FPS, shown)
    else:
        for _ in posed:
            pass
    known = times.seconds if any(math.isfinite(t) for t in times.seconds.values()) else None
    return predictor.record(kept, rate, str(args.input), known)


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


def _write_overlays(frames: Iterable[PosedFrame], overlay_files: dict[int, Path], clock: Clock) -> None:
    """One image each; none of them is left where nobody is found in any."""
    written = []
    try:
        for frame in frames:
            path = overlay_files.get(frame.number)
            if path is not None:
                with clock.stage("draw"):
                    drawn = beside(overlay(frame), frame.joints_3d, azimuth=AZIMUTH)
                with clock.stage("write"):
                    write_png(path, drawn)
                written.append(path)
    except InputError:
        for path in written:
            path.unlink(missing_ok=True)
        raise
