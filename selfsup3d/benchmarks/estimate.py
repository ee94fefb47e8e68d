"""What 8 GPUs and a million video frames would take, on paper: measured FLOPs, assumed machine.

What a GPU delivers here is an assumption, since small convolutions use it badly; each is stated beside the table.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Presets", "estimate", "hours"]

Presets = dict[str, tuple[int, float, int]]
"""Of each preset: px, GFLOP of a sample in a joint step, trainable parameters."""

GPUS = 8
FRAMES = 1_000_000
PASSES = 20
PEAK = 4e14
"""FLOP/s of a GPU in bf16 matrix products: about half of what an H100's maker states for dense ones."""
SHARE = 0.15
"""Of that peak in a joint step: thin layers, normalisation and part maps are bound by memory."""
BUS = 1e11
"""Bytes/s between GPUs in an all-reduce."""


def hours(gflop: float, samples: float, gpus: int = GPUS) -> float:
    """Hours that `samples` samples of `gflop` GFLOP take."""
    return 1e9 * gflop * samples / (gpus * PEAK * SHARE) / 3600


def estimate(presets: Mapping[str, tuple[int, float, int]], sample_ms: float) -> list[str]:
    """Lines of Markdown.

    Args:
        presets: see `Presets`. sample_ms: of one core, for a sample of 64 px (`loader_share` measures it).
    """
    samples = FRAMES * PASSES
    lines = [
        f"## On paper: {GPUS} GPUs, {FRAMES:,} video frames",
        "",
        f"Not measured. {PASSES} passes over the frames, every step counted as a joint one (the dearest). Assumed: "
        f"{PEAK / 1e12:.0f} TFLOP/s of bf16 matrix products a GPU, of which a step gets {SHARE:.0%}; {BUS / 1e9:.0f} GB/s "
        f"between GPUs. Measured or counted: FLOPs, parameters, and {sample_ms:.2f} ms of one core to prepare a sample of "
        "64 px, taken to grow with the pixels.",
        "",
        "| preset | px | GFLOP/sample | parameters (M) | samples/s | hours | cores that load | gradients a step (ms) "
        "| frames on disk (GB) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (size, gflop, parameters) in presets.items():
        rate = GPUS * PEAK * SHARE / (1e9 * gflop)
        cores = rate * 1e-3 * sample_ms * (size / 64) ** 2
        reduce_ms = 1e3 * 2 * (GPUS - 1) / GPUS * 4 * parameters / BUS
        disk = FRAMES * size**2 * 4 / 1e9  # a frame and its saliency; a still camera's background is kept once a clip
        cells = (
            f"{gflop:.2f}",
            f"{parameters / 1e6:.1f}",
            f"{rate:,.0f}",
            f"{hours(gflop, samples):.1f}",
            f"{cores:,.0f}",
            f"{reduce_ms:.1f}",
            f"{disk:.0f}",
        )
        lines.append(f"| {name} | {size} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "The smaller the network, the sooner loading bounds the run and not the GPUs: where more cores are needed than "
        "the machine has, divide samples/s by that ratio. Gradients are exchanged while the backward pass still runs.",
    ]
    return lines
