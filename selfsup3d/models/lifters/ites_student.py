"""The equivariant student of ITES (Xu et al. 2021): a graph network for depths, the invariant teacher's student.

Keypoints are pushed along their rays, so the re-projection is exact by construction. A rotated pose must be lifted to
the rotated pose.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from selfsup3d.config.lifters import StudentConfig
from selfsup3d.errors import InputError
from selfsup3d.geometry.rotation import random_axis_rotation
from selfsup3d.models.lifters.base import mean_over_joints
from selfsup3d.models.lifters.ites_teacher import InvariantTeacher
from selfsup3d.models.lifters.unit_camera import UnitCameraLifter
from selfsup3d.models.modules.cycle import cycle
from selfsup3d.models.modules.facing import facing_cost
from selfsup3d.models.modules.graph import Edges, GraphBlock, GraphConvolution, NonLocal, normalised
from selfsup3d.models.modules.mlp import frozen_statistics
from selfsup3d.models.system import Student, System
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import uniform_noise

__all__ = ["DepthGraph", "EquivariantStudent"]


class DepthGraph(nn.Module):
    """Graph convolutions 2 -> channels, residual blocks of two, attention between all joints, -> one depth a joint.

    Args:
        channels: hidden. blocks: residual.
        edges: see `GraphConvolution`.
        attention: put a non-local layer behind each block.
    """

    def __init__(
        self, channels: int = 128, blocks: int = 4, edges: Edges = "per_channel", attention: bool = True
    ) -> None:
        super().__init__()
        self.enter = GraphConvolution(2, channels, edges)
        self.norm = nn.BatchNorm1d(channels)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(GraphBlock(channels, edges), NonLocal(channels) if attention else nn.Identity())
                for _ in range(blocks)
            )
        )
        self.leave = GraphConvolution(channels, 1, edges)

    def forward(self, points: Tensor) -> Tensor:
        """(N, 17, 2) -> (N, 17), float32."""
        x = normalised(self.norm, self.enter(points.permute(2, 1, 0)))
        return self.leave(self.blocks(x))[0].T.float()


class EquivariantStudent(Student, UnitCameraLifter):
    """Learns depths from a frozen teacher, and that rotating the pose rotates the lifted pose.

    Args:
        settings: its camera must be the teacher's. Its views are rotations about the vertical axis by angles uniform in
            [0, 2 pi). The weight distillation 0 is the ablation without a teacher; `facing` is a prior of ours.
        teacher: trained; see `system.Student`.
    """

    def __init__(self, settings: StudentConfig, teacher: InvariantTeacher | None = None) -> None:
        super().__init__(settings.distance, settings.length)
        self.network = DepthGraph(settings.channels, settings.blocks, settings.edges, settings.attention)
        self.settings = settings
        if teacher is not None:
            self.learn_from(teacher)

    def learn_from(self, teacher: System) -> None:
        """Set the teacher.

        Raises:
            InputError: its virtual camera is another one.
        """
        assert isinstance(teacher, InvariantTeacher)
        if (teacher.distance, teacher.normalizer.length) != (self.distance, self.normalizer.length):
            raise InputError(
                f"system.teacher: its camera has distance {teacher.distance} and length {teacher.normalizer.length}, "
                f"the student's {self.distance} and {self.normalizer.length}; give both the same"
            )
        super().learn_from(teacher)

    def offsets(self, points: Tensor) -> Tensor:
        """(N, 17) depths relative to the root."""
        depth = self.network(points * self.distance)
        return depth - depth[:, :1]

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Distillation of depths, equivariance.

        Raises:
            InputError: there is no teacher, and the weights ask for one.
        """
        assert batch.seeds is not None
        observed = self.observe(batch)
        points, visible, w = observed.values, observed.visible, self.settings.weights
        rotations = random_axis_rotation(uniform_noise(batch.seeds, (self.settings.views,)), "y", 0.0, 2 * math.pi)
        first = self.lifted(points)
        with frozen_statistics(self.network):
            went = cycle(self.lifted, self.project, points, rotations, lifted=first)
        self.handedness.update(went.lifted)
        away = (went.relifted - went.rotated).norm(dim=-1)
        terms = {"equivariance": w.equivariance * mean_over_joints(away, visible[:, None]).mean()}
        if w.facing > 0:
            terms["facing"] = w.facing * facing_cost(went.lifted).mean()
        if w.distillation > 0:
            if not isinstance(self.teacher, InvariantTeacher):
                raise InputError(
                    "system.teacher: no trained teacher; train configs/lifters/ites_teacher.yaml, then give its folder "
                    "with --system.teacher runs/ites_teacher (or set --system.weights.distillation 0)"
                )
            with torch.no_grad():
                depth = self.teacher.lifted(points)[..., 2]
            error = (went.lifted[..., 2] - depth).abs()
            terms["distillation"] = w.distillation * mean_over_joints(error, visible).mean()
        return terms
