"""Every loss term of the part-guided system: a pure function of tensors, with its equation.

Each returns one value per sample, (B,), so that the caller's mean is a mean over samples whatever the process count.
Image terms average over their own region: a person covers a few per cent of the frame, and a mean over the whole
frame would teach the background alone. Shapes: images (B, 3, H, W), masks (B, 1, H, W) in [0, 1], joints (B, J, D).

Notation (Kundu et al. 2020, suppl.): Î_{a}^{p} is the image decoded from appearance a and pose p; s and t are two
frames of one person, z an unpaired pose. **[paper]** is stated there, **[ours]** is our definition.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "appearance_energy",
    "background",
    "coarse_parts",
    "consistency",
    "found_parts",
    "heatmap_likelihood",
    "joint_distance",
    "layers",
    "masked_l1",
    "part_colours",
    "pose_energy",
    "reconstruction",
    "segmentation",
    "assignment_likelihood",
    "silhouette",
    "structure",
    "crop_distance",
]

_EMPTY = 1e-3
"""Share of the frame below which a region is treated as empty: its mean would be a few pixels' noise."""


def masked_l1(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference within a soft mask, (B,): sum(m |x - y|) / sum(m) over pixels, mean over channels."""
    difference = (image - target).abs().mean(1, keepdim=True)
    area = mask.mean((1, 2, 3)).clamp_min(_EMPTY)
    return (mask * difference).mean((1, 2, 3)) / area


def background(image: Tensor, colour: Tensor, foreground: Tensor) -> Tensor:
    """(1 - m) |Î - BG_c| averaged over the background, (B,); `colour` (3,) is the constant BG_c **[paper]**."""
    return masked_l1(image, colour.view(1, 3, 1, 1).expand_as(image), 1.0 - foreground)


def reconstruction(
    image: Tensor, target: Tensor, saliency: Tensor | None, foreground: Tensor, colour: Tensor, beta: float
) -> dict[str, Tensor]:
    """L_I^u: the target's image from the source's appearance and the target's pose.

    beta m_sal |Î_{a_s}^{p_t} - I_t| + w_fg^{p_t} |Î_{a_s}^{p_t} - I_t| + (1 - max(m_sal, w_fg^{p_t})) |Î - BG_c|
    **[ours, by the paper's description]**, each term averaged over its own region.

    Args:
        image: Î_{a_s}^{p_t}. target: I_t. saliency: m_sal, or None (the ablation without it). foreground: w_fg^{p_t}.
        colour: BG_c (3,). beta: weight of the saliency term, lowered once learning is stable.

    Returns:
        terms "salient" (absent without saliency), "foreground", "background", each (B,).
    """
    union = foreground if saliency is None else torch.maximum(saliency, foreground)
    terms = {
        "foreground": masked_l1(image, target, foreground),
        "background": background(image, colour, union),
    }
    if saliency is not None:
        terms["salient"] = beta * masked_l1(image, target, saliency)
    return terms


def layers(
    person: Tensor, cover: Tensor, target: Tensor, mask: Tensor, over: Tensor | None = None
) -> dict[str, Tensor]:
    """A decoded person as two layers, colour and cover, against an image and where the person is in it **[ours]**.

    Within the mask colours are compared by their L1 and root mean square distance and by their gradients along x and
    y; the cover is compared with the mask inside and outside of it apart. In place of L_I^u for a decoder of textures.

    Args:
        person, target: (B, 3, H, W). cover, mask: (B, 1, H, W), the mask in [0, 1].
        over: (B, 3, H, W) the person over the target's background: L1 wherever there is a person in either image.

    Returns:
        terms "colour", "gradient", "cover" and "over", each (B,).
    """
    area = mask.mean((1, 2, 3)).clamp_min(_EMPTY)
    square = (mask * (person - target).square()).mean((1, 2, 3)) / area
    gradient = torch.zeros_like(square)
    for axis in (2, 3):
        both = torch.minimum(mask.narrow(axis, 1, mask.shape[axis] - 1), mask.narrow(axis, 0, mask.shape[axis] - 1))
        gradient = gradient + masked_l1(person.diff(dim=axis), target.diff(dim=axis), both)
    difference = (cover - mask).abs()
    outside = 1.0 - mask
    inside, beyond = ((m * difference).mean((1, 2, 3)) / m.mean((1, 2, 3)).clamp_min(_EMPTY) for m in (mask, outside))
    terms = {
        "colour": masked_l1(person, target, mask) + (square + 1e-6).sqrt(),
        "gradient": 0.5 * gradient,
        "cover": 0.3 * (inside + beyond),
    }
    if over is not None:
        terms["over"] = 0.5 * masked_l1(over, target, torch.maximum(mask, cover.detach().clamp(0.0, 1.0)))
    return terms


def structure(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - SSIM (B,) within a mask (Wang et al. 2004, window 11), as in evaluation: outside it both are the same grey."""
    from kornia.metrics import ssim  # slow to load

    alike, known = (0.5 + mask * (values.float() - 0.5) for values in (image, target))
    local = ssim(alike, known, 11).mean(1, keepdim=True)  # (B, 1, H, W)
    return 1.0 - (mask * local).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1.0)


def found_parts(logits: Tensor, labels: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Terms (B,) of the parts found in images (B, P + 1, H, W; background last) against labels (B, H, W) int64 and where
    the person is (B, 1, H, W) in [0, 1] **[ours]**."""
    return {
        "parts": 5.0 * F.cross_entropy(logits, labels, reduction="none").mean((1, 2)),
        "person": silhouette(1.0 - logits.softmax(1)[:, -1:], mask),
    }


def silhouette(soft: Tensor, saliency: Tensor) -> Tensor:
    """Soft intersection over union of the part maps' silhouette and the saliency, as a loss (B,) in [0, 1] **[ours]**.

    1 - sum(s m) / sum(s + m - s m). The only direct gradient from shape to pose: every mask above is hard.
    """
    intersection = (soft * saliency).sum((1, 2, 3))
    union = (soft + saliency - soft * saliency).sum((1, 2, 3))
    return 1.0 - intersection / union.clamp_min(1.0)


def consistency(image_s: Tensor, image_t: Tensor, foreground: Tensor, colour: Tensor) -> dict[str, Tensor]:
    """L_I^c **[paper]**: both frames of a person give one image in an unpaired pose, over the constant background.

    w_fg^{p_z} |Î_{a_s}^{p_z} - Î_{a_t}^{p_z}| + (1 - w_fg^{p_z}) |Î_{a_s}^{p_z} - BG_c|, terms "same" and "background".
    """
    return {
        "same": masked_l1(image_s, image_t, foreground),
        "background": background(image_s, colour, foreground),
    }


def segmentation(logits: Tensor, labels: Tensor, uncertain: Tensor) -> Tensor:
    """L_seg **[paper]**: (1 - w_unc) CE(ŷ, y^{p_z}) + w_unc SE(ŷ), (B,).

    CE is averaged over foreground apart from background; SE is the entropy of ŷ **[ours]**, which asks for a decision
    in the band around the outline and leaves open which.

    Args:
        logits: (B, P+1, H, W), background last.
        labels: (B, H, W) int64 y^{p_z}.
        uncertain: (B, 1, H, W) w_unc.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    cross_entropy = F.nll_loss(log_p, labels, reduction="none")[:, None]
    entropy = -(log_p.exp() * log_p).sum(1, keepdim=True)
    certain = 1.0 - uncertain
    person = (labels != logits.shape[1] - 1)[:, None].to(certain.dtype)
    loss = torch.zeros(logits.shape[0], device=logits.device)
    for region, value in (
        (certain * person, cross_entropy),
        (certain * (1 - person), cross_entropy),
        (uncertain, entropy),
    ):
        loss = loss + (region * value).mean((1, 2, 3)) / region.mean((1, 2, 3)).clamp_min(_EMPTY)
    return loss


def joint_distance(predicted: Tensor, target: Tensor, confidence: Tensor | None = None) -> Tensor:
    """Mean Euclidean distance over joints, (B,), in the joints' unit; missing joints (confidence 0) are left out.

    A missing joint's coordinates may be NaN: they reach neither the value nor the gradient.
    """
    if confidence is None:
        return (predicted - target).norm(dim=-1).mean(-1)
    seen = confidence > 0
    difference = torch.where(seen[..., None], predicted - target.nan_to_num(0.0), torch.zeros_like(predicted))
    # The square root's slope is infinite at 0, where masked joints sit: the offset keeps their gradient at 0.
    distance = (difference.square().sum(-1) + 1e-12).sqrt() * confidence
    return torch.where(seen, distance, 0.0).sum(-1) / confidence.sum(-1).clamp_min(1e-6)


def pose_energy(
    canonical: Tensor, canonical_hat: Tensor, posed: Tensor, posed_hat: Tensor, pixels: Tensor, pixels_hat: Tensor
) -> dict[str, Tensor]:
    """L_p = |p_z - p̂_z| **[paper]** on canonical joints, and **[ours]** on root-relative camera joints and 2D joints.

    Canonical joints alone never train the camera.

    Args:
        canonical, canonical_hat: (B, 17, 3) body frame, metres.
        posed, posed_hat: (B, 17, 3) camera axes, root-relative, metres.
        pixels, pixels_hat: (B, 17, 2) in units of the image side, so that all three are of order one tenth.
    """
    return {
        "canonical": joint_distance(canonical_hat, canonical),
        "posed": joint_distance(posed_hat, posed),
        "pixels": joint_distance(pixels_hat, pixels),
    }


def appearance_energy(appearance_hat: Tensor, appearance: Tensor) -> Tensor:
    """L_a = |a_s - â|, (B,), a_s detached **[paper]**: its target must not chase its estimate."""
    return (appearance_hat - appearance.detach()).abs().flatten(1).mean(1)


def heatmap_likelihood(heat: Tensor, position: Tensor) -> Tensor:
    """Negative log-likelihood of joints under their heat maps, a uniform map's being 1, mean over joints, (B,) **[ours]**.

    The expectation that soft-argmax takes gives a weak gradient while a map is still spread out or has two peaks; its
    likelihood gives a strong one. The four cells around a joint share it bilinearly. Joints outside the maps are left
    out.

    Args:
        heat: (B, J, h, w) log-probabilities over space. position: (B, J, 2) in units of the maps' side.
    """
    h, w = heat.shape[-2:]
    inside = ((position > 0) & (position < 1)).all(-1)
    grid = position.detach() * 2 - 1  # cell centres are at (i + 0.5) / side: align_corners=False
    flat = heat.flatten(0, 1)[:, None]  # (BJ, 1, h, w)
    sampled = F.grid_sample(flat, grid.flatten(0, 1)[:, None, None], padding_mode="border", align_corners=False)
    value = -sampled.view(heat.shape[:2]) / math.log(h * w)  # 1 = as good as a uniform map
    return torch.where(inside, value, 0.0).sum(-1) / inside.sum(-1).clamp_min(1)


def assignment_likelihood(logits: Tensor, assignment: Tensor, apart: Tensor) -> Tensor:
    """Binary cross-entropy (B,) of the left/right assignment, mean over limbs **[ours]**.

    Limbs that lie over one another have no assignment: they count less the nearer they are, below 0.1.

    Args:
        logits, assignment: (B, L). apart: (B, L) distance of the two limbs, in units of the crop's half side.
    """
    loss = F.binary_cross_entropy_with_logits(logits, assignment.to(logits.dtype), reduction="none")
    return (loss * (apart.detach() * 10.0).clamp(max=1.0)).mean(1)


def crop_distance(found: Tensor, true: Tensor) -> Tensor:
    """Distance (B,) of crops (B, 3; centre x, y and half side) in units of the true one, sizes by ratio **[ours]**."""
    true = true.detach()
    centre = (found[:, :2] - true[:, :2]).abs().sum(-1) / true[:, 2]
    return centre + (found[:, 2] / true[:, 2]).log().abs()


def coarse_parts(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (B,) of coarse part logits with the shares of each part in their cells **[ours]**.

    Averaged over person apart from background. Dense, so that early features learn what a limb is within few images.

    Args:
        logits: (B, P+1, h, w), background last. labels: (B, H, W) int64; h and w divide H and W.
    """
    classes = logits.shape[1]
    shares = F.one_hot(labels, classes).permute(0, 3, 1, 2).to(logits.dtype)
    shares = F.adaptive_avg_pool2d(shares, (logits.shape[-2], logits.shape[-1]))  # (B, P+1, h, w)
    loss = -(shares * logits.log_softmax(1)).sum(1)
    person = 1.0 - shares[:, -1]
    value = torch.zeros(len(logits), device=logits.device)
    for region in (person, 1.0 - person):
        value = value + (region * loss).mean((1, 2)) / region.mean((1, 2)).clamp_min(_EMPTY)
    return value


def part_colours(colours: Tensor, image: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute difference (B,) of each part's colour from the mean colour of its visible pixels **[ours]**.

    On rendered puppets, whose labels are known, it teaches the appearance where to look. Parts with fewer than four
    visible pixels are left out.

    Args:
        colours: (B, P+1, 3) of the P parts and of the whole person. image: (B, 3, H, W).
        labels: (B, H, W) int64, background = P.
    """
    parts = colours.shape[1] - 1
    masks = F.one_hot(labels, parts + 1).flatten(1, 2).to(image.dtype)  # (B, HW, P+1)
    masks = torch.cat([masks[..., :-1], 1.0 - masks[..., -1:]], -1)  # the last slot is the whole person
    area = masks.sum(1)  # (B, P+1)
    mean = (image.flatten(2) @ masks).transpose(1, 2) / area.clamp_min(1.0)[..., None]  # (B, P+1, 3)
    seen = (area >= 4).to(image.dtype)
    return ((colours - mean).abs().mean(-1) * seen).sum(-1) / seen.sum(-1).clamp_min(1.0)
