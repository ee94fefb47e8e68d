"""A trained model in three lines:

    model = selfsup3d.load("synth-v1")
    poses = model("person.jpg")                     # poses.joints_3d, poses.joints_2d, poses.joint_names, poses.unit
    views = model.novel_view("person.jpg", azimuth=[-60, 0, 60])
    frames = model.transfer("person.jpg", driving="walk.bvh")

`load` takes the name of a shipped model, or the path of a run, a model's folder or a checkpoint. Images are files or
(H, W, 3) uint8 RGB arrays of any size. A lifter, loaded alike, takes 2D keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsup3d.builders.systems import evaluated, load_system
from selfsup3d.config.choices import WindowMode
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.inference.backdrop import named_background
from selfsup3d.inference.device import pick_device
from selfsup3d.inference.keypoint_files import KeypointSequence, read_keypoints
from selfsup3d.inference.lifting import lift_keypoints
from selfsup3d.inference.predictor import Predictor, images_of
from selfsup3d.inference.records import PoseRecord
from selfsup3d.inference.synthesizer import Orbit, Person, Synthesizer
from selfsup3d.inference.windows import WindowOptions, cut, find_windows, whole_frame
from selfsup3d.io.images import read_image
from selfsup3d.models.lifters.base import require_lifter
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.models.system import System
from selfsup3d.structures.skeleton import NUM_JOINTS
from selfsup3d.viz.sheets import to_uint8

__all__ = ["ImageModel", "KeypointModel", "load"]

Image = np.ndarray | str | Path


def load(name_or_path: str | Path, device: str = "auto") -> ImageModel | KeypointModel:
    """A trained model, ready to predict.

    Args:
        name_or_path: of a shipped model ("synth-v1"), or the path of a run, a model's folder or a checkpoint.
        device: "auto" (the GPU where there is one), "cpu", "cuda:1" ...

    Raises:
        InputError: no model there, a damaged one, or a device that is not usable.
    """
    system, config = load_system(name_or_path, pick_device(device))
    if "target" in system.predict_requires:
        return ImageModel(str(name_or_path), system, config)
    require_lifter(system, str(name_or_path))
    return KeypointModel(str(name_or_path), system, config)


class ImageModel:
    """A model that takes images.

    Attributes:
        name: as it was loaded. system: the network. config: of its training. size: side of the crops it sees, px.
    """

    def __init__(self, name: str, system: System, config: Config) -> None:
        self.name, self.system, self.config = name, system, config
        self.size = int(getattr(evaluated(config), "size", 64))

    def __call__(
        self, images: Image | Sequence[Image], crop: WindowMode = "auto", focal: float | None = None
    ) -> PoseRecord:
        """Poses of the person in an image, in each of several images, or in every frame of a video.

        Args:
            images: a file (image, video, folder of images), an array (H, W, 3) uint8 RGB, or a list of images.
            crop: how the person is found in a file; an array is looked at as a whole. "auto" = by a box file beside it,
                by movement in a video of a still camera, else the whole image.
            focal: focal length of the full image, px; None = unknown, a usual one is assumed for each crop.

        Returns:
            T poses with `joint_names`: `joints_3d` (T, 17, 3) in `unit`, camera axes, relative to the pelvis;
            `joints_2d` (T, 17, 2) px of the image that was given; `frames` (T,) the image or frame of each.
            Images in which nobody is found are left out.

        Raises:
            InputError: a file that cannot be read, an array of another kind, or nobody in any image.
        """
        predictor = Predictor(self.system, self.size, focal=focal, parts="none")
        if isinstance(images, str | Path):
            source = str(images)
            windows = find_windows(images, WindowOptions(crop))
            posed = list(predictor.stream(images_of(images), windows))
        else:
            source = "images"
            pixels = [_pixels(image) for image in _listed(images)]
            posed = list(predictor.stream(enumerate(pixels), lambda _, image: whole_frame(image)))
        record = predictor.record(posed, 0.0, source)
        record.refuse_nonfinite()
        return record

    def novel_view(
        self,
        image: Image | Sequence[Image],
        azimuth: float | Sequence[float],
        elevation: float | Sequence[float] = 0.0,
        distance: float = 1.0,
        background: str = "constant",
        side: int | None = None,
    ) -> np.ndarray:
        """(V, S, S, 3) uint8 RGB images of the person as V other cameras see them.

        Args:
            image: of one person, looked at as a whole; several show more of them, the first gives the pose.
            azimuth, elevation: degrees from the view of the image; the viewer walks to the right, and up. Two lists
                must be equally long; one number stands for all.
            distance: times the distance in the image.
            background: "constant", "#rrggbb", "background" (a guess of the image's own), or an image's file.
            side: least S, px; None = the model's own.

        Raises:
            InputError: the model has no trained decoder; what cannot be read; angles that are not finite.
        """
        synthesizer = self._synthesizer(side)
        azimuths, elevations = np.atleast_1d(azimuth).tolist(), np.atleast_1d(elevation).tolist()
        if len(azimuths) > 1 and len(elevations) > 1 and len(azimuths) != len(elevations):
            raise InputError(f"{len(azimuths)} azimuths and {len(elevations)} elevations; give equally many, or one")
        count = max(len(azimuths), len(elevations))
        pairs = zip(azimuths * (count // len(azimuths)), elevations * (count // len(elevations)), strict=True)
        orbits = [Orbit(float(around), float(up), distance) for around, up in pairs]
        person, behind = self._person(synthesizer, image, background)
        return to_uint8(synthesizer.novel_view(person, orbits, behind))

    def transfer(
        self,
        image: Image | Sequence[Image],
        driving: Image | Sequence[Image],
        background: str = "constant",
        side: int | None = None,
    ) -> np.ndarray:
        """(T, S, S, 3) uint8 RGB images of the person of `image` in the poses of `driving`.

        Args:
            image: of one person, looked at as a whole; several show more of them.
            driving: what gives the poses: motion capture (.bvh, .amc, .c3d, .npz), predicted poses (.npz), a video, an
                image, a list of images.
            background, side: see `novel_view`.

        Raises:
            InputError: the model has no trained decoder; what cannot be read or cannot drive.
        """
        synthesizer = self._synthesizer(side)
        person, behind = self._person(synthesizer, image, background)
        if isinstance(driving, str | Path):
            poses: np.ndarray | str | Path = driving
        else:
            poses = np.stack([self._crop(one, synthesizer.side) for one in _listed(driving)])
        return to_uint8(torch.stack(list(synthesizer.transfer(person, poses, behind))))

    def _synthesizer(self, side: int | None) -> Synthesizer:
        if not isinstance(self.system, PartGuided):
            raise InputError(f"{self.name}: a {self.config.system.kind} makes no images; a part_guided model does")
        try:
            return Synthesizer(self.system, self.size, scale=1 if side is None else -(-side // self.size))
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None

    def _crop(self, image: Image, side: int) -> np.ndarray:
        pixels = _pixels(image)
        return cut(pixels, whole_frame(pixels), side)

    def _person(
        self, synthesizer: Synthesizer, image: Image | Sequence[Image], background: str
    ) -> tuple[Person, Tensor | None]:
        """The person of one or several images, and the background."""
        crops = np.stack([self._crop(one, synthesizer.side) for one in _listed(image)])
        people = synthesizer.encode(crops)
        silhouette = synthesizer.silhouette(people[:1])[0] if background == "background" else None
        return people.merged(), named_background(background, crops[0], synthesizer.side, silhouette)


class KeypointModel:
    """A lifter: 3D poses of 2D keypoints.

    Attributes:
        name: as it was loaded. system: the network. config: of its training.
    """

    def __init__(self, name: str, system: System, config: Config) -> None:
        self.name, self.system, self.config = name, system, config

    def __call__(
        self,
        keypoints: np.ndarray | str | Path,
        confidence: np.ndarray | None = None,
        focal: float | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> PoseRecord:
        """3D poses of one person's 2D joints.

        Args:
            keypoints: (T, 17, 2) or (17, 2) px in the order of `joint_names`, NaN where a joint is not known; or a file
                of COCO, OpenPose, MediaPipe or MMPose.
            confidence: (T, 17) or (17,) of an array; None = 1.
            focal: focal length of the image, px; None = the usual one of the training data.
            image_size: (width, height) px of the keypoints' images, where a file does not say.

        Returns:
            As `ImageModel`, with `confidence` (T, 17) of the keypoints. Without a known scale, `unit` says so.

        Raises:
            InputError: another shape, or a file that cannot be read.
        """
        if isinstance(keypoints, str | Path):
            if confidence is not None:
                raise InputError(f"{keypoints}: a file has its own confidence; leave the argument out")
            sequence, source = read_keypoints(keypoints, size=image_size), str(keypoints)
        else:
            sequence, source = _sequence(keypoints, confidence, image_size), "keypoints"
        record = lift_keypoints(self.system, sequence, focal=focal, source=source)
        record.refuse_nonfinite()
        return replace(record, confidence=sequence.confidence)

    def novel_view(self, *_: object, **__: object) -> np.ndarray:
        """Never works: says so.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.name}: a lifter makes no images; a part_guided model does")

    transfer = novel_view


