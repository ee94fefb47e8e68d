"""A trained system that takes images, as a stream: frames in, poses out, in batches; memory stays flat."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup3d.config.choices import Averaging, PartSource
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import default_intrinsics, project, virtual_camera_rotation
from selfsup3d.inference.clock import Clock
from selfsup3d.inference.records import PoseRecord
from selfsup3d.inference.smoothing import OneEuro, with_bones_of
from selfsup3d.inference.windows import Windows, cut
from selfsup3d.io.images import IMAGE_SUFFIXES, frame_files, is_image, read_image
from selfsup3d.io.video import VideoFrame, read_timed_frames
from selfsup3d.models.part_guided.assignment_path import AssignmentPath
from selfsup3d.models.part_guided.averaging import Reading, averaged_reading
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.models.system import System
from selfsup3d.puppet.labels import part_labels
from selfsup3d.structures.batch import Batch, PoseOutput, Unit
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["PosedFrame", "Predictor", "frames_of", "images_of", "somebody_of"]

_DETAIL = 2
"""Pixels of a window for each of the network's where a second crop is cut from it; of more, bilinear sampling would skip
some."""


@dataclass(frozen=True)
class PosedFrame:
    """One frame and what was predicted of it.

    Attributes:
        number: in the source. image: (H, W, 3) uint8 RGB.
        window: (3,) x, y, side; None = nobody was found, and the rest is None too.
        joints_3d: (17, 3) camera axes, relative to the pelvis.
        joints_2d: (17, 2) px of the full frame, NaN where the system predicts none.
        keypoints: (17, 2) likewise: where the heat maps see the joints, before any skeleton is fitted.
        root: (3,) metres, NaN likewise.
        confidence: (17,) see `PoseRecord`, NaN where the model was not calibrated.
        parts: (S, S) uint8 part labels of the window, background last, where the system predicts them.
    """

    number: int
    image: np.ndarray
    window: np.ndarray | None = None
    joints_3d: np.ndarray | None = None
    joints_2d: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    root: np.ndarray | None = None
    confidence: np.ndarray | None = None
    parts: np.ndarray | None = None

    def bare(self) -> PosedFrame:
        """Without its images: what may be kept of a long video."""
        return replace(self, image=np.zeros((0, 0, 3), np.uint8), parts=None)


@dataclass
class _Held:
    """A frame on its way through a predictor: cropped, read, and waiting for the decision which limb is the left one."""

    number: int
    image: np.ndarray
    window: np.ndarray | None = None
    crop: np.ndarray | None = None
    K: Tensor | None = None
    reading: Reading | None = None
    choice: int | None = None


def images_of(path: str | Path, every: int = 1, limit: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """The numbers and images of `frames_of`; its arguments and errors."""
    return ((frame.number, frame.image) for frame in frames_of(path, every, limit))


def frames_of(
    path: str | Path, every: int = 1, limit: int | None = None, report: Callable[[str], None] = warnings.warn
) -> Iterator[VideoFrame]:
    """Number, time and (H, W, 3) uint8 RGB of an image, a folder of images of any sizes, or a video.

    Args:
        path: of the source. every, limit: each n-th frame, and at most so many.
        report: gets a line for each damaged image of a folder, which is left out.

    Raises:
        InputError: as `io.video`; no image of a folder can be read.
    """
    path = Path(path)
    if path.is_dir():
        frames = _images_of_folder(path, every, report)
    elif is_image(path):
        frames = (VideoFrame(0, math.nan, read_image(path)) for _ in range(1))
    else:
        return itertools.islice(read_timed_frames(path, every=every), limit)
    return itertools.islice(frames, limit)


def _images_of_folder(path: Path, every: int, report: Callable[[str], None]) -> Iterator[VideoFrame]:
    files = frame_files(path)
    if not files:
        raise InputError(f"{path}: no images in this folder (looked for {', '.join(IMAGE_SUFFIXES)})")
    damaged: list[InputError] = []
    for k, file in enumerate(files[::every]):
        try:
            image = read_image(file)
        except InputError as error:
            damaged.append(error)
            report(f"{error}; it is skipped")
            continue
        yield VideoFrame(k * every, math.nan, image)
    if len(damaged) == len(files[::every]):
        raise damaged[0]


class Predictor:
    """Predicts with a system that needs images (`predict_requires` names `target`).

    Args:
        system: trained, on its device, in evaluation mode.
        size: side of the images that it was trained on.
        batch_size: frames at a time.
        focal: focal length of the full image, px; None = unknown, a usual one is assumed for each crop.
        parts: where part labels come from: "puppet" = the predicted pose's, without a pass of the decoder, which takes
            about half of the time; "decoder" = its segmentation; "none".
        averaging: of the predictions of an image, see `models.part_guided.averaging`; part-guided systems alone.
        second_crop: read the crop around the keypoints of a first look, cut from the window at twice `size`; None = as the
            system's config says. Part-guided systems alone.
        over_time: the frames are a video's, in order: left and right follow the likeliest path through all frames
            (`models.part_guided.assignment_path`); frames then come out some 24 later. Part-guided systems alone; others
            have no assignment to decide.

    Raises:
        InputError: the system needs something else than images.
    """

    unit: Unit = "m"

    def __init__(
        self,
        system: System,
        size: int,
        batch_size: int = 16,
        focal: float | None = None,
        parts: PartSource = "puppet",
        averaging: Averaging = "none",
        over_time: bool = False,
        second_crop: bool | None = None,
    ) -> None:
        if not set(system.predict_requires) <= {"target", "K"}:
            raise InputError(
                f"this system needs {', '.join(system.predict_requires)}, not images; give it keypoints (a .json)"
            )
        if averaging != "none" and not isinstance(system, PartGuided):
            raise InputError(f"averaging {averaging} is for part-guided systems; this one reads each image once")
        if second_crop and not isinstance(system, PartGuided):
            raise InputError("a second crop is for part-guided systems; this one reads each image once")
        self.system, self.size, self.batch_size, self.focal, self.parts = system, size, batch_size, focal, parts
        self.averaging, self.over_time = averaging, over_time and isinstance(system, PartGuided)
        own = isinstance(system, PartGuided) and system.second_crop
        self.second_crop = own if second_crop is None else second_crop
        self.device = next(iter(system.parameters())).device

    @property
    def view(self) -> Literal["crop", "image"]:
        """Of `PoseRecord.view`: what the predicted axes belong to."""
        return "crop" if self.focal is None else "image"

    def stream(
        self,
        images: Iterable[tuple[int, np.ndarray]],
        windows: Windows,
        smooth: OneEuro | None = None,
        clock: Clock | None = None,
        times: Mapping[int, float] | None = None,
    ) -> Iterator[PosedFrame]:
        """Predict frames in batches, yielding one by one, in order.

        Args:
            images: see `images_of`.
            windows: see `windows.find_windows`.
            smooth: filter of the 3D joints, whose bones keep their lengths; 2D joints and root are smoothed likewise
                (None = as predicted).
            clock: counts reading, cropping and the network.
            times: seconds by frame number, filled in as `images` are read; None = the filter's own rate.
        """
        clock = clock or Clock()
        smoothers = _Smoothers(smooth, times or {}) if smooth is not None else None
        path = AssignmentPath() if self.over_time else None
        waiting = clock.watch("read", images)
        held: list[_Held] = []
        while batch := list(itertools.islice(waiting, self.batch_size)):
            with clock.stage("crop"):
                seen = [self._cut(number, image, windows(number, image)) for number, image in batch]
            with clock.stage("network"):
                self._read([frame for frame in seen if frame.window is not None], path)
                held += seen
                found = self._decided(held, path)
            yield from found if smoothers is None else map(smoothers, found)
        with clock.stage("network"):
            found = self._decided(held, path, final=True)
        yield from found if smoothers is None else map(smoothers, found)

    def _cut(self, number: int, image: np.ndarray, window: np.ndarray | None) -> _Held:
        if window is None:
            return _Held(number, image)
        side = _DETAIL * self.size if self.second_crop else self.size
        return _Held(number, image, window, cut(image, window, side), self._intrinsics(window))

    def _read(self, seen: list[_Held], path: AssignmentPath | None) -> None:
        """What a part-guided system sees under every assignment; decided at once unless there is a path to follow."""
        if not isinstance(self.system, PartGuided) or not seen:
            for frame in seen:
                frame.choice = 0
            return
        with torch.inference_mode():
            images, K = self._tensors(seen)
            reading = averaged_reading(
                self.system, images, K, self.averaging, second_crop=self.second_crop, size=self.size
            )
            likeliest = reading.likeliest().tolist()
        for k, frame in enumerate(seen):
            frame.reading = reading[k : k + 1]
            if path is None:
                frame.choice = likeliest[k]
            else:
                path.add(frame.number, *(t[k].cpu().numpy() for t in (reading.log_probability, reading.joints)))

    def _decided(self, held: list[_Held], path: AssignmentPath | None, final: bool = False) -> list[PosedFrame]:
        """The oldest frames up to the first whose assignment is still open; they are taken out of `held`."""
        if path is not None:
            lost = all(frame.window is None for frame in held[-4:])  # nothing will tell more about those before
            undecided = (frame for frame in held if frame.window is not None and frame.choice is None)
            for frame, choice in zip(undecided, path.decided(final or lost), strict=False):
                frame.choice = choice
        count = next((k for k, f in enumerate(held) if f.window is not None and f.choice is None), len(held))
        ready = held[:count]
        del held[:count]
        found = iter(self._predict([frame for frame in ready if frame.window is not None]))
        return [next(found) if frame.window is not None else PosedFrame(frame.number, frame.image) for frame in ready]

    def _tensors(self, seen: list[_Held]) -> tuple[Tensor, Tensor]:
        """Images (N, 3, S, S), in the detail that they were cut in, and pinholes (N, 3, 3) on the system's device."""
        crops = torch.from_numpy(np.stack([cast(np.ndarray, frame.crop) for frame in seen]))
        K = torch.stack([cast(Tensor, frame.K) for frame in seen])
        return crops.to(self.device).permute(0, 3, 1, 2).float() / 255.0, K.to(self.device)

    def _predict(self, seen: list[_Held]) -> list[PosedFrame]:
        """Poses of frames whose assignment is decided."""
        results: list[PosedFrame] = []
        for start in range(0, len(seen), self.batch_size):
            some = seen[start : start + self.batch_size]
            with torch.inference_mode():
                output, labels = self._output(some)
            results += self._placed(some, output, labels)
        return results

    def _placed(self, seen: list[_Held], output: PoseOutput, labels: np.ndarray | None) -> list[PosedFrame]:
        """Poses of the crops in the full frame."""
        pose = output.pose[:, 0].float().cpu()
        count = len(pose)
        root = torch.full((count, 3), torch.nan) if output.root is None else output.root[:, 0].float().cpu()
        unknown = torch.full((count, NUM_JOINTS, 2), torch.nan)
        pixels = unknown if output.joints_2d is None else output.joints_2d[:, 0].float().cpu()
        keypoints = unknown if output.keypoints is None else output.keypoints.float().cpu()
        confidence = unknown[..., 0] if output.confidence is None else output.confidence.float().cpu()
        results = []
        for k, frame in enumerate(seen):
            window = cast(np.ndarray, frame.window)
            turn = self._to_image(window, frame.image)
            side = float(window[2]) / self.size
            full, seen_at = (points[k].numpy() * side + window[:2] for points in (pixels, keypoints))
            results.append(
                PosedFrame(
                    frame.number,
                    frame.image,
                    window,
                    joints_3d=(pose[k] @ turn.T).numpy(),
                    joints_2d=full,
                    keypoints=seen_at,
                    root=(turn @ root[k]).numpy(),
                    confidence=confidence[k].numpy(),
                    parts=None if labels is None else labels[k],
                )
            )
        return results

    def _output(self, seen: list[_Held]) -> tuple[PoseOutput, np.ndarray | None]:
        """Poses, and part labels (N, S, S) uint8 if they are wanted and known."""
        system, (images, K) = self.system, self._tensors(seen)
        if not isinstance(system, PartGuided):
            output = system.predict(Batch(target=images, K=K))
            labels = None if self.parts == "none" else output.segmentation
            return output, None if labels is None else labels.argmax(1).byte().cpu().numpy()
        reading = Reading.joined([cast(Reading, frame.reading) for frame in seen])
        choice = torch.tensor([frame.choice for frame in seen], device=self.device)
        chosen = reading.at(choice)
        output = PoseOutput(
            pose=(chosen.joints - chosen.joints[:, :1])[:, None],
            root=chosen.joints[:, None, 0],
            joints_2d=project(chosen.joints, K)[:, None],
            keypoints=chosen.keypoints,
            confidence=system.confidence(reading, choice),
        )
        if self.parts == "none":
            return output, None
        size = (self.size, self.size)
        maps, geometry = system.maps(chosen.joints, K, size)
        if self.parts == "decoder" and system.settings.trains_decoder:
            small = F.adaptive_avg_pool2d(images, size)
            encoding = system.encode(small, K)
            if system.settings.textures:
                labels = system.observed(small, encoding, geometry, maps).argmax(1)
            else:
                labels = system.decoder(encoding.appearance, maps).segmentation.argmax(1)
        else:
            labels = part_labels(maps, geometry, size, system.puppet).parts
        return output, labels.byte().cpu().numpy()

    def _intrinsics(self, window: np.ndarray) -> Tensor:
        """(3, 3) pinhole of a crop: of the virtual camera that looks through its centre."""
        if self.focal is None:
            return default_intrinsics(self.size)
        view = 2.0 * math.atan(0.5 * float(window[2]) / self.focal)
        return default_intrinsics(self.size, view)

    def _to_image(self, window: np.ndarray, image: np.ndarray) -> Tensor:
        """(3, 3) from the virtual camera's axes to those of the full image's, where its focal length is known."""
        if self.focal is None:
            return torch.eye(3)
        height, width = image.shape[:2]
        K = torch.tensor([[self.focal, 0.0, width / 2], [0.0, self.focal, height / 2], [0.0, 0.0, 1.0]])
        centre = torch.tensor([float(window[0] + 0.5 * window[2]), float(window[1] + 0.5 * window[2])])
        return virtual_camera_rotation(centre, K).T

    def record(
        self, posed: Iterable[PosedFrame], fps: float, source: str, times: Mapping[int, float] | None = None
    ) -> PoseRecord:
        """The frames in which somebody was found, without their images.

        Args:
            posed: predicted. fps, source: see `PoseRecord`. times: seconds by frame number; None = unknown.

        Raises:
            InputError: there is none.
        """
        found = somebody_of(posed, source)
        stack = lambda name: np.stack([cast(np.ndarray, getattr(f, name)) for f in found])  # noqa: E731
        return PoseRecord(
            joints_3d=stack("joints_3d"),
            joints_2d=stack("joints_2d").astype(np.float32),
            root=stack("root"),
            frames=np.array([f.number for f in found]),
            windows=stack("window"),
            confidence=stack("confidence").astype(np.float32),
            times=np.array([(times or {}).get(f.number, np.nan) for f in found]),
            fps=fps,
            unit=self.unit,
            view=self.view,
            source=source,
        )


