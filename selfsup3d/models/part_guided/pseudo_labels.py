"""How a trained system predicts pseudo-labels on the real images that another one then learns from.

After Xie et al. 2020, "Self-training with Noisy Student": what a system predicts on real frames are labels for another
one, which sees synthetic and real frames alike. Averaged predictions (`averaging`) are better than single ones, and the
student must give them from one image **[ours]**.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.models.part_guided.averaging import averaged_reading
from selfsup3d.models.part_guided.network import PartGuidedNetwork

__all__ = ["flip_averaged_joints"]


@torch.no_grad()
def flip_averaged_joints(network: PartGuidedNetwork, images: Tensor, K: Tensor) -> Tensor:
    """Camera-frame joints (N, 17, 3), metres, of people in square images (N, 3, S, S) seen by K (N, 3, 3)."""
    reading = averaged_reading(network, images, K, "mirror", second_crop=network.second_crop)
    return reading.at(reading.likeliest()).joints
