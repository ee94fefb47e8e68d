"""How a trained system predicts pseudo-labels on the real images that another one then learns from.

After Xie et al. 2020, "Self-training with Noisy Student": what a system predicts on real frames are labels for another
one, which sees synthetic and real frames alike. Averaged predictions (`averaging`) are better than single ones, and the
student must give them from one image **[ours]**.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.geometry.camera import unproject
from selfsup3d.models.part_guided.averaging import Reading, averaged_reading
from selfsup3d.models.part_guided.network import PartGuidedNetwork

__all__ = ["flip_averaged_joints", "taught_joints"]

_NEAREST = 0.1
"""Metres before the camera."""


@torch.no_grad()
def flip_averaged_joints(network: PartGuidedNetwork, images: Tensor, K: Tensor) -> Tensor:
    """Camera-frame joints (N, 17, 3), metres, of people in square images (N, 3, S, S) seen by K (N, 3, 3)."""
    reading = averaged_reading(network, images, K, "mirror", second_crop=network.second_crop)
    return taught_joints(network, reading.at(reading.likeliest()), K)


def taught_joints(network: PartGuidedNetwork, chosen: Reading, K: Tensor) -> Tensor:
    """Camera-frame joints (N, 17, 3) that a student learns, of readings under one assignment each.

    A pose head that reads keypoints adds its own error to them, and no student's image would teach that error away: then
    the joints lie on the keypoints' rays, at the skeleton's depths **[ours]**.
    """
    if network.encoder.pose_head == "features":
        return chosen.joints
    return unproject(chosen.keypoints, chosen.joints[..., 2].clamp_min(_NEAREST), K)
