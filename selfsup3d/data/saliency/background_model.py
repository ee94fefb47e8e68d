"""What stands behind the person of a still camera: the background, its noise, and how far each frame is from it.

A robust temporal median per pixel, refined with the first mask left out, gives the background; the spread of the quiet
frames gives the noise; the distance of a frame from the background is measured in units of that noise, with changes that
only darken (shadows) counted less. All of it is label-free. [ours; the classical recipe: Horprasert, Harwood & Davis
1999 for the split into brightness and chromaticity]
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = [
    "BackgroundModel",
    "camera_is_still",
    "edge_strength",
    "fill_from_surroundings",
    "fit_background",
    "foreground_distance",
    "greatest",
    "noise_of",
]

_SHADOW_COLOUR = 30.0
"""Squared change of colour, in units of the noise, over which darkening stops to look like a shadow."""


@dataclass(frozen=True)
class BackgroundModel:
    """A still background.

    Attributes:
        background: (H, W, 3) float32 grey levels.
        noise: (H, W) float32 standard deviation, grey levels.
        visible: (H, W) float32 share of the frames in which the background was taken to be seen.
    """

    background: np.ndarray
    noise: np.ndarray
    visible: np.ndarray


def camera_is_still(frames: np.ndarray) -> bool:
    """Whether the background stays in its place, judged by the edges in the image's outer fifth.

    An image that moves by d pixels changes by d times its gradient: the change at edges, over the gradient, tells how
    far they move. A camera moves the edges of every part of the rim, a person only those that they pass: the rim is
    looked at in 16 cells, and the calmest quarter decides. Clips without edges count as still.

    Args:
        frames: (T, H, W, 3) uint8.
    """
    count, height, width = frames.shape[:3]
    if count < 3 or min(height, width) < 10:
        return True
    chosen = frames[np.unique(np.linspace(0, count - 1, 16).astype(int))]
    chosen = np.stack([cv2.blur(frame, (3, 3)) for frame in chosen])  # so that grain does not count as movement
    usual = np.median(chosen, axis=0).astype(np.float32) + 4.0
    even = np.stack([(f + 4.0) * _exposure(f + np.float32(4.0), usual) for f in chosen])  # more light is no movement
    change = greatest(np.abs(even - usual))  # (t, H, W)
    edges = np.max([edge_strength(chosen[k]) for k in (0, len(chosen) // 2, -1)], axis=0)
    moved = np.percentile(change / np.maximum(edges / 8.0, 2.5), 80, axis=0)  # px; Sobel's weights sum to 8
    cells = []
    for row, column in ((r, c) for r in range(5) for c in range(5) if r in (0, 4) or c in (0, 4)):
        cell = np.s_[row * height // 5 : (row + 1) * height // 5, column * width // 5 : (column + 1) * width // 5]
        sharp = edges[cell] > 30.0
        if sharp.sum() >= 0.035 * sharp.size:
            cells.append(float(np.median(moved[cell][sharp])))
    # Compression and grain move the edges of a still camera by 0.05 to 0.25 px.
    return not cells or min(cells) < 0.16 or float(np.percentile(cells, 25)) < 0.27


def edge_strength(image: np.ndarray) -> np.ndarray:
    """(H, W) float32 strength of the strongest channel's edge at (H, W, 3) (Sobel: 8 times the gradient)."""
    levels = image.astype(np.float32)
    return greatest(cv2.magnitude(cv2.Sobel(levels, cv2.CV_32F, 1, 0), cv2.Sobel(levels, cv2.CV_32F, 0, 1)))


def fit_background(frames: np.ndarray, masks: np.ndarray | None = None) -> BackgroundModel:
    """Median and noise over the frames, pixels under `masks` left out.

    A pixel that is hidden in more than four fifths of the frames has `visible` 0 where no frame shows it; its background is
    then filled in from the surroundings.

    Args:
        frames: (T, H, W, 3) uint8.
        masks: (T, H, W) bool, True = not background in this frame; None = all frames show the background.
    """
    if masks is None:
        background = median_over_time(frames)
        visible = np.ones(frames.shape[1:3], dtype=np.float32)
    else:
        background, visible = _masked_median(frames, masks)
        hidden = visible == 0
        if hidden.any():
            background = fill_from_surroundings(np.rint(background).astype(np.uint8), hidden).astype(np.float32)
    return BackgroundModel(background=background, noise=noise_of(frames, background), visible=visible)


