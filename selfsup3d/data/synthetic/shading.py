"""Light that a renderer of smooth solids leaves out: folds of cloth, shadows on what stands behind, haze and flare."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["cast_shadow", "creased", "dressed", "hazy"]

_CLOTHES = ((1,), (1, 2, 4), (1, 2, 3, 4, 5), (6, 8), (6, 7, 8, 9), tuple(range(1, 10)))
"""Part ids of the default puppet that one cloth covers: vests, shirts, jumpers, shorts, trousers, overalls."""


def _smooth_noise(draw: np.random.Generator, size: int, cells: tuple[int, ...]) -> np.ndarray:
    """(size, size) float32 of about unit deviation, at several scales."""
    noise = np.zeros((size, size), dtype=np.float32)
    for count in cells:
        grid = draw.standard_normal((count, count), dtype=np.float32)
        noise += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return noise / np.float32(np.sqrt(len(cells)))


def creased(colour: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A person's colours (S, S, 3) float32 with folds: smooth and fine changes of brightness, stretched along a limb's way."""
    size = colour.shape[0]
    noise = _smooth_noise(draw, size, (7, 15, 31))
    if draw.random() < 0.5:  # streaks rather than blots
        noise = cv2.blur(noise, (1, 5) if draw.random() < 0.5 else (5, 1)) * 1.6
    strength = draw.uniform(0.0, 0.22)
    return colour * (1.0 + np.float32(strength) * noise)[..., None].clip(0.3, 1.7)


def dressed(
    colour: np.ndarray, cover: np.ndarray, labels: np.ndarray, cloth: np.ndarray, draw: np.random.Generator
) -> np.ndarray:
    """A person's colours (S, S, 3) float32 with a picture for one cloth, its light kept.

    Args:
        cover: (S, S, 1) in [0, 1], by which the colours are multiplied. labels: (S, S) part ids of the default puppet.
        cloth: (S, S, 3) any picture.
    """
    worn = np.isin(labels, _CLOTHES[draw.integers(len(_CLOTHES))]) & (cover[..., 0] > 0.5)
    if not worn.any():
        return colour
    bright = (colour[..., :1] + colour[..., 1:2] + colour[..., 2:]) / 3
    light = np.clip(bright / max(float(bright[worn].mean()), 8.0), 0.4, 1.6)
    picture = cloth.astype(np.float32)
    picture = picture.mean((0, 1)) + (picture - picture.mean((0, 1))) * np.float32(draw.uniform(0.3, 1.2))
    return np.where(worn[..., None], np.clip(picture, 0, 255) * light * cover, colour)


def cast_shadow(image: np.ndarray, cover: np.ndarray, feet: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The background (S, S, 3) float32 with a shadow of the person whose `cover` (S, S) is in [0, 1].

    Args:
        feet: (2,) px x and y of the lowest joint, where a shadow on the floor begins.
    """
    size = image.shape[0]
    dark = np.float32(draw.uniform(0.15, 0.65))
    kind = draw.random()
    if kind < 0.35:  # contact shadow, under a wide source of light
        shade: np.ndarray = np.zeros((size, size), dtype=np.float32)
        reach = size * draw.uniform(0.06, 0.22)
        cv2.ellipse(
            shade, (int(feet[0]), int(feet[1])), (int(reach) + 1, int(reach * draw.uniform(0.15, 0.5)) + 1),
            0.0, 0.0, 360.0, 1.0, -1,
        )  # fmt: skip
        shade = cv2.GaussianBlur(shade, (0, 0), draw.uniform(1.0, 4.0))
    else:
        if kind < 0.7:  # lying on the floor: sheared and flattened about the feet, towards or away from the camera
            shear, height = draw.uniform(-1.8, 1.8), draw.uniform(0.1, 0.7) * (1.0 if draw.random() < 0.5 else -1.0)
            shift = np.array([0.0, 0.0])
        else:  # on a wall behind
            shear, height, shift = draw.uniform(-0.1, 0.1), 1.0, size * draw.uniform(-0.15, 0.15, 2)
        turn = np.array([[1.0, shear], [0.0, height]])
        matrix = np.concatenate([turn, (feet + shift - turn @ feet)[:, None]], 1)
        shade = cv2.warpAffine(cover, matrix, (size, size), flags=cv2.INTER_LINEAR)
        shade = cv2.GaussianBlur(shade, (0, 0), draw.uniform(0.6, 4.0))
    return image * (1.0 - dark * np.clip(shade, 0.0, 1.0))[..., None]


def hazy(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """An image (S, S, 3) float32, 0-255, against the light: a bright veil, stronger on one side, or a lamp's fall-off."""
    size = image.shape[0]
    at = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    angle = draw.uniform(0.0, 2.0 * np.pi)
    slope = np.cos(angle) * at[None, :] + np.sin(angle) * at[:, None]
    if draw.random() < 0.5:
        veil = np.clip(draw.uniform(0.0, 0.45) + draw.uniform(0.0, 0.3) * slope, 0.0, 0.8)[..., None]
        return image * (1.0 - veil) + veil * draw.uniform(140.0, 255.0, 3).astype(np.float32)
    return image * np.clip(draw.uniform(0.6, 1.1) + draw.uniform(0.0, 0.4) * slope, 0.25, 1.4)[..., None]
