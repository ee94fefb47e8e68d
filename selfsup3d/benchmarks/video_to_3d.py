"""A video to 3D end to end beside the detector alone: BlazePose and the released lifter, one person, 720p.

The video is a real one of $SELFSUP3D_DATA (clips/source), enlarged to 720 lines, and so is the detector's file
(models/pose_landmarker_full.task); without them nothing is measured. Notes: frames a second with and without an overlay,
milliseconds a frame of each stage, by how much memory grows over many frames, and frames a second of four people: one man
at four times, side by side.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings
from selfsup3d.benchmarks.machine import resident_mb
from selfsup3d.builders.systems import load_system
from selfsup3d.errors import InputError
from selfsup3d.inference.clock import Clock
from selfsup3d.inference.detection import ahead, detect_people
from selfsup3d.inference.detectors.build import build_detector
from selfsup3d.inference.detectors.protocol import PoseDetector
from selfsup3d.inference.drawing import people_overlays
from selfsup3d.inference.lifting import lift_keypoints, smoothed
from selfsup3d.inference.records import PoseRecord
from selfsup3d.inference.smoothing import OneEuro
from selfsup3d.io.resources import shipped_models
from selfsup3d.io.video import VideoFrame, read_timed_frames
from selfsup3d.models.system import System
from selfsup3d.viz.animation import write_animation

__all__ = ["BENCHMARK", "run"]

LINES, FPS = 720, 30.0
FRAMES, HELD, MANY, SETTLED = 300, 100, 10_000, 1000
"""Frames that are timed, frames held decoded, frames over which memory is watched, and frames until it has settled."""

_VIDEO, _WEIGHTS = "clips/source/bodypose3d_cam0.mp4", "models/pose_landmarker_full.task"
_CROWD, _PEOPLE = "clips/source/sam2_juggle.mp4", 4


def run(settings: Settings) -> Result:
    """See the module. The row is milliseconds a frame without an overlay; the peer is the detector on decoded frames."""
    root = os.environ.get("SELFSUP3D_DATA")
    needed = (_VIDEO, _CROWD, _WEIGHTS)
    video, crowd, weights = (Path(root or ".") / name for name in needed)
    if root is None or not (video.is_file() and crowd.is_file() and weights.is_file()):
        return Result(peer="mediapipe", reason=f"needs SELFSUP3D_DATA with {', '.join(needed)}")
    if "lifter" not in shipped_models():
        return Result(peer="mediapipe", reason="no lifter is shipped here")
    try:
        detector = build_detector("mediapipe", [weights], people=1)
    except InputError as error:
        return Result(peer="mediapipe", reason=str(error))
    torch.set_num_threads(settings.threads)
    count = 20 if settings.quick else FRAMES
    system, _ = load_system("lifter")  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        large = _enlarged(video, Path(folder) / "video.mp4", count)
        decoded = list(itertools.islice(read_timed_frames(large), HELD))
        _alone(detector, decoded[:10])  # warms up
        alone = _alone(detector, decoded)
        whole, clock, found = _whole(detector, system, large, Path(folder))
        drawn = _drawn(large, found[0], Path(folder) / "overlay.mp4")
        four = _side_by_side(crowd, detector, Path(folder) / "four.mp4", count)
        many = 40 if settings.quick else MANY
        grown = _growth(detector, decoded, many, 20 if settings.quick else SETTLED)
        detector.close()
        detector = build_detector("mediapipe", [weights], people=_PEOPLE)
        for_four, _, people = _whole(detector, system, four, Path(folder))
    detector.close()
    notes: dict[str, float | str] = {
        "frames_per_s": 1.0 / whole,
        "frames_per_s_with_overlay": 1.0 / (whole + drawn),
        "detector_frames_per_s": 1.0 / alone,
        **{f"{name}_ms_a_frame": 1e3 * seconds / count for name, seconds in clock.seconds.items()},
        "overlay_ms_a_frame": 1e3 * drawn,
        f"growth_mb_over_{many}_frames": grown,
        "four_people_frames_per_s": 1.0 / for_four,
        "four_people_found_a_frame": sum(int(np.isfinite(p.joints_3d).all((1, 2)).sum()) for p in people) / count,
    }
    return Result(ours_ms=1e3 * whole, peer_ms=1e3 * alone, peer="mediapipe", dtype="float32", notes=notes)


def _enlarged(video: Path, place: Path, count: int) -> Path:
    """So many frames of a video, `LINES` high; it begins again where it ends."""

    def frames() -> Iterator[VideoFrame]:
        while True:
            yield from read_timed_frames(video)

    def images() -> Iterator[object]:
        for _, frame in zip(range(count), frames(), strict=False):
            height, width = frame.image.shape[:2]
            yield cv2.resize(frame.image, (2 * round(0.5 * width * LINES / height), LINES))

    write_animation(place, images(), FPS)  # type: ignore[arg-type]
    return place


def _side_by_side(video: Path, detector: PoseDetector, place: Path, count: int) -> Path:
    """So many frames of four upright cuts of one video, which holds one person, a quarter of its length apart."""
    frames = list(read_timed_frames(video))
    detector.restart()
    found = [person for frame in frames for person in detector.detect(frame.image, frame.time)[:1]]
    low, high = (np.median([getattr(p.joints, side)(0) for p in found], 0) for side in ("min", "max"))
    height, width = LINES, 2 * round(LINES * 16 / 9 / _PEOPLE / 2)
    scale = height / (1.25 * (high[1] - low[1]))
    matrix = np.array([[scale, 0, 0], [0, scale, 0]], dtype=float)
    matrix[:, 2] = np.array([width, height]) / 2 - scale * (low + high) / 2
    cuts = [cv2.warpAffine(f.image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE) for f in frames]
    apart = len(cuts) // _PEOPLE
    crowd = (np.hstack([cuts[(k + n * apart) % len(cuts)] for n in range(_PEOPLE)]) for k in range(count))
    write_animation(place, crowd, FPS)
    return place


def _alone(detector: PoseDetector, frames: list[VideoFrame]) -> float:
    """Seconds a frame of the detector, nothing else."""
    detector.restart()
    begin = time.perf_counter()
    for frame in frames:
        detector.detect(frame.image, frame.time)
    return (time.perf_counter() - begin) / len(frames)


def _whole(detector: PoseDetector, system: System, video: Path, folder: Path) -> tuple[float, Clock, list[PoseRecord]]:
    """Seconds a frame from the file of a video to files of poses, the stages, and everybody's poses."""
    detector.restart()
    clock, begin = Clock(), time.perf_counter()
    found = detect_people(read_timed_frames(video), detector, clock)
    people, _ = found.sequences()
    if not people:
        raise InputError(f"{video}: the detector finds nobody in the benchmark's video")
    with clock.stage("lift"):
        records = [smoothed(lift_keypoints(system, person, FPS), OneEuro(FPS)) for person in people]
    with clock.stage("save"):
        for number, record in enumerate(records):
            record.save(folder / f"person_{number}.npz")
            record.save_json(folder / f"person_{number}.json")
    return (time.perf_counter() - begin) / len(found.times), clock, records


def _drawn(video: Path, record: PoseRecord, place: Path) -> float:
    """Seconds a frame of the overlay, with decoding once more and encoding."""
    begin = time.perf_counter()
    write_animation(place, people_overlays(ahead(read_timed_frames(video)), [record]), FPS)
    return (time.perf_counter() - begin) / len(record)


def _growth(detector: PoseDetector, decoded: list[VideoFrame], count: int, settled: int) -> float:
    """MB by which resident memory grows from frame `settled` to the last of `count` frames."""
    detector.restart()
    held: list[float] = []

    def frames() -> Iterator[VideoFrame]:
        for k in range(count):
            if k in (settled, count - 1):
                held.append(resident_mb("now", torch.device("cpu")))
            yield VideoFrame(k, k / FPS, decoded[k % len(decoded)].image)

    detect_people(frames(), detector, Clock())
    return held[-1] - held[0]


BENCHMARK = Benchmark(
    run,
    "video to 3D, 720p, one person, mediapipe and lifter, beside mediapipe alone (wanted: 30 frames/s, 12 of four people)",
    ">= 0.8",
)
