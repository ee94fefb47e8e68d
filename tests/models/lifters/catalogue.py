"""Every lifter, small, with data that it can train on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from selfsup3d.builders.lifters import build_lifter
from selfsup3d.config.run import Config
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.models.system import System
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams

SMALL = {"width": 32, "blocks": 1}


@dataclass(frozen=True)
class Case:
    """A lifter: its settings and what its data are like."""

    name: str
    system: dict[str, Any]
    frames: int = 1
    data: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def config(self) -> Config:
        return Config.model_validate({"system": self.system, "data": {"kind": "projected", "frames": self.frames}})

    def build(self) -> System:
        torch.manual_seed(0)
        return build_lifter(self.config())

    def source(self) -> ProjectedPoses:
        return ProjectedPoses(capture(), name="procedural", frames_per_sample=self.frames, **self.data)

    def fitted(self, batches: int = 4, size: int = 32) -> System:
        """Built, with statistics of its data; students are given a teacher."""
        system, source = self.build(), self.source()
        system.fit(source.batch(RandomStreams(1, step, np.arange(size))) for step in range(batches))
        if hasattr(system, "learn_from"):
            system.learn_from(TEACHER.fitted())
        return system

    def batch(self, step: int = 0, size: int = 16) -> Batch:
        return self.source().batch(RandomStreams(0, step, np.arange(size)))


@lru_cache(maxsize=1)
def capture():
    return procedural_capture(12, frames=12)


TEACHER = Case("ites_teacher", {"kind": "ites_teacher", "bottleneck": 16, "atoms": 4, "views": 2, **SMALL})

CASES = [
    Case("martinez", {"kind": "martinez", **SMALL}),
    Case("temporal", {"kind": "temporal", "widths": [3, 3], "channels": 16}, frames=9),
    Case("temporal semi-supervised",
         {"kind": "temporal", "widths": [3, 3], "channels": 16, "semi_supervised": True, "dropout": 0.0}, 9, {"labelled": 0.5}),
    Case("adversarial_depth", {"kind": "adversarial_depth", "width": 32, "facing": "knees"}),
    Case("adversarial_depth face", {"kind": "adversarial_depth", "width": 32}),
    Case("repnet", {"kind": "repnet", "width": 40, "critic_updates": 2}),
    Case("repnet body", {"kind": "repnet", "width": 40, "frame": "body", "chain": False}),
    Case("geometric", {"kind": "geometric", "critic_blocks": 1, "weights": {"facing": 1.0}, **SMALL}),
    Case("geometric temporal and adapter",
         {"kind": "geometric", "critic_blocks": 1, "temporal": True, "adapter": True, "keypoints": "source", **SMALL},
         3, {"second_source": True}),
    TEACHER,
    Case("ites_teacher cycle",
         {"kind": "ites_teacher", "bottleneck": 16, "views": 1, "weights": {"cycle": 1.0, "facing": 1.0}, **SMALL}),
    Case("ites_teacher compact",
         {"kind": "ites_teacher", "bottleneck": 16, "views": 1, "view_rotations": "views", "rotation": "6d",
          "weights": {"cycle": 1.0, "compactness": 1.0}, **SMALL}),
    Case("ites_student", {"kind": "ites_student", "channels": 8, "blocks": 1, "views": 2}),
    Case("ites_student shared",
         {"kind": "ites_student", "channels": 8, "blocks": 1, "edges": "shared", "weights": {"facing": 1.0}}),
    Case("c3dpo", {"kind": "c3dpo", "bottleneck": 16, "weights": {"facing": 1.0}, **SMALL}),
    Case("c3dpo rotated", {"kind": "c3dpo", "bottleneck": 16, "rotation": "6d",
         "weights": {"compactness": 1.0, "invariance": 1.0, "cycle": 1.0}, **SMALL}),
    Case("deep_nrsfm", {"kind": "deep_nrsfm", "sizes": [20, 12, 6]}),
    Case("deep_nrsfm relu", {"kind": "deep_nrsfm", "sizes": [20, 12, 6], "threshold": "relu", "facing": 1.0}),
    Case("elepose", {"kind": "elepose", "flow_width": 16, "flow_layers": 2, "weights": {"facing": 1.0}, **SMALL}),
    Case("root_depth", {"kind": "root_depth", **SMALL}),
    Case("keypoint_lifter", {"kind": "keypoint_lifter", **SMALL}),
    Case("keypoint_lifter temporal", {"kind": "keypoint_lifter", "widths": [3, 3], "channels": 16, **SMALL}, 9),
]  # fmt: skip
