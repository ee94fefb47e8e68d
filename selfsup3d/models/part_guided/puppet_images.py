"""Rendered puppets for the pre-training: unpaired poses in random textures over backgrounds, as a camera records them.

No label is needed: pose and camera are the unpaired sample's own. What differs from real images is randomised
(width of the limbs, clothes, light, blur, noise), so that the encoder cannot rest on any one of it **[ours]**.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup3d.models.part_guided.augmentation import camera_degradation
from selfsup3d.models.part_guided.left_right import assignment_of
from selfsup3d.models.part_guided.localizer import crop_around, jittered
from selfsup3d.models.part_guided.pose import BodyPose
from selfsup3d.puppet.feet import as_shins, shod, with_feet
from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.puppet import Puppet
from selfsup3d.puppet.render import draw_texture, render_puppet, texture_uniforms
from selfsup3d.puppet.transform import part_geometry, part_maps
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import uniform_noise

__all__ = ["known_places", "rendered_puppets"]

_STREAMS = {"texture": 1, "crop": 4}


@torch.no_grad()
def rendered_puppets(puppet: Puppet, pose: BodyPose, batch: Batch, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) in [0, 1] of puppets at the poses, over `batch.unpaired_background`; part labels (B, H, W).

    They have feet, which count as shins. Textures and camera differ by `batch.seeds` alone.
    """
    background, seeds = (batch.need(name, by="the puppet pre-training") for name in ("unpaired_background", "seeds"))
    shod_puppet = shod(puppet)
    texture = draw_texture(uniform_noise(seeds, (texture_uniforms(shod_puppet),), _STREAMS["texture"]), shod_puppet)
    points = with_feet(pose.joints.float(), texture.splay, texture.foot)
    geometry = part_geometry(points, pose.camera.K.float(), shod_puppet, width_factors=texture.width_factors)
    maps = part_maps(geometry, size, shod_puppet)
    image = render_puppet(maps, geometry, points, background, texture, shod_puppet)
    return camera_degradation(image, seeds), as_shins(part_labels(maps, geometry, size, shod_puppet).parts, puppet)


def known_places(points: Tensor, seeds: Tensor, seen: Tensor | None = None) -> dict[str, Tensor]:
    """Crop and left/right assignment for the encoder, where the joints (B, 17, 2), in units of the image side, are known.

    `seen` (B, 17) says which joints are known, None = all. The crop is off by as much as a found one may be. So the pose
    path learns from the first step on crops that hold the person and on limbs in their order, while the networks that
    find the crop and decide the assignment are still learning.
    """
    crop = jittered(crop_around(points, seen), uniform_noise(seeds, (3,), _STREAMS["crop"]))
    return {"crop": crop.detach(), "assignment": assignment_of(points, seen)[0]}
