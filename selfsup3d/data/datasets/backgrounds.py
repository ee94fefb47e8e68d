"""Backgrounds of still cameras, fitted over all recordings of one person by one camera, and the saliency they give.

    FOLDER/<person>/<camera>.npz     background (h, w, 3) uint8 and noise (h, w) uint8 (sixteenths of a grey level)

One background for all takes together: a person who sits through one recording still disappears from it. What was moved
in between (chairs) counts as foreground in the takes that show it; 2D and 3D labels are never looked at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from selfsup3d.data.datasets.frame_index import FrameIndex, Take
from selfsup3d.data.saliency.background_model import BackgroundModel, fit_background, foreground_distance
from selfsup3d.data.saliency.saliency import THRESHOLD, clean_mask, grow, soften
from selfsup3d.errors import InputError
from selfsup3d.io.crops import Frames, Reduced, warp_view
from selfsup3d.io.files import atomic_path
from selfsup3d.io.limits import open_npz
from selfsup3d.io.names import clean_component, fitting

__all__ = ["Backgrounds", "estimate_background", "saliency_of_crop"]

_LONGER_SIDE = 640
_SAMPLES = 40
_NOISE_UNIT = 16.0


class Backgrounds:
    """Backgrounds of an index's still cameras: read where they stand, fitted and kept where they do not.

    Args:
        folder: of the backgrounds.
        index: whose takes they belong to.
        kept: how many stay in memory (1 MB each).
    """

    def __init__(self, folder: str | Path, index: FrameIndex, kept: int = 64) -> None:
        self.folder = Path(folder)
        self._index = index
        self._kept = kept
        self._loaded: OrderedDict[str, tuple[Reduced, Reduced]] = OrderedDict()
        self._failed: dict[str, str] = {}

    def path(self, take: Take) -> Path:
        """Where the background of a take lies."""
        safe = clean_component(fitting(take.person.replace("/", "_").replace(" ", "_")), f"take {take.name!r}: person")
        return self.folder / safe / f"{take.camera}.npz"

    def crop(self, take: Take, view: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Background (size, size, 3) uint8 RGB and noise (size, size) float32 of a view of a take."""
        background, noise = self._get(take)
        grey = warp_view(noise, view, size)[..., 0]
        return warp_view(background, view, size), np.maximum(grey.astype(np.float32) / _NOISE_UNIT, 1.5)

    def _get(self, take: Take) -> tuple[Reduced, Reduced]:
        path = self.path(take)
        key = str(path)
        if key not in self._loaded:
            if not path.is_file():
                self._fit_once(key, take)
            self._loaded[key] = _read(path, take)
            if len(self._loaded) > self._kept:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _fit_once(self, key: str, take: Take) -> None:
        """`fit`; a recording that failed is not read again for each of its frames."""
        if key in self._failed:
            raise InputError(self._failed[key])
        try:
            self.fit(take)
        except InputError as error:
            self._failed[key] = str(error)
            raise

    def fit(self, take: Take) -> None:
        """Fit and write the background of a take's person and camera.

        Raises:
            InputError: fewer than 5 of its frames can be read.
        """
        numbers = [
            n for n, t in enumerate(self._index.takes) if (t.person, t.camera) == (take.person, take.camera) and t.image
        ]
        rows = np.flatnonzero(np.isin(self._index.take, numbers))
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLES).round().astype(int))]
        frames = Frames(self._index.root)
        images = []
        for row in chosen:
            seen = self._index.takes[self._index.take[row]]
            try:
                images.append(_small(frames, seen, int(self._index.frame[row])))
            except InputError:
                continue  # a damaged frame is met again, and counted, when it is trained on
        if len(images) < 5:
            raise InputError(f"{take.name}: {len(images)} readable frames are too few for a background model")
        background, noise = estimate_background(images)
        with atomic_path(self.path(take)) as temporary:
            np.savez(temporary, background=background, noise=noise)


def estimate_background(images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Background (h, w, 3) uint8 RGB and noise (h, w) uint8, in sixteenths, of RGB images of one size."""
    frames = np.stack(images)
    model = fit_background(frames)
    for _ in range(2):  # as `saliency.background_masks`, without the masks it ends with
        distance = foreground_distance(frames, model)
        model = fit_background(frames, np.stack([grow(clean_mask(d, THRESHOLD), 0.02) for d in distance]))
    noise = np.clip(np.rint(model.noise * _NOISE_UNIT), 0, 255).astype(np.uint8)
    return np.clip(np.rint(model.background), 0, 255).astype(np.uint8), noise


def _small(frames: Frames, take: Take, frame: int) -> np.ndarray:
    """(h, w, 3) uint8 RGB of a whole frame, its longer side `_LONGER_SIDE` at most."""
    factor = max(take.width, take.height) / _LONGER_SIDE
    image = frames.read(take.image, frame, take.width, take.height, reduction=factor)
    size = (round(take.width / max(factor, 1.0)), round(take.height / max(factor, 1.0)))
    return cv2.cvtColor(cv2.resize(image.image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


def _read(path: Path, take: Take) -> tuple[Reduced, Reduced]:
    try:
        with open_npz(path) as data:
            background, noise = data["background"], data["noise"]
        if (
            background.ndim != 3
            or background.shape[:2] != noise.shape
            or background.dtype != np.uint8
            or noise.dtype != np.uint8
        ):
            raise ValueError(f"background {background.shape} and noise {noise.shape} do not belong together")
    except Exception as error:  # whatever numpy raises for a damaged file
        raise InputError(f"{path}: damaged background ({error}); delete it, it is fitted again") from error
    scale = (background.shape[1] / take.width, background.shape[0] / take.height)
    return Reduced(np.ascontiguousarray(background[..., ::-1]), scale), Reduced(
        np.repeat(noise[..., None], 3, -1), scale
    )


def saliency_of_crop(crop: np.ndarray, background: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """(S, S) uint8 of one crop (S, S, 3) uint8 before its background; 255 = surely not background."""
    model = BackgroundModel(background.astype(np.float32), noise, np.ones(noise.shape, np.float32))
    distance = foreground_distance(crop[None], model)[0]
    return soften(clean_mask(distance, THRESHOLD), distance)
