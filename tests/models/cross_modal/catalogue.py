"""Cross-modal VAEs of every kind, small, with data that they can train on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from selfsup3d.builders.cross_modal import build_cross_modal
from selfsup3d.config.run import Config
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.models.cross_modal.system import CrossModalVAE
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams

SIZE = 16
SMALL = {"kind": "cross_modal", "latent": 8, "width": 24, "blocks": 1, "image_norm": "group",
         "backbone": "test_resnet"}  # fmt: skip
BOTH = {"encoders": ["joints_2d", "image"], "decoders": ["image", "joints_3d"]}


@dataclass(frozen=True)
class Case:
    """A setting of the VAE."""

    name: str
    system: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def config(self) -> Config:
        data = {"kind": "synthetic", "size": SIZE}
        return Config.model_validate({"system": SMALL | self.system, "data": data})

    def build(self) -> CrossModalVAE:
        torch.manual_seed(0)
        return build_cross_modal(self.config())

    def fitted(self) -> CrossModalVAE:
        system = self.build()
        system.fit([self.batch(100 + step, 32) for step in range(4)])
        return system

    def batch(self, step: int = 0, size: int = 12) -> Batch:
        """Poses with images that show something of them."""
        batch = source().batch(RandomStreams(0, step, np.arange(size)))
        assert batch.joints_2d is not None
        grid = (torch.arange(SIZE) + 0.5) * (1000 / SIZE)
        pixels = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)  # (S, S, 2)
        near = (-((pixels[None, :, :, None] - batch.joints_2d[:, None, None]) / 90).square().sum(-1)).exp()
        return replace(batch, target=near.unflatten(-1, (17, 1)).sum(-2).repeat(1, 1, 1, 3).movedim(-1, 1).clamp(0, 1))


@lru_cache(maxsize=1)
def source() -> ProjectedPoses:
    return ProjectedPoses(procedural_capture(12, frames=12), name="procedural")


def pairs(*texts: str, **more: Any) -> dict[str, Any]:
    return {"pairs": list(texts), **more}


CASES = [
    Case("2D to 3D"),
    Case("2D to 3D, residual", {"residual": True, "norm": "layer"}),
    Case("2D to 3D, root zeroed", {"zero_root": True}),
    Case("image to 3D", pairs("image->joints_3d")),
    Case("2D to 3D, image to image", pairs("joints_2d->joints_3d", "image->image")),
    Case("all pairs", pairs("image->image", "joints_2d->joints_3d", "image->joints_3d", "joints_2d->image")),
    Case("3D to 3D and 2D", pairs("joints_2d->joints_3d", "joints_3d->joints_3d", "joints_3d->joints_2d")),
    Case("product", {"pairs": [], "fusion": "poe", **BOTH}),
    Case("product of three, own", {"pairs": [], "fusion": "poe", "own": True,
                                   "encoders": ["joints_2d", "joints_3d", "image"],
                                   "decoders": ["joints_2d", "joints_3d", "image"]}),
    Case("mixture", {"pairs": [], "fusion": "moe", "predict_from": ["joints_2d", "image"], **BOTH}),
    Case("critic of poses", {"adversary": {"judges": "joints_3d", "width": 16, "blocks": 1}}),
    Case("hybrid", pairs("image->image", "image->joints_3d", adversary={"judges": "image", "features": 1.0, "image_width": 4},
                         weights={"image": 0.0})),
    Case("re-projection", {"supervision": "reprojection", "facing": 0.1,
                           "adversary": {"judges": "joints_2d", "weight": 0.1, "width": 16, "blocks": 1}}),
]  # fmt: skip