def median_over_time(frames: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 median of (T, H, W, 3) uint8 frames (lower median)."""
    middle = (len(frames) - 1) // 2
    return np.partition(frames, middle, axis=0)[middle].astype(np.float32)


def _masked_median(frames: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median (H, W, 3) of the unmasked values, and the share of frames that it rests on (H, W)."""
    count = len(frames)
    values = frames.astype(np.int16)
    values[masks] = 256  # sorts behind every real value
    values.sort(axis=0)
    seen = count - masks.sum(0)  # (H, W)
    middle = np.maximum(seen - 1, 0) // 2
    background = np.take_along_axis(values, middle[None, :, :, None], axis=0)[0].astype(np.float32)
    return np.minimum(background, 255.0), (seen / count).astype(np.float32)


def noise_of(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(H, W) float32 noise from the quieter part of the deviations, bounded by the whole image's."""
    off = greatest(np.abs(frames.astype(np.int16) - np.rint(background).astype(np.int16)))  # (T, H, W)
    rank = int(0.4 * (len(frames) - 1))
    # Of a normal distribution's absolute values, 40 % lie below 0.524 sigma; the largest of three channels lies higher.
    quiet = np.partition(off, rank, axis=0)[rank].astype(np.float32) / 0.9
    typical = max(float(np.median(quiet)), 1.5)
    noise = cv2.blur(np.clip(quiet, typical, 4.0 * typical), (3, 3))
    return np.maximum(noise, 1.5)


def foreground_distance(frames: np.ndarray, model: BackgroundModel, shadow: float = 0.08) -> np.ndarray:
    """(T, H, W) float32 distance of each pixel from the background, in units of its noise.

    A pixel x is split against the background b into brightness a = <x, b> / <b, b> and the colour that is left, x - a b.
    Cast shadows darken, 0.4 < a < 1, and leave the colour; such pixels count with `shadow` of their brightness distance.

    Args:
        frames: (T, H, W, 3) uint8.
        shadow: weight of pure darkening; 1 = shadows count in full.
    """
    background = model.background + 4.0  # keeps the direction of nearly black pixels tame
    energy = np.maximum(_dot(background, background), 1.0)  # (H, W)
    scale = np.sqrt(energy) / model.noise
    out = np.empty(frames.shape[:3], dtype=np.float32)
    for index, frame in enumerate(frames):
        x = frame.astype(np.float32) + 4.0
        x *= _exposure(x, background)
        gain = _dot(x, background) / energy
        colour = x - gain[..., None] * background
        colour_distance = _dot(colour, colour) / (model.noise * model.noise)
        likeness = np.exp(-cv2.blur(colour_distance, (3, 3)) / _SHADOW_COLOUR) * _between(gain, 0.4, 1.0)
        brightness = (gain - 1.0) * scale * (1.0 - (1.0 - shadow) * likeness)
        out[index] = np.sqrt((colour_distance + brightness * brightness) / 3.0)
    return out


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """<a, b> over the 3 channels of (..., 3): several times faster than a sum over so short an axis."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def greatest(images: np.ndarray) -> np.ndarray:
    """(...) maximum over the 3 channels of (..., 3), fast for the same reason."""
    return np.maximum(np.maximum(images[..., 0], images[..., 1]), images[..., 2])


def _between(gain: np.ndarray, low: float, high: float) -> np.ndarray:
    """1 inside (low, high), falling to 0 over 0.1 below it."""
    return np.clip((gain - low) / 0.1 + 1.0, 0.0, 1.0) * (gain < high)


def _exposure(frame: np.ndarray, background: np.ndarray) -> float:
    """Factor that brings a frame's exposure to the background's, 0.9-1.1, read where most pixels agree."""
    ratio = float(np.median(background[::2, ::2].sum(-1) / frame[::2, ::2].sum(-1)))
    return min(max(ratio, 0.9), 1.1)


def fill_from_surroundings(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with the pixels of `hole` (H, W) bool filled in from outside.

    Small images go to `cv2.inpaint` (Telea 2004) whole; of large ones only a reduced copy, since a person-sized hole
    gets a smooth filling anyway.
    """
    if not hole.any():
        return image
    if hole.all():
        return np.full_like(image, 127)
    height, width = hole.shape
    reduction = max(1, round(max(height, width) / 96))
    if reduction == 1:
        return cv2.inpaint(image, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    size = (max(width // reduction, 1), max(height // reduction, 1))
    # Weighted reduction: only pixels outside the hole contribute.
    weight = cv2.resize((~hole).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(image.astype(np.float32) * ~hole[..., None], size, interpolation=cv2.INTER_AREA)
    small = small / np.maximum(weight, 1e-6)[..., None]
    unknown = weight < 1e-3
    filled = cv2.inpaint(np.clip(small, 0, 255).astype(np.uint8), unknown.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    smooth = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(hole[..., None], smooth, image)