def somebody_of(posed: Iterable[PosedFrame], source: str) -> list[PosedFrame]:
    """The frames in which somebody was found.

    Raises:
        InputError: there is none.
    """
    found = [frame for frame in posed if frame.window is not None]
    if not found:
        raise InputError(f"{source}: no person was found in any frame; try --crop whole")
    return found


class _Smoothers:
    """One filter each for joints, root and pixels; pixels in units of the window, so that one setting serves all."""

    def __init__(self, like: OneEuro, times: Mapping[int, float]) -> None:
        self.times = times
        self.last: float | None = None
        self.joints, self.root, self.pixels = (
            OneEuro(like.fps, like.cutoff, like.beta, like.speed_cutoff) for _ in range(3)
        )

    def __call__(self, frame: PosedFrame) -> PosedFrame:
        assert frame.window is not None
        assert frame.joints_3d is not None
        assert frame.joints_2d is not None
        assert frame.root is not None
        side, now = float(frame.window[2]), self.times.get(frame.number)
        gone = None if now is None or self.last is None else now - self.last
        self.last = now
        return replace(
            frame,
            joints_3d=with_bones_of(self.joints(frame.joints_3d, gone), frame.joints_3d),
            joints_2d=self.pixels(frame.joints_2d / side, gone) * side,
            root=self.root(frame.root, gone),
        )
