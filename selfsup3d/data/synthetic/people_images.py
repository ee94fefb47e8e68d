"""Training images of rendered people: turned, cropped, occluded, lit, over any background, as some camera records them.

A rendered cut-out (`people`) is costly, an image made of it is not, so each gives several images in a pool that is
renewed as training goes on. Everything depends on (seed, step, sample) alone; a resumed run renders what it lacks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from selfsup3d.data.priors.camera_prior import UprightPoses
from selfsup3d.data.priors.pose_prior import UprightPrior
from selfsup3d.data.sampling.dataset import Dataset, Samples
from selfsup3d.data.synthetic.backdrops import Backdrops
from selfsup3d.data.synthetic.degradation import degraded, recoloured
from selfsup3d.data.synthetic.people import RENDER_SIDE, CutOuts, render_people, separate
from selfsup3d.data.synthetic.renewed_pool import RenewedPool
from selfsup3d.data.synthetic.shading import cast_shadow, creased, dressed, hazy
from selfsup3d.geometry.camera import transform
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.batch import Batch, Camera
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import H36M_17

__all__ = [
    "PeopleFrames",
    "PeopleSource",
    "Placed",
    "PosePool",
    "UNSEEN",
    "WithPeople",
    "image_tensor",
    "place",
    "stacked",
]

_POSES, _RENDER = 0x905E, 0x8E4DE8  # seeds of the pose pool and of the cut-outs
_FRAMES = 0xF4A3E5  # seed of the evaluation frames
UNSEEN = 2**40
"""Draws from this number on are made in no training run."""

ROLL = 20.0
"""Degrees by which the camera is turned about its axis, at most."""

_MIRROR = np.array([-1.0, 1.0, 1.0], dtype=np.float32)
_FLIP = list(H36M_17.flip_order)


class PosePool:
    """Poses of several priors with their shares, the rarer kinds of pose drawn more often **[ours]**.

    Poses are sorted into kinds by k-means on their joints; a kind of n poses is drawn with probability ~ sqrt(n).

    Args:
        priors: each with its share of the draws. size: poses kept. kinds: of pose. first: number of the first draw.
    """

    def __init__(
        self, priors: Sequence[tuple[UprightPrior, float]], size: int = 40_000, kinds: int = 128, first: int = 0
    ) -> None:
        total = sum(share for _, share in priors)
        parts, weights = [], []
        for number, (prior, share) in enumerate(priors):
            count = round(size * share / total)
            poses = prior.sample_upright(RandomStreams(_POSES, number, first + np.arange(count)))
            parts.append(poses)
            flat = poses.joints.flatten(1).numpy()
            stop = (cv2.TERM_CRITERIA_MAX_ITER, 8, 0.0)
            cv2.setRNGSeed(number)
            few = flat[:: max(1, count // 8_000)]
            centres = cv2.kmeans(few, min(kinds, len(few)), None, stop, 1, cv2.KMEANS_RANDOM_CENTERS)[2]  # type: ignore[call-overload]
            kind = np.argmin((centres**2).sum(1) - 2.0 * flat @ centres.T, axis=1)
            weight = 1.0 / np.sqrt(np.bincount(kind, minlength=len(centres))[kind])
            weights.append(weight / weight.sum() * share / total)
        self._poses = [torch.cat([getattr(p, name) for p in parts]) for name in ("joints", "tilt", "height")]
        self._cumulative = np.cumsum(np.concatenate(weights))

    def sample_upright(self, streams: RandomStreams) -> UprightPoses:
        """B poses; one draw a sample."""
        rows = np.searchsorted(self._cumulative, streams.uniform() * self._cumulative[-1], side="right")
        chosen = torch.from_numpy(np.minimum(rows, len(self._cumulative) - 1))
        return UprightPoses(*(values[chosen] for values in self._poses))


@dataclass(frozen=True)
class Placed:
    """A cut-out in an image (S, S, 3): background, labels (S, S), pose and camera."""

    image: np.ndarray
    background: np.ndarray
    labels: np.ndarray
    canonical: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    K: np.ndarray


class PeopleSource:
    """Samples whose `rendered` image shows the unpaired pose.

    Args:
        poses: what is rendered. size: S, pixels a side.
        backgrounds: folder of images without people; None = procedural ones alone.
        pool: cut-outs kept at a time. reuse: images made of each, on average, before the pool is renewed.
    """

    name = "people"

    def __init__(
        self, poses: UprightPrior, size: int, backgrounds: Path | None = None, pool: int = 16_000, reuse: float = 5.0
    ) -> None:
        self.image_size = size
        self._poses, self._pool = poses, RenewedPool(pool, reuse, self._cut_outs)
        self._backdrops = Backdrops(backgrounds)
        self._partner = np.array([*default_puppet().flip_order, default_puppet().background], dtype=np.uint8)

    def batch(self, streams: RandomStreams) -> Batch:
        """Samples for these draws: `rendered`, `rendered_parts` and the pose and camera they show, as the unpaired ones."""
        which, people = self._pool.draw(streams)
        seeds = streams.seeds
        samples = [self._sample(person, people[i - 1], int(seeds[i])) for i, person in enumerate(people)]
        images, backgrounds = (image_tensor(samples, name) for name in ("image", "background"))
        camera = Camera(*(stacked(samples, name) for name in ("rotation", "translation", "K")))
        return Batch(
            index=torch.from_numpy(streams.indices.copy()),
            seeds=torch.from_numpy(seeds),
            source=images,
            target=images,
            K=camera.K,
            unpaired=stacked(samples, "canonical"),
            unpaired_camera=camera,
            unpaired_background=backgrounds,
            rendered=images,
            rendered_parts=stacked(samples, "labels").long(),
            meta=tuple({"dataset": self.name, "person": f"people-{i}", "frame": 0} for i in which.tolist()),
        )

    def _cut_outs(self, which: np.ndarray) -> list[CutOuts]:
        streams = RandomStreams(_RENDER, 0, which)
        return separate(render_people(streams, self._poses.sample_upright(streams)))

    def _sample(self, person: CutOuts, other: CutOuts, seed: int) -> Placed:
        draw = np.random.Generator(np.random.Philox(key=np.array([seed, 0x9E0], dtype=np.uint64)))
        size = self.image_size
        person = _mirrored(person, self._partner) if draw.random() < 0.5 else person
        background = self._backdrops.draw(draw, size)
        turn, scale, centre, roll, feet = _placed(person, draw, size)
        image = background.astype(np.float32)
        if draw.random() < 0.1:  # somebody else, mostly outside the image
            image = self._passer_by(image, other, draw)
        cut, labels = _warped(person, turn, centre, size)
        colour = recoloured(cut[..., :3].astype(np.float32), draw)
        cover = cut[..., 3:].astype(np.float32) / 255.0
        if draw.random() < 0.25:
            colour = dressed(colour, cover, labels, self._backdrops.draw(draw, size), draw)
        if draw.random() < 0.6:
            colour = creased(colour, draw)
        if draw.random() < 0.4:
            image = cast_shadow(image, cover[..., 0], feet, draw)
        image = image * (1.0 - cover) + np.minimum(colour, 255.0 * cover)
        if draw.random() < 0.3:
            image, labels = self._occluded(image, labels, draw)
        if draw.random() < 0.15:
            image = hazy(image, draw)
        recorded = degraded(np.clip(image, 0, 255), draw)
        return Placed(recorded, background, labels, person.canonical, *_camera(person, scale, centre, roll))

    def _passer_by(self, image: np.ndarray, other: CutOuts, draw: np.random.Generator) -> np.ndarray:
        size = image.shape[0]
        scale = size / RENDER_SIDE * draw.uniform(0.5, 1.1)
        side = -1.0 if draw.random() < 0.5 else 1.0
        centre = size * np.array([0.5 + side * draw.uniform(0.42, 0.6), 0.5 + draw.uniform(-0.15, 0.15)])
        cut, _ = _warped(other, scale * np.eye(2), centre, size)
        cover = cut[..., 3:].astype(np.float32) / 255.0
        return image * (1.0 - cover) + cut[..., :3]

    def _occluded(
        self, image: np.ndarray, labels: np.ndarray, draw: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Things before the person: boxes, balls, bars, or a table's edge across the lower part."""
        size = image.shape[0]
        mask = np.zeros((size, size), dtype=np.uint8)
        for _ in range(1 + draw.integers(2)):
            x, y = (size * draw.uniform(0.15, 0.85, 2)).astype(int).tolist()
            w, h = (size * draw.uniform(0.04, 0.15, 2)).astype(int).tolist()
            kind = draw.integers(4)
            if kind == 0:
                cv2.rectangle(mask, (x - w, y - h), (x + w, y + h), 255, -1)
            elif kind == 1:
                cv2.ellipse(mask, (x, y), (w + 1, h + 1), draw.uniform(0, 180), 0, 360, 255, -1)
            elif kind == 2:
                ends = (size * draw.uniform(0, 1, 4)).astype(int).tolist()
                cv2.line(mask, tuple(ends[:2]), tuple(ends[2:]), 255, max(1, w // 2))
            else:
                edge = int(size * draw.uniform(0.72, 1.0))
                cv2.rectangle(mask, (0, edge), (size, size), 255, -1)
        cover = cv2.GaussianBlur(mask, (3, 3), 0.6).astype(np.float32)[..., None] / 255.0
        plain = draw.random() < 0.4
        front = draw.uniform(0, 255, 3) if plain else self._backdrops.draw(draw, size)
        labels = np.where(mask > 127, self._partner[-1], labels)
        return image * (1.0 - cover) + cover * np.asarray(front, dtype=np.float32), labels


class PeopleFrames:
    """Rendered people that no training run sees, made as training images are, with their joints.

    Args:
        people: makes them. count: frames; each of its pool gives one, on average, where its pool has as many.
    """

    name = "people"

    def __init__(self, people: PeopleSource, count: int) -> None:
        self._people, self._count = people, count

    def __len__(self) -> int:
        return self._count

    def frames(self, indices: np.ndarray) -> Batch:
        """Images and camera-frame joints of these frames."""
        indices = np.asarray(indices, np.int64)
        batch = self._people.batch(RandomStreams(_FRAMES, 0, UNSEEN + indices))
        camera = batch.unpaired_camera
        assert camera is not None
        assert batch.unpaired is not None
        return Batch(
            index=torch.from_numpy(indices),
            target=batch.target,
            K=batch.K,
            joints_3d=transform(batch.unpaired, camera.rotation, camera.translation),
            meta=batch.meta,
        )


def place(person: CutOuts, background: np.ndarray, draw: np.random.Generator) -> Placed:
    """A cut-out before a background (S, S, 3) uint8, as a crop shows it, and nothing else."""
    turn, scale, centre, roll, _ = _placed(person, draw, background.shape[0])
    cut, labels = _warped(person, turn, centre, background.shape[0])
    cover = cut[..., 3:].astype(np.float32) / 255.0
    image = background.astype(np.float32) * (1.0 - cover) + np.minimum(cut[..., :3], 255.0 * cover)
    recorded = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return Placed(recorded, background, labels, person.canonical, *_camera(person, scale, centre, roll))


def _camera(
    person: CutOuts, scale: float, centre: np.ndarray, roll: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation, translation and pinhole of a crop of a cut-out."""
    c, s = np.cos(roll), np.sin(roll)
    roll_matrix = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32)
    focal = float(person.focal) * scale
    K = np.array([[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]], dtype=np.float32)
    return roll_matrix @ person.rotation, roll_matrix @ person.translation, K


class _SizedSamples(Samples, Protocol):
    """Samples of images of one size."""

    image_size: int


class WithPeople:
    """Any training images, with rendered people in place of the unpaired poses.

    Args:
        source: of the images. people: of the same size, or pairs of renderings.
    """

    def __init__(self, source: Dataset, people: _SizedSamples) -> None:
        self.name, self.image_size = source.name, people.image_size
        self.images, self._people = source, people

    def __len__(self) -> int:
        """Evaluation frames of the images."""
        return len(self.images)

    def frames(self, indices: np.ndarray) -> Batch:
        """Evaluation frames of the images, as they are."""
        return self.images.frames(indices)

    def batch(self, streams: RandomStreams) -> Batch:
        """The images' batch; the pose, its camera and its background are those of `rendered`."""
        images = self.images.batch(streams)
        people = self._people.batch(streams)
        names = ["unpaired", "unpaired_camera", "unpaired_background", "rendered", "rendered_parts"]
        names += ["rendered_source", "rendered_source_K", "rendered_source_parts"]  # of pairs
        return replace(images, **{name: getattr(people, name) for name in names})


def stacked(samples: Sequence[Placed], name: str) -> torch.Tensor:
    """One field of all samples."""
    return torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))


def image_tensor(samples: Sequence[Placed], name: str) -> torch.Tensor:
    """(B, 3, S, S) in [0, 1], of a field of images."""
    return stacked(samples, name).permute(0, 3, 1, 2).float() / 255.0


def _mirrored(person: CutOuts, partner: np.ndarray) -> CutOuts:
    """The mirrored person seen by the mirrored camera."""
    side = np.array([1.0, -1.0, 1.0], dtype=np.float32)
    return CutOuts(
        person.image[:, ::-1],
        partner[person.labels[:, ::-1]],
        person.canonical[_FLIP] * side,
        _MIRROR[:, None] * person.rotation * side,
        _MIRROR * person.translation,
        person.focal,
    )


def _placed(
    person: CutOuts, draw: np.random.Generator, size: int
) -> tuple[np.ndarray, float, np.ndarray, float, np.ndarray]:
    """Where a crop shows the person: the 2x2 map from the cut-out, its scale, the principal point, the roll in radians,
    and the lowest joint (2,) px.

    Most crops are those of `predict`: the joints take up half to nine tenths of the side. Some are wider, and in some
    the person is cut off.
    """
    roll = np.deg2rad(np.clip(draw.normal(0.0, 8.0), -ROLL, ROLL))
    c, s = np.cos(roll), np.sin(roll)
    turn = np.array([[c, -s], [s, c]])
    seen = person.canonical @ person.rotation.T + person.translation
    points = (seen[:, :2] / np.maximum(seen[:, 2:], 0.3) * person.focal) @ turn.T  # px of the cut-out, from its middle
    low, high = points.min(0), points.max(0)
    kind = draw.random()
    fill = (
        draw.uniform(0.5, 0.92) if kind < 0.78 else draw.uniform(0.3, 0.5) if kind < 0.86 else draw.uniform(0.92, 1.5)
    )
    scale = fill * size / float((high - low).max())
    middle, room = (low + high) / 2, max(0.0, 1.0 - fill) / 2 + 0.02
    if fill > 0.92:  # cut off: mostly the legs
        middle, room = points[(8, 8, 8, 7, 7, 0)[draw.integers(6)]], 0.12
    shift = np.clip(draw.normal(0.0, 0.4, 2), -1, 1) * room
    centre = size * (0.5 + shift) - scale * middle
    lowest = points[points[:, 1].argmax()] * scale + centre
    return scale * turn, scale, centre, float(roll), lowest


def _warped(person: CutOuts, turn: np.ndarray, centre: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The cut-out (S, S, 4) and its labels (S, S) as a crop shows them: its middle goes to `centre`."""
    middle = RENDER_SIDE / 2 - 0.5  # OpenCV counts from the centre of the first pixel
    matrix = np.concatenate([turn, (centre - 0.5 - turn @ np.array([middle, middle]))[:, None]], 1)
    source = np.ascontiguousarray(person.image)
    shrink = float(np.sqrt(np.linalg.det(turn)))
    if shrink < 0.6:  # else thin limbs would fall between the samples
        source = cv2.blur(source, (2, 2), anchor=(0, 0))
    cut = cv2.warpAffine(source, matrix, (size, size), flags=cv2.INTER_LINEAR)
    background = int(default_puppet().background)
    labels = cv2.warpAffine(
        np.ascontiguousarray(person.labels), matrix, (size, size), flags=cv2.INTER_NEAREST, borderValue=background
    )
    return cut, labels
