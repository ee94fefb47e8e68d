"""People who stay on one spot before a still camera: the plain background model takes them for background.

GrabCut votes, on some of the frames, which pixels are person by their colours. The background then is the median weighted
by the votes for background: of the two colours that a pixel shows over time, the one that is not person wins even if
it is seen rarely. Pixels that vote person whatever they show are person throughout. [ours]
"""

from __future__ import annotations

import cv2
import numpy as np

from selfsup3d.data.saliency.background_model import (
    BackgroundModel,
    edge_strength,
    fill_from_surroundings,
    greatest,
    noise_of,
)
from selfsup3d.data.saliency.grabcut import grabcut_masks

__all__ = ["find_static_person", "outlines_on_background", "person_in_background"]

_VOTERS = 24


def person_in_background(frames: np.ndarray, masks: np.ndarray, model: BackgroundModel) -> bool:
    """Whether masks of a background model look as if the background itself showed the person.

    Two signs: the masked area shrinks to little in some frames; or outlines of the masks lie on edges of the background
    (of 180 rendered clips with a clean background all stay below 0.135 there, of eight real clips of people who linger seven
    come above 0.16).

    Args:
        frames: (T, H, W, 3) uint8.
        masks: (T, H, W) bool.
    """
    low, high = np.percentile(masks.mean((1, 2)), (10, 90))
    return bool(low < 0.4 * high) or outlines_on_background(frames, masks, model) > 0.14


def outlines_on_background(frames: np.ndarray, masks: np.ndarray, model: BackgroundModel) -> float:
    """Share of the masks' outlines that lie on an edge of the background which the frame does not have.

    Args:
        frames: (T, H, W, 3) uint8.
        masks: (T, H, W) bool.
    """
    of_background = edge_strength(model.background)
    on_background = on_any = 0
    for frame, mask in zip(frames, masks, strict=True):
        outline = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(bool)
        of_frame = edge_strength(frame)
        clear = outline & (np.maximum(of_frame, of_background) > 40.0)
        on_any += int(clear.sum())
        on_background += int((clear & (of_background > 1.5 * of_frame)).sum())
    return on_background / max(on_any, 1)


def find_static_person(frames: np.ndarray, moving: np.ndarray) -> tuple[BackgroundModel, np.ndarray]:
    """Background model of a clip whose person may stay on one spot.

    Args:
        frames: (T, H, W, 3) uint8.
        moving: (T, H, W) bool masks of the plain background model.

    Returns:
        the model (its background filled in where the person never leaves), and (H, W) bool: person in every frame.
    """
    voters = np.unique(np.linspace(0, len(frames) - 1, _VOTERS).astype(int))
    seeds = _motion_seeds(moving)
    votes = grabcut_masks(frames[voters], seeds=seeds[voters]).astype(np.float32) / 255.0
    smooth = np.stack([cv2.GaussianBlur(vote, (5, 5), 1.0) for vote in votes])
    background, support = _weighted_median(frames[voters], np.clip(1.0 - smooth, 0.02, 1.0))
    always = cv2.morphologyEx((support < 0.4).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(bool)
    background = fill_from_surroundings(background, always)
    model = BackgroundModel(
        background=background.astype(np.float32),
        noise=noise_of(frames, background),
        visible=1.0 - always.astype(np.float32),
    )
    return model, always


def _motion_seeds(moving: np.ndarray) -> np.ndarray:
    """(T, H, W) GrabCut labels from where the clip moves: an ellipse by the moments of all movement is probably person
    and its core surely, what lies far from any movement is background."""
    height, width = moving.shape[1:]
    often = moving.mean(0).astype(np.float64)
    weight = (often + 1e-9) / (often + 1e-9).sum()
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    off = np.stack([x - (weight * x).sum(), y - (weight * y).sum()], -1)  # (H, W, 2) from the centre of movement
    spread = np.einsum("hw,hwi,hwj->ij", weight, off, off) + np.eye(2)
    radius = np.sqrt(np.einsum("hwi,ij,hwj->hw", off, np.linalg.inv(spread), off))  # in standard deviations
    reach = 2 * round(0.06 * max(height, width)) + 1
    ever = cv2.dilate((often > 0.03).astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)
    seeds = np.full(moving.shape, cv2.GC_PR_BGD, dtype=np.uint8)
    seeds[:, radius < 1.5] = cv2.GC_PR_FGD
    seeds[moving] = cv2.GC_PR_FGD
    seeds[:, radius < 0.4] = cv2.GC_FGD
    seeds[:, ~ever & (radius > 2.5)] = cv2.GC_BGD
    return seeds


def _weighted_median(frames: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel, the colours of the frame whose grey is the weighted median, (H, W, 3) uint8, and the mean weight
    of the frames that look like it, (H, W)."""
    grey = frames.astype(np.float32).mean(-1)  # (T, H, W)
    order = np.argsort(grey, axis=0, kind="stable")
    total = np.take_along_axis(weights, order, axis=0).cumsum(0)
    middle = (total < 0.5 * total[-1]).sum(0)
    chosen = np.take_along_axis(order, middle[None], axis=0)[0]  # (H, W)
    background = np.take_along_axis(frames, chosen[None, :, :, None], axis=0)[0]
    alike = greatest(np.abs(frames.astype(np.float32) - background.astype(np.float32))) < 20.0
    return background, (weights * alike).sum(0) / np.maximum(alike.sum(0), 1)
