"""Where the person is, without labels: a soft mask for every frame of a clip, and the background behind.

Four ways; "auto" chooses one of the first three by the clip:

- "background": a still camera and a person who moves about; distance from the background model.
- "static": a still camera and a person who stays on one spot; a background model that GrabCut's votes correct.
- "grabcut": a camera that moves more than a little; colours of the crop's centre against those of its border (GrabCut: Rother, Kolmogorov &
  Blake 2004).
- "network": a pretrained segmentation network, see `data.pretrained`; never chosen by itself, since its weights come
  from labelled images.

Apart from the last, neither mask nor background knows anything but the frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from selfsup3d.config.choices import SaliencyMethod
from selfsup3d.data.saliency.background_model import (
    BackgroundModel,
    camera_is_still,
    fill_from_surroundings,
    fit_background,
    foreground_distance,
)
from selfsup3d.data.saliency.grabcut import grabcut_masks
from selfsup3d.data.saliency.static_person import find_static_person, outlines_on_background, person_in_background
from selfsup3d.errors import InputError

__all__ = ["Saliency", "background_masks", "clean_mask", "mask_iou", "video_saliency", "with_masks"]

THRESHOLD = 3.0
"""Distance from the background, in units of its noise, that means foreground."""

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class Saliency:
    """Result for one clip.

    Attributes:
        saliency: (T, H, W) uint8, 255 = surely person.
        background: (H, W, 3) uint8 for a still camera, (T, H, W, 3) for a moving one.
        method: the way that was taken.
        static_camera: whether the camera was taken to be still.
        coverage: mean share of the image that the person covers.
    """

    saliency: np.ndarray
    background: np.ndarray
    method: str
    static_camera: bool
    coverage: float


def video_saliency(
    frames: np.ndarray,
    method: SaliencyMethod = "auto",
    static_camera: bool | None = None,
    empty: np.ndarray | None = None,
    weights: str | Path | None = None,
) -> Saliency:
    """Saliency and background of a clip.

    Args:
        frames: (T, H, W, 3) uint8 RGB, one person.
        method: see the module's docstring.
        static_camera: None = found from the frames.
        empty: (E, H, W, 3) uint8 frames of the same still view with nobody in it, where there are such: the background
            model then rests on them.
        weights: of the "network"; None = torch's cache.

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
    way: str = method
    if way == "auto":
        way = "background" if len(frames) >= 5 and (still or _moves_little(frames)) else "grabcut"
    if way in ("grabcut", "network"):
        soft = grabcut_masks(frames) if way == "grabcut" else _network_masks(frames, weights)
        background = _background_behind(
            frames, np.stack([grow(mask > 64, 0.03) for mask in soft]), still and way == "network"
        )
    else:
        way, soft, model = _before_a_still_background(frames, way, method == "auto", empty)
        background = np.rint(model.background).astype(np.uint8)
    coverage = float((soft > 127).mean())
    return Saliency(saliency=soft, background=background, method=way, static_camera=still, coverage=coverage)


def with_masks(found: Saliency, frames: np.ndarray, masks: np.ndarray, method: str) -> Saliency:
    """Saliency by other masks (T, H, W) uint8, such as a detector's, with the background that they leave.

    Args:
        found: of these frames: whether they are one still view. Where a still camera's crops move, its background stays.
        frames: (T, H, W, 3) uint8. method: what to call it.
    """
    background = found.background
    if background.ndim == 3 or not found.static_camera:
        grown = np.stack([grow(mask > 64, 0.03) for mask in masks])
        background = _background_behind(frames, grown, background.ndim == 3)
    return Saliency(masks, background, method, found.static_camera, float((masks > 127).mean()))


def _network_masks(frames: np.ndarray, weights: str | Path | None) -> np.ndarray:
    # Imported here: torchvision's models double the time in which everything that reads clips starts.
    from selfsup3d.data.saliency.torchvision_models import segment_people, segmenter

    return segment_people(segmenter(weights), frames)


def _moves_little(frames: np.ndarray) -> bool:
    """Whether a background model still finds somebody of a steady size although the camera moves (slow pans)."""
    soft, model = background_masks(frames)
    masks = soft > 127
    return 0.01 < float(np.median(masks.mean((1, 2)))) < 0.25 and not person_in_background(frames, masks, model)


def _background_behind(frames: np.ndarray, masks: np.ndarray, one: bool) -> np.ndarray:
    """One background (H, W, 3) uint8, the median of what the masks leave; or each frame's own, filled in (T, H, W, 3)."""
    if one:
        return np.rint(fit_background(frames, masks).background).astype(np.uint8)
    return np.stack([fill_from_surroundings(frame, mask) for frame, mask in zip(frames, masks, strict=True)])


