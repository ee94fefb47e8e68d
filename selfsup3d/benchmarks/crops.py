"""From an index to 128 px crops, beside the plain loop: cv2.imread of the whole image, then warpAffine.

The images are textured JPEGs of Human3.6M's size (1000 x 1000) and of a phone's (1080 x 1920), the people about 600 px
tall, as in those datasets. First both ways must see the same: smooth images, on which reduced decoding and full
decoding may not differ by more than rounding. Frames per second are of one core.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, check, measure
from selfsup3d.io.crops import Frames, read_view, square_view, virtual_view, warp_view

__all__ = ["BENCHMARK", "run"]

SIZE = 128
IMAGES = 24
TOLERANCE = 6.0  # grey levels, on smooth images: JPEG's own rounding at the reduced size
_SHAPES = {"h36m": (1000, 1000), "phone": (1080, 1920)}
_SIDE = 640.0


def _write(folder: Path, name: str, size: tuple[int, int], count: int, cells: int) -> None:
    """Images (width, height) of random colours, `cells` to the shorter side, so that files are as large as real ones."""
    width, height = size
    rng = np.random.default_rng(0)
    for n in range(count):
        coarse = rng.integers(40, 216, (cells * height // min(size), cells * width // min(size), 3), dtype=np.uint8)
        image = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{name}_{n:03d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])


def _squares(size: tuple[int, int], count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    width, height = size
    return [np.array([rng.uniform(0, width - _SIDE), rng.uniform(0, height - _SIDE), _SIDE]) for _ in range(count)]


def _plain(folder: Path, name: str, number: int, square: np.ndarray) -> np.ndarray:
    """What most loaders do."""
    image = cv2.imread(str(folder / f"{name}_{number:03d}.jpg"))
    assert image is not None
    scale = SIZE / square[2]
    matrix = np.array([[scale, 0.0, -square[0] * scale], [0.0, scale, -square[1] * scale]])
    matrix[:, 2] += 0.5 * scale - 0.5
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)[..., ::-1]


def _ours(frames: Frames, name: str, size: tuple[int, int], squares: list[np.ndarray]) -> None:
    """As `IndexedFrames` does it: the views of a batch at once, then one image after the other."""
    K = np.array([[1145.0, 0.0, size[0] / 2], [0.0, 1145.0, size[1] / 2], [0.0, 0.0, 1.0]])
    views, _, _ = virtual_view(np.stack(squares), np.broadcast_to(K, (len(squares), 3, 3)), SIZE)
    for number, view in enumerate(views):
        read_view(frames, name + "_{:03d}.jpg", number, view, SIZE, *size)


def _compare(folder: Path) -> float:
    """Both ways on smooth images, by the same upright view; the largest mean difference of an image."""
    worst = 0.0
    for name, size in _SHAPES.items():
        _write(folder, f"smooth_{name}", size, 2, cells=6)
        for number, square in enumerate(_squares(size, 2)):
            view = square_view(square, SIZE)
            ours = warp_view(Frames(folder).read(f"smooth_{name}_{{:03d}}.jpg", number, *size, 5.0), view, SIZE)
            theirs = _plain(folder, f"smooth_{name}", number, square)
            inside = slice(4, -4)
            a, b = (torch.from_numpy(c[inside, inside].astype(np.float32)) for c in (ours, theirs))
            worst = max(worst, check(a, b, TOLERANCE, "reduced and full decoding"))
    return worst


def _plain_loop(folder: Path, name: str, squares: list[np.ndarray]) -> None:
    for number, square in enumerate(squares):
        _plain(folder, name, number, square)


def _decode_least(folder: Path, name: str, count: int) -> None:
    """As little as these JPEGs may be decoded, five of whose pixels make one of the crop: to a quarter of the size."""
    for number in range(count):
        cv2.imread(str(folder / f"{name}_{number:03d}.jpg"), cv2.IMREAD_REDUCED_COLOR_4)


def run(settings: Settings) -> Result:
    """See the module."""
    count = 3 if settings.quick else IMAGES
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            error = _compare(folder)
            times = {}
            for name, size in _SHAPES.items():
                _write(folder, name, size, count, cells=60)
                squares = _squares(size, count)
                frames = Frames(folder)
                ways = {
                    "ours": partial(_ours, frames, name, size, squares),
                    "plain": partial(_plain_loop, folder, name, squares),
                    "decoding": partial(_decode_least, folder, name, count),
                }
                times[name] = measure(ways, settings, warmup=1)
    finally:
        cv2.setNumThreads(before)
    notes: dict[str, float | str] = {}
    for name, found in times.items():
        notes[f"{name}_fps"] = 1000.0 * count / found["ours"].median_ms
        notes[f"{name}_plain_fps"] = 1000.0 * count / found["plain"].median_ms
        notes[f"{name}_ratio"] = found["plain"].median_ms / found["ours"].median_ms
        notes[f"{name}_bound"] = found["plain"].median_ms / found["decoding"].median_ms
    ours = sum(found["ours"].median_ms for found in times.values()) / (len(times) * count)
    plain = sum(found["plain"].median_ms for found in times.values()) / (len(times) * count)
    least = sum(found["decoding"].median_ms for found in times.values()) / (len(times) * count)
    return Result(
        ours_ms=ours,
        peer_ms=plain,
        peer="cv2.imread + warpAffine",
        bound=plain / least,
        dtype="uint8",
        max_error=error,
        notes=notes,
    )


BENCHMARK = Benchmark(
    run,
    f"index to {SIZE} px crop, per image and core, beside cv2.imread + warpAffine",
    ">= 1.8",
    "a JPEG's decoding at a quarter of its size, the least that still has a pixel for each of the crop's",
    beside_others=True,
)
