"""Pairs of renderings of one synthetic person: exactly aligned truth for synthesis, without a label of a real image.

Every other pair is one pose from two sides, the others are two poses; body, clothes and light are the same, and the
camera records both alike. Everything depends on (seed, step, sample) alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from selfsup3d.data.priors.camera_prior import UprightPoses
from selfsup3d.data.priors.pose_prior import UprightPrior
from selfsup3d.data.synthetic.backdrops import Backdrops
from selfsup3d.data.synthetic.people import CutOuts, render_people, separate
from selfsup3d.data.synthetic.people_images import image_tensor, place, stacked
from selfsup3d.data.synthetic.renewed_pool import RenewedPool
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
        self._poses, self._pool = poses, RenewedPool(pool, reuse, self._render)
        self._backdrops = Backdrops(backgrounds)

    def batch(self, streams: RandomStreams) -> Batch:
        """Samples for these draws: two renderings, the parts of the second, and its pose and camera as the unpaired ones."""
        which, pairs = self._pool.draw(streams)
        seeds = streams.seeds
        sources, targets = [], []
        for pair, seed in zip(pairs, seeds.tolist(), strict=True):
            draw = np.random.Generator(np.random.Philox(key=np.array([seed, _PAIRS], dtype=np.uint64)))
            first, second = pair[:: 1 if draw.random() < 0.5 else -1]
            sources.append(place(first, self._backdrops.draw(draw, self.image_size), draw))
            targets.append(place(second, self._backdrops.draw(draw, self.image_size), draw))
        camera = Camera(*(stacked(targets, name) for name in ("rotation", "translation", "K")))
        images = image_tensor(targets, "image")
        return Batch(
            index=torch.from_numpy(streams.indices.copy()),
            seeds=torch.from_numpy(seeds),
            source=image_tensor(sources, "image"),
            target=images,
            K=camera.K,
            unpaired=stacked(targets, "canonical"),
            unpaired_camera=camera,
            unpaired_background=image_tensor(targets, "background"),
            rendered=images,
            rendered_parts=stacked(targets, "labels").long(),
            rendered_source=image_tensor(sources, "image"),
            rendered_source_K=stacked(sources, "K"),
            rendered_source_parts=stacked(sources, "labels").long(),
            meta=tuple({"dataset": self.name, "person": f"pair-{i}", "frame": 0} for i in which.tolist()),
        )

    def _render(self, which: np.ndarray) -> list[tuple[CutOuts, CutOuts]]:
        poses = self._poses.sample_upright(RandomStreams(_PAIRS, 1, which))
        others = self._poses.sample_upright(RandomStreams(_PAIRS, 2, which))
        same = torch.from_numpy(which % 2 == 0)
        others = UprightPoses(
            *(
                torch.where(same.view(-1, *[1] * (a.dim() - 1)), a, b)
                for a, b in zip(*map(_fields, (poses, others)), strict=True)
            )
        )
        drawn = [
            render_people(RandomStreams(_PAIRS, 0, which), each, views=RandomStreams(_PAIRS, view, which))
            for view, each in ((3, poses), (4, others))
        ]
        return list(zip(*map(separate, drawn), strict=True))


def _fields(poses: UprightPoses) -> tuple[torch.Tensor, ...]:
    return poses.joints, poses.tilt, poses.height
