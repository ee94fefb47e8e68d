"""What a camera and a file format do to an image of synthetic people: colour, light, blur, size, compression, noise."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["degraded", "recoloured"]


def recoloured(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A person's colours (S, S, 3) float, 0-255, in another light than the background's."""
    return image * (draw.uniform(0.88, 1.12, 3) * draw.uniform(0.65, 1.35)).astype(np.float32)


def degraded(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """(S, S, 3) float32, 0-255 RGB, to uint8 as recorded by any camera, from good to poor."""
    size = image.shape[0]
    contrast, bright = draw.uniform(0.65, 1.25), draw.uniform(-18, 28)
    gains = draw.uniform(0.9, 1.1, 3)
    mean = float(image.mean())
    image = ((image - mean) * contrast + mean + bright) * gains.astype(np.float32)
    if draw.random() < 0.05:
        image = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1)
    kind = draw.random()
    if kind < 0.25:
        sigma = draw.uniform(0.3, 1.3)
        image = cv2.GaussianBlur(image, (5, 5), sigma)
    elif kind < 0.31:
        length = 3 + 2 * int(draw.integers(2))
        kernel = np.zeros((length, length), dtype=np.float32)
        angle = draw.uniform(0, np.pi)
        reach, middle = (length - 1) / 2, (length - 1) // 2
        end = np.array([np.cos(angle), np.sin(angle)]) * reach
        cv2.line(kernel, *(tuple(np.rint(middle + sign * end).astype(int).tolist()) for sign in (-1, 1)), 1.0, 1)  # type: ignore[call-overload]
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    if draw.random() < 0.1:
        small = max(24, int(size * draw.uniform(0.4, 0.8)))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    if draw.random() < 0.4:
        noise = draw.standard_normal(image.shape, dtype=np.float32)
        image = image + noise * draw.uniform(0.0, 8.0)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if draw.random() < 0.3:
        quality = int(draw.uniform(15, 80))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return image
