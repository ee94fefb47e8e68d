"""Painted puppets for the warm-up: unpaired poses in random clothes over backgrounds, as the camera would record them.

No label is needed: pose and camera are the unpaired sample's own. What differs from real images is randomised
(width of the limbs, clothes, light, blur, noise), so that the encoder cannot rest on any one of it **[ours]**.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.models.part_guided.augmentation import camera_degradation
from selfsup3d.models.part_guided.left_right import sides_of
from selfsup3d.models.part_guided.localizer import jittered, window_of
from selfsup3d.models.part_guided.pose import BodyPose
from selfsup3d.puppet.feet import as_shins, shod, with_feet
from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.painter import draw_look, look_uniforms, paint_puppet
from selfsup3d.puppet.puppet import Puppet
from selfsup3d.puppet.transform import part_geometry, part_maps
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import uniform_noise

__all__ = ["known_places", "painted_puppets"]

_STREAMS = {"look": 1, "window": 4}


@torch.no_grad()
def painted_puppets(puppet: Puppet, pose: BodyPose, batch: Batch, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) in [0, 1] of puppets at the poses, over `batch.unpaired_background`; part labels (B, H, W).

    They have feet, which count as shins. Looks and recording differ by `batch.seeds` alone.
    """
    background, seeds = (batch.need(name, by="the puppet warm-up") for name in ("unpaired_background", "seeds"))
    painted = shod(puppet)
    look = draw_look(uniform_noise(seeds, (look_uniforms(painted),), _STREAMS["look"]), painted)
    points = with_feet(pose.joints.float(), look.splay, look.foot)
    geometry = part_geometry(points, pose.camera.K.float(), painted, width_factors=look.width_factors)
    maps = part_maps(geometry, size, painted)
    image = paint_puppet(maps, geometry, points, background, look, painted)
    return camera_degradation(image, seeds), as_shins(part_labels(maps, geometry, size, painted).parts, puppet)


def known_places(points: Tensor, seeds: Tensor, seen: Tensor | None = None) -> dict[str, Tensor]:
    """What the encoder may be told where the joints (B, 17, 2), in units of the image side, are known.

    `seen` (B, 17) tells which are, None = all.

    The window, off by as much as a found one may be, and how the limbs lie: the pose path learns from the first step
    on windows that hold the person and on limbs in their order, beside the networks that find and tell them apart.
    """
    window = jittered(window_of(points, seen), uniform_noise(seeds, (3,), _STREAMS["window"]))
    return {"window": window.detach(), "swapped": sides_of(points, seen)[0]}