def _listed(images: np.ndarray | str | Path | Sequence[Image]) -> list[Image]:
    """One image or several as a list; (N, H, W, 3) are N."""
    if isinstance(images, str | Path):
        return [images]
    if isinstance(images, np.ndarray):
        return [images] if images.ndim == 3 else list(images)
    return list(images)


def _pixels(image: Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    pixels = read_image(image) if isinstance(image, str | Path) else np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise InputError(f"expected a file or an array (H, W, 3) uint8 RGB, got {pixels.shape} {pixels.dtype}")
    return pixels


def _sequence(joints: np.ndarray, confidence: np.ndarray | None, size: tuple[int, int] | None) -> KeypointSequence:
    """Keypoints of an array."""
    pixels = np.asarray(joints, np.float32)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[1:] != (NUM_JOINTS, 2) or not len(pixels):
        raise InputError(f"expected keypoints (T, {NUM_JOINTS}, 2) or ({NUM_JOINTS}, 2), got {np.shape(joints)}")
    known = np.isfinite(pixels).all(-1)
    sure = np.ones(known.shape, np.float32) if confidence is None else np.asarray(confidence, np.float32)
    sure = sure[None] if sure.ndim == 1 else sure
    if sure.shape != known.shape or not ((sure >= 0) & (sure <= 1)).all():
        raise InputError(f"expected a confidence in [0, 1] for each of {known.shape} joints, got {sure.shape}")
    sure = np.where(known, sure, 0.0).astype(np.float32)
    if not (sure > 0).any(1).all():
        frame = int(np.argmin((sure > 0).any(1)))
        raise InputError(f"keypoints: no joint of frame {frame} is known; leave such frames out")
    seen = np.where(sure[..., None] > 0, pixels, 0.0).astype(np.float32)
    return KeypointSequence(seen, sure, np.arange(len(seen)), size, "coco", "h36m_17")
