"""Pairs of renderings of one synthetic person: exactly aligned truth for synthesis, without a label of a real image.

Every other pair is one pose from two sides, the others are two poses; body, clothes and light are the same, and the
camera records both alike. Everything depends on (seed, step, sample) alone.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from selfsup3d.data.priors.camera_prior import UprightPoses
from selfsup3d.data.priors.pose_prior import UprightPrior
from selfsup3d.data.synthetic.backdrops import Backdrops
from selfsup3d.data.synthetic.people import CutOuts, render_people
from selfsup3d.data.synthetic.people_images import Placed, place
from selfsup3d.structures.batch import Batch, Camera
from selfsup3d.structures.random import RandomStreams

__all__ = ["PeoplePairs"]

_PAIRS = 0xBA125  # seed of the pairs


class PeoplePairs:
    """Samples whose `rendered` and `rendered_source` show one person.

    Args:
        poses: what is rendered. size: S, pixels a side.
        backgrounds: folder of images without people; None = procedural ones alone.
        pool: pairs kept at a time. reuse: samples made of each, on average, before the pool is renewed.
    """

    name = "people"

    def __init__(
        self, poses: UprightPrior, size: int, backgrounds: Path | None = None, pool: int = 1_500, reuse: float = 16.0
    ) -> None:
        self.image_size = size
        self._poses, self._pool, self._life = poses, pool, round(pool * reuse)
        self._backdrops = Backdrops(backgrounds)
        self._kept: OrderedDict[int, tuple[CutOuts, CutOuts]] = OrderedDict()

    def batch(self, streams: RandomStreams) -> Batch:
        """Samples for these draws: two renderings, the parts of the second, and its pose and camera as the unpaired ones."""
        which = streams.indices // self._life * self._pool + streams.integers(self._pool)
        self._render(which)
        seeds = streams.seeds
        sources, targets = [], []
        for i, seed in zip(which.tolist(), seeds.tolist(), strict=True):
            draw = np.random.Generator(np.random.Philox(key=np.array([seed, _PAIRS], dtype=np.uint64)))
            first, second = self._kept[i][:: 1 if draw.random() < 0.5 else -1]
            sources.append(place(first, self._backdrops.draw(draw, self.image_size), draw))
            targets.append(place(second, self._backdrops.draw(draw, self.image_size), draw))
        while len(self._kept) > self._pool:
            self._kept.popitem(last=False)
        camera = Camera(*(_stacked(targets, name) for name in ("rotation", "translation", "K")))
        images = _images(targets, "image")
        return Batch(
            index=torch.from_numpy(streams.indices.copy()),
            seeds=torch.from_numpy(seeds),
            source=_images(sources, "image"),
            target=images,
            K=camera.K,
            unpaired=_stacked(targets, "canonical"),
            unpaired_camera=camera,
            unpaired_background=_images(targets, "background"),
            rendered=images,
            rendered_parts=_stacked(targets, "labels").long(),
            rendered_source=_images(sources, "image"),
            rendered_source_K=_stacked(sources, "K"),
            meta=tuple({"dataset": self.name, "person": f"pair-{i}", "frame": 0} for i in which.tolist()),
        )

    def _render(self, which: np.ndarray) -> None:
        missing = np.array([i for i in dict.fromkeys(which.tolist()) if i not in self._kept], dtype=np.int64)
        if not len(missing):
            return
        poses = self._poses.sample_upright(RandomStreams(_PAIRS, 1, missing))
        others = self._poses.sample_upright(RandomStreams(_PAIRS, 2, missing))
        same = torch.from_numpy(missing % 2 == 0)
        others = UprightPoses(
            *(
                torch.where(same.view(-1, *[1] * (a.dim() - 1)), a, b)
                for a, b in zip(*map(_fields, (poses, others)), strict=True)
            )
        )
        drawn = [
            render_people(RandomStreams(_PAIRS, 0, missing), each, views=RandomStreams(_PAIRS, view, missing))
            for view, each in ((3, poses), (4, others))
        ]
        for row, i in enumerate(missing.tolist()):
            # Copies: a view would keep its whole batch.
            first, second = (CutOuts(*(np.copy(value[row]) for value in vars(cut).values())) for cut in drawn)
            self._kept[i] = first, second


def _fields(poses: UprightPoses) -> tuple[torch.Tensor, ...]:
    return poses.joints, poses.tilt, poses.height


def _stacked(samples: list[Placed], name: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))


def _images(samples: list[Placed], name: str) -> torch.Tensor:
    return _stacked(samples, name).permute(0, 3, 1, 2).float() / 255.0
