"""Paint on floors, walls and skies: colours, patterns and mottling, from integers."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from selfsup3d.data.synthetic.spec import Code

__all__ = ["Surface", "draw_colour", "draw_surface", "paint"]


@dataclass(frozen=True)
class Surface:
    """Paint on a surface.

    Attributes:
        colours: (2, 3) RGB in [0, 1].
        pattern: see `paint`.
        period: metres of one repeat.
        mottle: strength of the mottling.
        grid: (8, 8) in [-1, 1], the mottling, repeated every 8 cells.
    """

    colours: np.ndarray
    pattern: str
    period: float
    mottle: float
    grid: np.ndarray


def draw_colour(code: Code, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """(3,) RGB of any hue."""
    return np.array(colorsys.hsv_to_rgb(code.unit(), code.uniform(*saturation), code.uniform(*value)))


def draw_surface(
    code: Code, patterns: tuple[str, ...], period: tuple[float, float], bright: tuple[float, float]
) -> Surface:
    """A surface of any hue, with one of the patterns; the second colour is mostly near the first.

    Args:
        code: what is drawn from.
        patterns: to choose from.
        period: metres, lowest and highest.
        bright: HSV value, lowest and highest.
    """
    first = draw_colour(code, (0.02, 0.5), bright)
    near = np.clip(first * code.uniform(0.65, 0.95) + code.uniform(-0.06, 0.1), 0, 1)
    second = near if code.chance(0.7) else draw_colour(code, (0.05, 0.6), bright)
    grid = code.uniforms(64, -1.0, 1.0).reshape(8, 8)
    return Surface(np.stack([first, second]), code.pick(patterns), code.uniform(*period), code.uniform(0.0, 0.16), grid)


def _noise(grid: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth periodic noise in [-1, 1] at (u, v) in cells of the grid."""
    n = len(grid)
    fu, fv = np.floor(u), np.floor(v)
    iu, iv = fu.astype(np.int64) % n, fv.astype(np.int64) % n
    a, b = u - fu, v - fv
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    ju, jv = (iu + 1) % n, (iv + 1) % n
    top = grid[iu, iv] * (1 - a) + grid[ju, iv] * a
    bottom = grid[iu, jv] * (1 - a) + grid[ju, jv] * a
    return top * (1 - b) + bottom * b


def paint(surface: Surface, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(F, 3) colours at (u, v) metres on a surface; v is the height on walls."""
    p = surface.period
    a, b = u / p, v / p
    fa, fb = a - np.floor(a), b - np.floor(b)
    second: np.ndarray
    if surface.pattern == "bars":
        second = fa < 0.5
    elif surface.pattern == "rings":
        second = fb < 0.5
    elif surface.pattern == "checks":
        second = (fa < 0.5) ^ (fb < 0.5)
    elif surface.pattern == "two_tone":
        second = v < 0.9 + 0.5 * p
    elif surface.pattern == "gradient":
        second = np.clip(v / 3.0 + 0.2, 0.0, 1.0)
    elif surface.pattern == "tiles":
        second = (fa < 0.06) | (fb < 0.06)
    elif surface.pattern == "planks":
        second = np.where(fa < 0.08, 1.0, 0.5 * np.mod(np.floor(a) * 0.618, 1.0))
    elif surface.pattern == "panels":
        second = (np.abs(fa - 0.5) > 0.4) | (fb < 0.1)
    elif surface.pattern == "bricks":
        row = np.floor(b * 2.5)
        second = (np.mod(a + 0.5 * np.mod(row, 2), 1.0) < 0.06) | (b * 2.5 - row < 0.14)
    elif surface.pattern == "clouds":
        second = 0.5 + 0.5 * _noise(surface.grid, a * 1.5, b * 1.5)
    else:
        second = np.zeros_like(u)
    weight = np.asarray(second, dtype=np.float64)[..., None]
    colour = surface.colours[0] * (1 - weight) + surface.colours[1] * weight
    mottle = 0.6 * _noise(surface.grid, u * 1.3, v * 1.3) + 0.4 * _noise(surface.grid, u * 4.1 + 5, v * 4.1 + 2)
    return colour * (1.0 + surface.mottle * mottle[..., None])
