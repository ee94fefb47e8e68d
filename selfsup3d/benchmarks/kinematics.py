"""Forward kinematics of 4096 poses beside the rigid transforms of SMPL (`smplx.lbs.batch_rigid_transform`).

smplx is fed relative rotations and rest joints that give the very same positions; building them is not timed. It also
returns the joints' transforms, as T_fk carries the limbs' frames. Both read ready-made tensors and write positions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, check, measure, optional
from selfsup3d.benchmarks.machine import peak_memory_mb
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.kinematics import forward_kinematics, inverse_kinematics
from selfsup3d.geometry.limb_frames import FRAMES, Frames
from selfsup3d.geometry.rotation import minimal_rotation, multiply
from selfsup3d.structures.skeleton import FK_PARENTS

__all__ = ["BENCHMARK", "run", "smpl_arguments"]

POSES = 4096
TOLERANCE = 1e-5  # metres


def smpl_arguments(joints: Tensor) -> tuple[Tensor, Tensor]:
    """Relative rotations (N, 17, 3, 3) and rest joints (N, 17, 3) whose rigid transforms give `joints` (N, 17, 3).

    smplx turns all children of a joint together. A joint with one child carries the rotation from +Z to that limb, and
    the limb rests along +Z; a joint with several carries none, and its limbs rest where they are.
    """
    offsets = joints - joints[:, [max(parent, 0) for parent in FK_PARENTS]]
    up = torch.tensor([0.0, 0.0, 1.0], dtype=joints.dtype)
    turned = torch.eye(3, dtype=joints.dtype).repeat(len(joints), len(FK_PARENTS), 1, 1)
    rest = torch.zeros_like(joints)
    for joint, parent in enumerate(FK_PARENTS):
        if parent < 0:
            continue
        step = offsets[:, joint]
        if FK_PARENTS.count(parent) == 1:
            turned[:, parent] = minimal_rotation(up, step)
            step = up * step.norm(dim=-1, keepdim=True)
        rest[:, joint] = rest[:, parent] + step
    relative = turned.clone()
    for joint, parent in enumerate(FK_PARENTS):
        if parent >= 0:
            relative[:, joint] = multiply(turned[:, parent].mT, turned[:, joint])
    return relative, rest


def _with_gradients(arguments: tuple[Tensor, Tensor, Tensor], frames: Frames) -> tuple[Tensor, ...]:
    return torch.autograd.grad(forward_kinematics(*arguments, frames).sum(), arguments)


def run(settings: Settings) -> Result:
    """See the module."""
    joints = torch.from_numpy(ProceduralPrior(10 if settings.quick else 200).poses)
    joints = joints.repeat(-(-POSES // len(joints)), 1, 1)[: 64 if settings.quick else POSES]
    contestants: dict[str, Callable[[], object]] = {}
    error = 0.0
    for frames in FRAMES:
        pose = inverse_kinematics(joints, frames)
        error = max(
            error, check(pose.joints(frames), joints, TOLERANCE, f"T_fk with {frames} and the poses themselves")
        )
        local, hip, lengths = (part.to(settings.device) for part in pose[:3])
        contestants[frames] = partial(forward_kinematics, local, hip, lengths, frames)
        learned = (local.clone().requires_grad_(), hip.clone().requires_grad_(), lengths.clone().requires_grad_())
        contestants[f"{frames} with gradients"] = partial(_with_gradients, learned, frames)
    smplx = optional("smplx.lbs")
    if smplx is not None:
        relative, rest = (part.to(settings.device) for part in smpl_arguments(joints))
        parents = torch.tensor(FK_PARENTS, device=settings.device)
        contestants["smplx"] = partial(smplx.batch_rigid_transform, relative, rest, parents)
        theirs = smplx.batch_rigid_transform(relative, rest, parents)[0].cpu()
        check(theirs, joints, TOLERANCE, "smplx and the poses themselves")
    times = measure(contestants, settings)
    peak = peak_memory_mb(contestants["parallel_transport"], settings)
    return Result(
        ours_ms=times["parallel_transport"].median_ms,
        peer_ms=times["smplx"].median_ms if smplx is not None else None,
        peer="smplx.lbs.batch_rigid_transform",
        dtype="float32",
        max_error=error,
        peak_mb=peak,
        reason=None if smplx is not None else "smplx is not installed: pip install smplx",
        notes={
            "gram_schmidt_ms": times["gram_schmidt"].median_ms,
            "with_gradients_ms": times["parallel_transport with gradients"].median_ms,
            "gram_schmidt_with_gradients_ms": times["gram_schmidt with gradients"].median_ms,
            "spread": times["parallel_transport"].spread,
        },
    )


BENCHMARK = Benchmark(run, f"T_fk, {POSES} x 17, beside smplx's batch_rigid_transform", ">= 3", beside_others=True)