def _before_a_still_background(
    frames: np.ndarray, way: str, may_be_static: bool, empty: np.ndarray | None
) -> tuple[str, np.ndarray, BackgroundModel]:
    """The way that was taken, the masks, and the background."""
    if empty is not None and way == "background":
        model = fit_background(empty)
        soft = masks_before(frames, model)
        if outlines_on_background(frames, soft > 127, model) < 0.12:  # else somebody stood there who was not noticed
            return way, soft, model
    soft, model = background_masks(frames)
    if way == "static" or (may_be_static and person_in_background(frames, soft > 127, model)):
        return "static", *static_person_masks(frames, soft > 127)
    return way, soft, model


def background_masks(frames: np.ndarray, threshold: float = THRESHOLD) -> tuple[np.ndarray, BackgroundModel]:
    """Masks by distance from the background of a still camera, in three passes.

    The first rests on the plain median; the others leave the masks of the one before out, so that a person who covers
    a pixel for nearly half of the clip still disappears from the background.

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
    return masks_before(frames, model, threshold), model


def masks_before(frames: np.ndarray, model: BackgroundModel, threshold: float = THRESHOLD) -> np.ndarray:
    """(T, H, W) uint8 soft masks of what stands before a known background."""
    return np.stack([soften(clean_mask(d, threshold), d) for d in foreground_distance(frames, model)])


def static_person_masks(
    frames: np.ndarray, moving: np.ndarray, threshold: float = THRESHOLD
) -> tuple[np.ndarray, BackgroundModel]:
    """The same for a person who stays on one spot (see `data.saliency.static_person`).

    Args:
        frames: (T, H, W, 3) uint8.
        moving: (T, H, W) bool, the masks of `background_masks`.
        threshold: as above.
    """
    model, always = find_static_person(frames, moving)
    distance = foreground_distance(frames, model)
    distance[:, always] = np.maximum(distance[:, always], 4.0 * threshold)
    soft = np.stack([soften(clean_mask(d, threshold), d) for d in distance])
    if always.any():  # the filling must not start from the person's outline
        filled = fill_from_surroundings(np.rint(model.background).astype(np.uint8), grow(always, 0.02))
        model = replace(model, background=filled.astype(np.float32))
    return soft, model


def clean_mask(distance: np.ndarray, threshold: float) -> np.ndarray:
    """(H, W) bool mask of a distance image: hysteresis, small specks and holes removed.

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
    """Fill holes of at most `largest` of the image: bigger ones are real, such as between arm and body."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= largest * mask.size
    small[0] = False
    return mask | small[labels] if count > 1 else mask


def soften(mask: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(H, W) uint8 coverage: 255 inside the mask, in its outermost pixels by how much of them the person fills.

    A pixel that the person fills by a share s lies about s times as far from the background as the pixels further in;
    the factor 1.3 makes up for limbs that have no pixel of their own all inside.
    """
    core = cv2.erode(mask.astype(np.uint8), _CROSS).astype(bool)
    inner = np.where(core, distance, 0.0).astype(np.float32)
    count = cv2.boxFilter(core.astype(np.float32), -1, (5, 5), normalize=False)
    further_in = cv2.boxFilter(inner, -1, (5, 5), normalize=False) / np.maximum(count, 1.0)
    nearby = cv2.dilate(np.where(mask, distance, 0.0).astype(np.float32), np.ones((3, 3), np.uint8))
    whole = np.maximum(np.where(count > 0.5, further_in, nearby), 1e-3)
    share = np.where(core, 1.0, np.where(mask, np.clip(1.3 * distance / whole, 0.0, 1.0), 0.0))
    return np.rint(255.0 * share).astype(np.uint8)


def grow(mask: np.ndarray, share: float) -> np.ndarray:
    """Dilate (H, W) bool by about `share` of the image's side."""
    size = _kernel_size(mask.shape, 2.0 * share)
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))).astype(bool)


def mask_iou(predicted: np.ndarray, true: np.ndarray) -> float:
    """Intersection over union of two bool arrays of one shape; 1 where both are empty."""
    union = np.logical_or(predicted, true).sum()
    return float(np.logical_and(predicted, true).sum() / union) if union else 1.0


def _kernel_size(shape: tuple[int, ...], share: float) -> int:
    return max(3, 2 * round(0.5 * share * max(shape)) + 1)
