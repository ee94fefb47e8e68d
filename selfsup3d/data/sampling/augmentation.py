"""Augmentation of training batches: mirroring, small crops, colour. Labels and the pinhole K follow the images.

Conventions: pixels (x, y), centres at +0.5, `align_corners=False`. One geometric and one colour change for each
sample, shared by source, target, saliencies and backgrounds: K is one per sample, and a person keeps their colours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from selfsup3d.geometry.camera import crop_intrinsics
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import H36M_17

__all__ = ["Augmentation", "augment", "augment_background", "colour_matrix", "crop", "mirror", "recolour"]

IMAGES = ("source", "target", "source_background", "target_background")
MASKS = ("source_saliency", "target_saliency")
_EVALUATION_ONLY = ("second_view", "transfer", "unpaired_camera", "unpaired_background")


@dataclass(frozen=True)
class Augmentation:
    """Strengths; 0 or False switches a change off.

    Attributes:
        mirror: mirror every second sample.
        scale: crops are scaled by a factor in [1 / (1 + scale), 1 + scale].
        shift: crops are moved by up to this share of the image's side.
        brightness, contrast, saturation: factors in [1 - v, 1 + v].
        hue: turn of the colours, +- this share of a full circle.
    """

    mirror: bool = True
    scale: float = 0.1
    shift: float = 0.03
    brightness: float = 0.15
    contrast: float = 0.15
    saturation: float = 0.2
    hue: float = 0.02

    @property
    def moves(self) -> bool:
        """Whether images are resampled."""
        return self.scale > 0 or self.shift > 0

    @property
    def colours(self) -> bool:
        """Whether colours change."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))


def augment(batch: Batch, streams: RandomStreams, settings: Augmentation) -> Batch:
    """Change each sample by its own draws (8 of them, whatever the settings).

    Raises:
        ValueError: the batch holds fields of evaluation (a second view, a transfer target), or unpaired ones.
    """
    wrong = [name for name in _EVALUATION_ONLY if getattr(batch, name) is not None]
    if wrong:
        raise ValueError(f"augment is for training samples before {', '.join(wrong)} are added")
    unit = torch.from_numpy(streams.uniform(8)).to(torch.float32)  # (B, 8)
    flip = unit[:, 3] < 0.5 if settings.mirror else None
    if settings.moves:
        assert batch.target is not None
        batch = crop(batch, *_crop_of(unit[:, :3], batch.target.shape[-1], settings), flip)
    elif flip is not None:
        batch = mirror(batch, flip)
    if settings.colours:
        matrix, offset = _colours_of(unit[:, 4:], settings)
        present = {name: getattr(batch, name) for name in IMAGES if getattr(batch, name) is not None}
        changed = {name: recolour(image, matrix, offset) for name, image in present.items()}
        batch = replace(batch, **changed)  # type: ignore[arg-type]
    return batch


def augment_background(background: Tensor, streams: RandomStreams, settings: Augmentation) -> Tensor:
    """(B, 3, H, W) lone backgrounds: mirrored and recoloured by draws of their own (5 of them)."""
    unit = torch.from_numpy(streams.uniform(5)).to(torch.float32)
    if settings.mirror:
        background = torch.where((unit[:, 0] < 0.5)[:, None, None, None], background.flip(-1), background)
    return recolour(background, *_colours_of(unit[:, 1:], settings)) if settings.colours else background


def _crop_of(unit: Tensor, size: int, settings: Augmentation) -> tuple[Tensor, Tensor]:
    """Offset (B, 2) px and scale (B,) of crops about the image's centre."""
    scale = torch.exp((2.0 * unit[:, 0] - 1.0) * np.log1p(settings.scale))
    shift = (2.0 * unit[:, 1:] - 1.0) * settings.shift * size  # (B, 2) px of the old image
    return 0.5 * size * (1.0 - 1.0 / scale)[:, None] + shift, scale


def _colours_of(unit: Tensor, settings: Augmentation) -> tuple[Tensor, Tensor]:
    signed = 2.0 * unit - 1.0
    return colour_matrix(
        1.0 + settings.brightness * signed[:, 0],
        1.0 + settings.contrast * signed[:, 1],
        1.0 + settings.saturation * signed[:, 2],
        settings.hue * signed[:, 3],
    )


# --------------------------------------------------------------------------------------------------------------------
# Geometry
# --------------------------------------------------------------------------------------------------------------------


def mirror(batch: Batch, chosen: Tensor) -> Batch:
    """Mirror the `chosen` (B,) bool samples: x -> W - x, c_x -> W - c_x, left and right swapped.

    Camera-frame joints get x -> -x; unpaired poses belong to no image and stay. Part labels swap partners by the
    default puppet.
    """
    images = {name: getattr(batch, name) for name in (*IMAGES, *MASKS, "part_labels")}
    flipped = {name: _choose(chosen, p.flip(-1), p) for name, p in images.items() if p is not None}
    return _swap_sides(replace(batch, **flipped), chosen)  # type: ignore[arg-type]


