"""How a trained system reads images that it then teaches from: each as it is and mirrored.

After Xie et al. 2020, "Self-training with Noisy Student": what a system reads from real frames are labels for another
one, which sees puppets and real frames alike. The average of a frame and its mirror image is better than either
(a system's left and right errors differ), and the student must give it from one look **[ours]**.
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

    Where both looks agree on how the limbs lie (`models.sides`), their mean; else the look that is surer of it.
    """
    N, size = len(images), images.shape[-1]
    still = torch.eye(3, device=K.device, dtype=K.dtype).expand(N, 3, 3)
    mirrored = mirror_camera(still, K.new_zeros(N, 3), K, size)[2]
    seen = network.encode(torch.cat([images, images.flip(-1)]), torch.cat([K, mirrored]))
    plain, other = network.pose(seen).joints.float().chunk(2)
    other = mirror_joints(other, axis=0)
    sides, other_sides = seen.swapped.chunk(2)
    sure, other_sure = seen.side_logits.abs().amin(1).chunk(2)
    share = torch.where((sides == other_sides).all(1), 0.5, (sure > other_sure).float())[:, None, None]
    return share * plain + (1.0 - share) * other
