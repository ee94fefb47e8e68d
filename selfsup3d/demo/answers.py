"""What the page asks and gets: images and numbers in, images and files out. Knows nothing of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from selfsup3d.demo.images import Framing, read_upload, window_of
from selfsup3d.demo.results import Results
from selfsup3d.errors import InputError
from selfsup3d.export.bvh import write_bvh
from selfsup3d.export.gltf import write_glb
from selfsup3d.export.rig import grounded
from selfsup3d.inference.records import PoseRecord
from selfsup3d.inference.synthesizer import Orbit, Person, Synthesizer
from selfsup3d.inference.windows import cut
from selfsup3d.viz.parts import colour_labels
from selfsup3d.viz.sheets import to_uint8
from selfsup3d.viz.skeleton import draw_skeleton

__all__ = ["Answers", "Look", "Seen"]

SHOWN = 384
"""Side of the images that are sent back, px."""

_STEPS = 20  # of the way from one pose to the other
_WRITERS: dict[str, Callable[[Path, PoseRecord], None]] = {
    "NPZ": lambda path, record: record.save(path),
    "BVH": lambda path, record: write_bvh(path, grounded(record.metric(), each_frame=True), 1.0),
    "GLB": lambda path, record: write_glb(path, grounded(record.metric(), each_frame=True), 1.0),
}


@dataclass(frozen=True)
class Seen:
    """An uploaded image, taken apart; one stays with each open page.

    Attributes:
        image: (SHOWN, SHOWN, 3) uint8 RGB, the square that the network saw.
        window: (3,) x, y, side of that square in the uploaded image, px.
        person: the one in it.
    """

    image: np.ndarray
    window: np.ndarray
    person: Person


@dataclass(frozen=True)
class Look:
    """All that is shown of an image.

    Attributes:
        seen: for later questions.
        joints: (17, 3) metres, camera axes, relative to the pelvis.
        overlay, parts: (SHOWN, SHOWN, 3) uint8 RGB, the skeleton and the body parts over the image.
        files: the pose, in the order of `Answers.FILES`.
    """

    seen: Seen
    joints: np.ndarray
    overlay: np.ndarray
    parts: np.ndarray
    files: tuple[Path, ...]


class Answers:
    """A model and a place for its files.

    Args:
        synthesizer: the model.
        folder: result files go there, each answer's into a folder of its own.
        name: of the model, for the page's last line.
    """

    FILES = tuple(_WRITERS)

    def __init__(self, synthesizer: Synthesizer, folder: Path, name: str = "model") -> None:
        self.synthesizer, self.results = synthesizer, Results(folder)
        parameters = sum(p.numel() for p in synthesizer.system.parameters()) / 1e6
        side = synthesizer.size
        self.facts = f"Model {name}: {parameters:.1f} million parameters, images of {side} × {side} px"

    def encode(self, path: str | Path, framing: Framing, name: str | None = None) -> Seen:
        """Take an image apart.

        Args:
            path: the uploaded file. framing: see `images.Framing`. name: what the person calls the file.

        Raises:
            InputError: see `images.read_upload`; or the network finds no finite pose in it.
        """
        return self._take_apart(path, framing, name)[0]

    def look(self, path: str | Path, framing: Framing, name: str | None = None, page: str = "") -> Look:
        """Everything about one image; arguments and errors as `encode`.

        Args:
            page: that asks; the newest files of each page are kept until `forget`.
        """
        seen, image = self._take_apart(path, framing, name)
        body = seen.person.body
        x, y, side = (float(v) for v in seen.window)
        pixels = body.pixels.cpu().numpy() / self.synthesizer.size  # (1, 17, 2) of the square
        record = PoseRecord(
            joints_3d=body.posed.cpu().numpy(),
            joints_2d=(pixels * side + (x, y)).astype(np.float32),  # of the uploaded image
            root=body.camera.translation.cpu().numpy(),
            frames=np.zeros(1, np.int64),
            windows=seen.window[None],
            source=name or Path(path).name,
        )
        return Look(
            seen,
            record.joints_3d[0],
            draw_skeleton(seen.image, pixels[0] * SHOWN),
            self._parts(seen, image),
            self._files(record, page),
        )

    def view(self, seen: Seen, azimuth: float, elevation: float, distance: float) -> np.ndarray:
        """The person as another camera sees them, (SHOWN, SHOWN, 3) uint8 RGB, over a plain background.

        Args:
            azimuth, elevation: degrees from the image's view, to the right and upwards.
            distance: times that in the image.
        """
        camera = Orbit(float(azimuth), float(elevation), float(distance))
        return _shown(self.synthesizer.novel_view(seen.person, [camera])[0])

    def transfer(self, appearance: Seen, driving: Seen, share: float = 1.0) -> np.ndarray:
        """The person of one image posed as in the other, (SHOWN, SHOWN, 3) uint8 RGB.

        Args:
            share: 0 = in their own pose and view, 1 = in the other's; in steps of 0.05.
        """
        way = self.synthesizer.interpolate(appearance.person, driving.person, _STEPS + 1)
        step = min(max(round(float(share) * _STEPS), 0), _STEPS)
        posed = way[slice(step, step + 1)]
        return _shown(self.synthesizer.mix(appearance.person, posed, posed)[0])

    def _take_apart(self, path: str | Path, framing: Framing, name: str | None) -> tuple[Seen, Tensor]:
        """An image taken apart, and the (3, S, S) that the network saw of it."""
        upload = read_upload(path, name)
        window = window_of(upload, framing)
        image = _tensor(cut(upload, window, self.synthesizer.size))
        person = self.synthesizer.encode(image)
        if not bool(torch.isfinite(person.body.joints).all()):
            raise InputError(f"{name or Path(path).name}: the model finds no pose in it; try another image")
        return Seen(cut(upload, window, SHOWN), window, person), image

    def _parts(self, seen: Seen, image: Tensor) -> np.ndarray:
        """Part segmentation over the image; probabilities are enlarged, so that outlines stay smooth."""
        predicted = self.synthesizer.pose(image, decode=True).segmentation
        assert predicted is not None  # a synthesizer has a decoder
        fine = torch.nn.functional.interpolate(predicted, (SHOWN, SHOWN), mode="bilinear", align_corners=False)
        over = _tensor(seen.image)[None].to(fine.device)
        return to_uint8(colour_labels(fine.argmax(1), over, puppet=self.synthesizer.system.puppet))[0]

    def forget(self, page: str) -> None:
        """Remove a page's files: it was closed."""
        self.results.forget(page)

    def _files(self, record: PoseRecord, page: str) -> tuple[Path, ...]:
        """Write the pose in every format."""
        place = self.results.place(page)
        files = []
        for kind in self.FILES:
            files.append(place / f"pose.{kind.lower()}")
            _WRITERS[kind](files[-1], record)
        return tuple(files)


def _tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255.0


def _shown(image: Tensor) -> np.ndarray:
    """(3, S, S) in [0, 1] -> (SHOWN, SHOWN, 3) uint8."""
    return cv2.resize(to_uint8(image), (SHOWN, SHOWN), interpolation=cv2.INTER_CUBIC)