def _swap_sides(batch: Batch, chosen: Tensor) -> Batch:
    """Everything of a mirrored sample but its images, whose pixels are mirrored already."""
    assert batch.target is not None
    width = batch.target.shape[-1]
    changes: dict[str, Tensor] = {}
    if batch.part_labels is not None:
        partner = torch.tensor([*default_puppet().flip_order, len(default_puppet())])
        changes["part_labels"] = _choose(chosen, partner[batch.part_labels], batch.part_labels)
    if batch.K is not None:
        other = batch.K.clone()
        other[..., 0, 2] = width - other[..., 0, 2]
        other[..., 0, 1] = -other[..., 0, 1]
        changes["K"] = _choose(chosen, other, batch.K)
    order = list(H36M_17.flip_order)
    for name in ("joints_2d", "source_joints_2d", "joints_3d", "source_joints_3d", "pseudo_joints_3d"):
        joints = getattr(batch, name)
        if joints is not None:
            other = joints[..., order, :].clone()
            other[..., 0] = (width if name.endswith("2d") else 0.0) - other[..., 0]
            changes[name] = _choose(chosen, other, joints)
    for name in ("confidence", "bone_lengths"):
        values = getattr(batch, name)
        if values is not None:
            changes[name] = _choose(chosen, values[..., order], values)
    return replace(batch, **changes)  # type: ignore[arg-type]


def crop(batch: Batch, offset: Tensor, scale: Tensor, flip: Tensor | None = None) -> Batch:
    """Cut a window out of each sample and enlarge it: x' = scale (x - offset), so K' = S (K - offset).

    Images continue by their edge outside, saliency by 0, part labels by the background. 3D joints keep their camera.

    Args:
        offset: (B, 2) px, the window's upper left corner.
        scale: (B,) new pixels per old pixel.
        flip: (B,) bool samples to `mirror` besides, which is free here.
    """
    assert batch.target is not None
    height, width = batch.target.shape[-2:]
    grid = _crop_grid(offset, scale, flip, height, width)
    changes: dict[str, Tensor] = {}
    for name in (*IMAGES, *MASKS):
        image = getattr(batch, name)
        if image is not None:
            padding = "border" if name in IMAGES else "zeros"
            changes[name] = functional.grid_sample(image, grid, padding_mode=padding, align_corners=False)
    if batch.part_labels is not None:
        # Shifted so that the outside, 0, is the background.
        background = len(default_puppet())
        shifted = (batch.part_labels - background).to(torch.float32)[:, None]
        moved = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
        changes["part_labels"] = moved[:, 0].round().to(torch.int64) + background
    if batch.K is not None:
        changes["K"] = crop_intrinsics(batch.K, offset, scale)
    for name in ("joints_2d", "source_joints_2d"):
        joints = getattr(batch, name)
        if joints is not None:
            shape = (len(offset), *[1] * (joints.dim() - 2), 2)
            changes[name] = (joints - offset.view(shape)) * scale.view(-1, *[1] * (joints.dim() - 1))
    if batch.bbox is not None:
        pixel = batch.bbox[:, 2:] / torch.tensor([width, height])  # full-frame px per old px
        changes["bbox"] = torch.cat((batch.bbox[:, :2] + offset * pixel, batch.bbox[:, 2:] / scale[:, None]), dim=1)
    batch = replace(batch, **changes)  # type: ignore[arg-type]
    return batch if flip is None else _swap_sides(batch, flip)


def _crop_grid(offset: Tensor, scale: Tensor, flip: Tensor | None, height: int, width: int) -> Tensor:
    """(B, H, W, 2) sampling grid: old pixel x = x' / scale + offset, normalised n = 2 x / W - 1."""
    x = (torch.arange(width) + 0.5) / scale[:, None] + offset[:, :1]  # (B, W)
    y = (torch.arange(height) + 0.5) / scale[:, None] + offset[:, 1:]  # (B, H)
    if flip is not None:
        x = _choose(flip, x.flip(-1), x)
    grid = torch.empty(len(offset), height, width, 2)
    grid[..., 0] = (2.0 * x / width - 1.0)[:, None, :]
    grid[..., 1] = (2.0 * y / height - 1.0)[:, :, None]
    return grid


def _choose(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(chosen.view(-1, *[1] * (no.dim() - 1)), yes, no)


# --------------------------------------------------------------------------------------------------------------------
# Colour
# --------------------------------------------------------------------------------------------------------------------

_GREY = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def colour_matrix(brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> tuple[Tensor, Tensor]:
    """Brightness, contrast about mid-grey, saturation and hue as one affine map of RGB: c' = M c + o.

    Saturation blends with the BT.601 grey, hue turns the I-Q plane, so that the whole is linear and costs one product.
    In this it differs from kornia's and torchvision's jitter, whose contrast pivots on each image's mean (a person
    would change colour from frame to frame) and whose hue goes through HSV.

    Args:
        brightness, contrast, saturation: (B,) factors, 1 = unchanged.
        hue: (B,) turns, 0 = unchanged.

    Returns:
        M (B, 3, 3) and o (B, 3).
    """
    count = len(brightness)
    eye = torch.eye(3)
    grey = _GREY.expand(3, 3)
    saturate = saturation[:, None, None] * eye + (1.0 - saturation)[:, None, None] * grey
    cosine, sine = torch.cos(2 * torch.pi * hue), torch.sin(2 * torch.pi * hue)
    turn = torch.zeros(count, 3, 3)
    turn[:, 0, 0] = 1.0
    turn[:, 1, 1] = turn[:, 2, 2] = cosine
    turn[:, 1, 2], turn[:, 2, 1] = -sine, sine
    matrix = torch.linalg.inv(_YIQ) @ turn @ _YIQ @ saturate
    matrix = (brightness * contrast)[:, None, None] * matrix
    return matrix, (0.5 * (1.0 - contrast))[:, None].expand(count, 3)


def recolour(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] under c' = M c + o, clamped to [0, 1]."""
    flat = torch.baddbmm(offset[..., None], matrix, images.flatten(2))
    return flat.view_as(images).clamp_(0.0, 1.0)
