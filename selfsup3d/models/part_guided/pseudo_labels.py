"""Pseudo-labels of a trained system, the teacher: each image is read as it is and mirrored, and the two are averaged.

After Xie et al. 2020, "Self-training with Noisy Student": the teacher's predictions on real frames are labels for a
student, which learns from puppets and real frames alike. The flip-averaged prediction is better than either of the two
(left and right errors of a system differ), and the student must give it from one image **[ours]**.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.geometry.camera import mirror_camera
from selfsup3d.geometry.kinematics import mirror_joints
from selfsup3d.models.part_guided.network import PartGuidedNetwork

__all__ = ["flip_averaged_joints"]


@torch.no_grad()
def flip_averaged_joints(network: PartGuidedNetwork, images: Tensor, K: Tensor) -> Tensor:
    """Camera-frame joints (N, 17, 3), metres, of people in square images (N, 3, S, S) seen by K (N, 3, 3).

    Where both predictions have the same left/right assignment, their mean; else the one that is surer of its own.
    """
    N, size = len(images), images.shape[-1]
    still = torch.eye(3, device=K.device, dtype=K.dtype).expand(N, 3, 3)
    mirrored = mirror_camera(still, K.new_zeros(N, 3), K, size)[2]
    seen = network.encode(torch.cat([images, images.flip(-1)]), torch.cat([K, mirrored]))
    plain, other = network.pose(seen).joints.float().chunk(2)
    other = mirror_joints(other, axis=0)
    assignment, other_assignment = seen.assignment.chunk(2)
    sure, other_sure = seen.assignment_logits.abs().amin(1).chunk(2)
    share = torch.where((assignment == other_assignment).all(1), 0.5, (sure > other_sure).float())[:, None, None]
    return share * plain + (1.0 - share) * other
