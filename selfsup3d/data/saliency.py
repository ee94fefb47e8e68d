"""Where the person is, without labels: a soft mask for every frame of a clip, and the plate behind.

Three ways, chosen by the clip unless told:

- "background": a still camera and a person who moves about; distance from the background model.
- "grabcut": a moving camera, or a person who stays on one spot; colours of the crop's centre against those of its
  border (GrabCut: Rother, Kolmogorov & Blake 2004).
- "network": a pretrained segmentation network, where its weights are at hand.

Neither mask nor plate knows anything but the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from selfsup3d.data.background import (
    BackgroundModel,
    camera_is_still,
    fill_from_surroundings,
    fit_background,
    foreground_distance,
)
from selfsup3d.data.grabcut import grabcut_masks
from selfsup3d.errors import InputError

__all__ = ["Saliency", "SaliencyMethod", "background_masks", "clean_mask", "mask_iou", "video_saliency"]

SaliencyMethod = Literal["auto", "background", "grabcut"]


@dataclass(frozen=True)
class Saliency:
    """Result for one clip.

    Attributes:
        saliency: (T, H, W) uint8, 255 = surely person.
        plate: (H, W, 3) uint8 for a still camera, (T, H, W, 3) for a moving one.
        method: the way that was taken.
        static_camera: whether the camera was taken to be still.
        coverage: mean share of the picture that the person covers.
    """

    saliency: np.ndarray
    plate: np.ndarray
    method: str
    static_camera: bool
    coverage: float


def video_saliency(frames: np.ndarray, method: SaliencyMethod = "auto", static_camera: bool | None = None) -> Saliency:
    """Saliency and plate of a clip.

    Args:
        frames: (T, H, W, 3) uint8 RGB, one person.
        method: see the module's docstring.
        static_camera: None = found from the frames.

    Raises:
        InputError: no frames, or not (T, H, W, 3) uint8; an unknown method.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"frames are {frames.dtype} {tuple(frames.shape)}; expected uint8 (T, H, W, 3), T >= 1")
    if method not in get_args(SaliencyMethod):
        raise InputError(
            f"saliency method {method!r} is unknown; expected one of {', '.join(get_args(SaliencyMethod))}"
        )
    still = camera_is_still(frames) if static_camera is None else static_camera
    if method == "auto":
        method = "background" if still and len(frames) >= 5 else "grabcut"
    if method == "background":
        soft, model = background_masks(frames)
        plate = np.rint(model.plate).astype(np.uint8)
    else:
        soft = grabcut_masks(frames)
        plate = np.stack([fill_from_surroundings(f, grow(s > 64, 0.03)) for f, s in zip(frames, soft, strict=True)])
    return Saliency(
        saliency=soft,
        plate=plate,
        method=method,
        static_camera=still,
        coverage=float((soft > 127).mean()),
    )


def background_masks(frames: np.ndarray, threshold: float = 4.0) -> tuple[np.ndarray, BackgroundModel]:
    """Masks by distance from the background of a still camera, in two passes.

    The first pass rests on the plain median; the second leaves the first masks out, so that a person who covers a
    pixel for nearly half of the clip still disappears from the plate.

    Args:
        frames: (T, H, W, 3) uint8.
        threshold: distance that means foreground, in units of the noise.

    Returns:
        (T, H, W) uint8 soft masks, and the background model.
    """
    model = fit_background(frames)
    for _ in range(2):
        distance = foreground_distance(frames, model)
        masks = np.stack([grow(clean_mask(d, threshold), 0.02) for d in distance])
        model = fit_background(frames, masks)
    distance = foreground_distance(frames, model)
    return np.stack([soften(clean_mask(d, threshold), d, threshold) for d in distance]), model


def clean_mask(distance: np.ndarray, threshold: float) -> np.ndarray:
    """(H, W) bool mask of a distance picture: hysteresis, small specks and holes removed.

    A region counts if somewhere in it the distance passes twice the threshold, and if it is not much smaller than the
    largest one.
    """
    # Cut off at twice the threshold before smoothing: then an outline, however strong, is found where it is.
    smooth = cv2.GaussianBlur(np.minimum(distance, 2.0 * threshold), (3, 3), 0.8)
    low = (smooth > threshold).astype(np.uint8)
    size = _kernel_size(distance.shape, 0.03)
    low = cv2.morphologyEx(low, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(low, connectivity=8)
    if count == 1:
        return np.zeros(distance.shape, dtype=bool)
    strong = np.bincount(labels[distance > 2.0 * threshold], minlength=count)
    area = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    keep = strong >= np.maximum(2, 0.02 * area)
    keep[0] = False
    if keep.any():
        keep &= area >= 0.15 * area[keep].max()
    return fill_holes(keep[labels])


def fill_holes(mask: np.ndarray, largest: float = 0.004) -> np.ndarray:
    """Fill holes of at most `largest` of the picture: bigger ones are real, such as between arm and body."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= largest * mask.size
    small[0] = False
    return mask | small[labels] if count > 1 else mask


def soften(mask: np.ndarray, distance: np.ndarray, threshold: float) -> np.ndarray:
    """(H, W) uint8: inside the mask 128-255 and just outside 0-127, by the distance's certainty, smoothed."""
    certainty = 1.0 / (1.0 + np.exp(-np.clip((distance - threshold) / (0.35 * threshold), -20, 20)))
    inside = np.where(mask, np.maximum(certainty, 0.75), 0.0).astype(np.float32)
    return np.rint(255.0 * cv2.GaussianBlur(inside, (3, 3), 0.6)).astype(np.uint8)


def grow(mask: np.ndarray, share: float) -> np.ndarray:
    """Dilate (H, W) bool by about `share` of the picture's side."""
    size = _kernel_size(mask.shape, 2.0 * share)
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))).astype(bool)


def mask_iou(predicted: np.ndarray, true: np.ndarray) -> float:
    """Intersection over union of two bool arrays of one shape; 1 where both are empty."""
    union = np.logical_or(predicted, true).sum()
    return float(np.logical_and(predicted, true).sum() / union) if union else 1.0


def _kernel_size(shape: tuple[int, ...], share: float) -> int:
    return max(3, 2 * round(0.5 * share * max(shape)) + 1)
