"""What kind of error it is: flips, occlusion, and whether the predicted poses are distributed like true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from selfsup3d.evaluation.metrics import mpjpe, valid_joints
from selfsup3d.geometry.kinematics import canonicalize
from selfsup3d.structures.skeleton import H36M_17, joint_index

__all__ = ["FLIPS", "LIMB_PAIRS", "body_frame_poses", "flip_gains", "frechet_distance", "occluded_joints"]

FLIPS: tuple[str, ...] = ("front_back", "left_right", "facing")
"""front_back: depth mirrored (z -> -z), the same image under parallel rays. left_right: the names of the sides
swapped. facing: both at once, a person seen from behind taken for one seen from the front: the same silhouette."""


LIMB_PAIRS: dict[str, tuple[int, ...]] = {
    f"left_right_{pair}": tuple(joint_index(f"{side}_{name}") for side in ("left", "right") for name in names)
    for pair, names in (("legs", ("hip", "knee", "ankle")), ("arms", ("shoulder", "elbow", "wrist")))
}
"""The pairs of limbs whose sides are taken for one another each by itself: most such errors are of one pair."""


def flip_gains(pred: Tensor, target: Tensor, valid: Tensor | None = None, *, root: str = "pelvis") -> dict[str, Tensor]:
    """Which frames a flip of the prediction would improve. **[ours]**

    Args:
        pred, target: (..., 17, 3) metres, camera axes.
        valid: (..., 17); None = where the truth is finite.

    Returns:
        For each of `FLIPS`, "any" of them, and each of `LIMB_PAIRS`, the gain (...) in mm of MPJPE: positive where the
        flipped pose is nearer.
    """
    valid = valid_joints(target) if valid is None else valid
    depth = pred.new_tensor([1.0, 1.0, -1.0])
    swapped = pred[..., list(H36M_17.flip_order), :]
    flipped = {"front_back": pred * depth, "left_right": swapped, "facing": swapped * depth}
    plain = mpjpe(pred, target, valid, root=root)
    gains = {name: plain - mpjpe(pose, target, valid, root=root) for name, pose in flipped.items()}
    gains["any"] = torch.stack([gains[name] for name in FLIPS]).amax(0)
    for name, joints in LIMB_PAIRS.items():
        pose = pred.clone()
        pose[..., list(joints), :] = swapped[..., list(joints), :]
        gains[name] = plain - mpjpe(pose, target, valid, root=root)
    return gains


def frechet_distance(poses: Tensor, reference: Tensor) -> float:
    """Fréchet distance of two sets of poses, each taken as a Gaussian, in mm.

    d^2 = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Dowson & Landau 1982, the formula of FID) over the stacked
    coordinates in millimetres; d, not d^2, is returned, so that its unit is a length. Give body-frame poses, or the
    distance measures how people stood rather than how they are posed.

    Args:
        poses, reference: (N, J, 3) and (M, J, 3) in metres; frames with a non-finite joint are left out.

    Raises:
        ValueError: fewer than 2 frames on either side.
    """
    means, covariances = [], []
    for name, joints in (("poses", poses), ("reference", reference)):
        rows = joints.flatten(1).double().cpu().numpy() * 1000.0
        rows = rows[np.isfinite(rows).all(1)]
        if len(rows) < 2:
            raise ValueError(f"the Fréchet distance needs at least 2 frames, {name} has {len(rows)}")
        means.append(rows.mean(0))
        covariances.append(np.cov(rows, rowvar=False))
    # Tr (S1 S2)^(1/2) = Tr (R S2 R)^(1/2) with R = S1^(1/2): symmetric, so eigh serves and singular S are no trouble.
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ covariances[1] @ root).clip(min=0.0)).sum()
    squared = np.square(means[0] - means[1]).sum() + np.trace(covariances[0]) + np.trace(covariances[1]) - 2.0 * cross
    return float(np.sqrt(max(squared, 0.0)))


def occluded_joints(joints_2d: Tensor, part_labels: Tensor, parts_of_joint: Mapping[int, Sequence[int]]) -> Tensor:
    """Which joints are hidden by another part of the body, from the true part labels. **[ours]**

    A joint is visible where the 3 x 3 pixels around it hold a part that it belongs to, else hidden. Joints that
    belong to no part (the spine) and joints outside the image count as visible: nothing hides them.

    Args:
        joints_2d: (B, 17, 2) px, pixel centres at +0.5.
        part_labels: (B, H, W) part ids, background last.
        parts_of_joint: joint -> ids of the parts it is an anchor of.

    Returns:
        (B, 17) bool.
    """
    size = torch.tensor([part_labels.shape[2], part_labels.shape[1]], device=joints_2d.device)
    pixel = joints_2d.nan_to_num(-1.0).floor().long()  # (B, 17, 2) x, y
    inside = ((pixel >= 0) & (pixel < size)).all(-1)
    hidden = torch.zeros_like(inside)
    rows = torch.arange(len(joints_2d), device=joints_2d.device)[:, None]
    offsets = torch.tensor([(dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)], device=joints_2d.device)
    for joint, parts in parts_of_joint.items():
        near = (pixel[:, joint, None] + offsets).minimum(size - 1).clamp_min(0)  # (B, 9, 2)
        labels = part_labels[rows, near[..., 1], near[..., 0]]  # (B, 9)
        seen = torch.isin(labels, torch.tensor(list(parts), device=labels.device)).any(-1)
        hidden[:, joint] = inside[:, joint] & ~seen
    return hidden


def body_frame_poses(joints: Tensor) -> Tensor:
    """Body-frame poses (N, 17, 3) of joints in any frame; NaN for a pose that has no body frame or a missing joint."""
    usable = torch.isfinite(joints).all(-1).all(-1)
    clean = torch.where(usable[:, None, None], joints, torch.zeros_like(joints))
    up = clean[:, joint_index("neck")] - 0.5 * (clean[:, joint_index("left_hip")] + clean[:, joint_index("right_hip")])
    hips = clean[:, joint_index("left_hip")] - clean[:, joint_index("right_hip")]
    area = torch.linalg.vector_norm(torch.linalg.cross(up, hips), dim=-1)  # 0 where up or facing is undefined
    usable &= area > 0.01 * torch.linalg.vector_norm(up, dim=-1) * torch.linalg.vector_norm(hips, dim=-1) + 1e-4
    poses = torch.full_like(joints, float("nan"))
    poses[usable] = canonicalize(joints[usable], recentre=True)
    return poses
