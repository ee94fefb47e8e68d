"""GrabCut over a clip: the crop's centre is person, its border is background, and the frames teach one another."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["grabcut_masks"]

_WORK_SIZE = 128  # pixels of the longer side; GrabCut's time grows with the area, its outline hardly gains


def grabcut_masks(frames: np.ndarray, iterations: int = 3, seeds: np.ndarray | None = None) -> np.ndarray:
    """(T, H, W) uint8 soft masks of crops with one person in the middle.

    Each frame is cut twice: first from its seeds, then with the mean of all first masks as the prior, so that a frame
    whose colours mislead it is corrected by the others.

    Args:
        frames: (T, H, W, 3) uint8.
        iterations: of GrabCut in each of the two rounds.
        seeds: (T, H, W) uint8 labels of OpenCV's GrabCut; None = an ellipse in the crop's centre.
    """
    height, width = frames.shape[1:3]
    scale = min(1.0, _WORK_SIZE / max(height, width))
    size = (max(round(width * scale), 8), max(round(height * scale), 8))
    small = [cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames]
    if seeds is None:
        starts = [_centre_seeds(size[::-1])] * len(small)
    else:
        starts = [cv2.resize(s, size, interpolation=cv2.INTER_NEAREST) for s in seeds]
    first = np.stack([_cut(f, s, iterations) for f, s in zip(small, starts, strict=True)])
    prior = first.mean(0)
    if not 0.01 < prior.mean() < 0.8:
        prior = (starts[0] % 2).astype(np.float32)
    soft = []
    for frame, mask in zip(small, first, strict=True):
        second = _cut(frame, _prior_seeds(prior, mask), iterations)
        blurred = cv2.GaussianBlur(second.astype(np.float32), (5, 5), 1.0)
        soft.append(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.rint(255.0 * np.clip(np.stack(soft), 0.0, 1.0)).astype(np.uint8)


def _centre_seeds(shape: tuple[int, int]) -> np.ndarray:
    """GrabCut labels: border surely background, an upright ellipse probably and its core surely person."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    u, v = (x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5
    seeds = np.full(shape, cv2.GC_PR_BGD, dtype=np.uint8)
    seeds[(u / 0.22) ** 2 + (v / 0.42) ** 2 < 1.0] = cv2.GC_PR_FGD
    seeds[(u / 0.05) ** 2 + (v / 0.12) ** 2 < 1.0] = cv2.GC_FGD
    rim = max(1, round(0.03 * min(height, width)))
    seeds[:, :rim] = seeds[:, -rim:] = cv2.GC_BGD
    return seeds


def _prior_seeds(prior: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Labels from the mean mask of all frames and this frame's own first mask."""
    score = 0.5 * prior + 0.5 * mask
    seeds = np.where(score > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[score < 0.03] = cv2.GC_BGD
    seeds[score > 0.97] = cv2.GC_FGD
    return seeds


def _cut(frame: np.ndarray, seeds: np.ndarray, iterations: int) -> np.ndarray:
    """(H, W) bool; GrabCut needs both kinds of seeds, without them the seeds' own answer stands."""
    person = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    if person.all() or not person.any():
        return person
    labels = seeds.copy()
    cv2.setRNGSeed(0)  # its colour models start from k-means with OpenCV's global generator
    models = np.zeros((2, 1, 65))
    image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    cv2.grabCut(image, labels, (0, 0, 1, 1), models[0], models[1], iterations, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
