"""Forward and backward of image backbones in float32 and bf16: why `mixed_precision: auto` keeps depthwise networks in
float32 on CPUs.

16 images at 96 px, channels last, as the encoders give them; random weights. The row is of EfficientNet-Lite0: images a
second in float32 over those in bf16. A processor without native bf16 has nothing to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import timm
import torch
from torch import Tensor, nn

from selfsup3d.benchmarks.harness import Benchmark, Result, Settings, measure
from selfsup3d.training.device import cpu_has_bf16

__all__ = ["BENCHMARK", "run"]

NAMES = ("tf_efficientnet_lite0", "resnet18")
COUNT, SIZE = 16, 96


def _step(network: nn.Module, images: Tensor, kind: torch.dtype) -> None:
    with torch.autocast(images.device.type, kind, enabled=kind is not torch.float32):
        features = network(images)
    features.float().mean().backward()


def run(settings: Settings) -> Result:
    """See the module."""
    count, size = (2, 32) if settings.quick else (COUNT, SIZE)
    native = settings.device.type == "cuda" or cpu_has_bf16() or settings.quick
    kinds = [torch.float32, *([torch.bfloat16] if native else [])]
    images = torch.randn(count, 3, size, size, device=settings.device).contiguous(memory_format=torch.channels_last)
    notes: dict[str, float | str] = {}
    taken: dict[tuple[str, torch.dtype], float] = {}
    for name in NAMES:
        network = timm.create_model(name, num_classes=0).to(settings.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        calls: dict[str, Callable[[], object]] = {str(kind): partial(_step, network, images, kind) for kind in kinds}
        for kind, timing in zip(kinds, measure(calls, settings, warmup=1).values(), strict=True):
            taken[name, kind] = timing.median_ms
            short = "fp32" if kind is torch.float32 else "bf16"
            notes[f"{name}_{short}_images_per_s"] = 1e3 * count / timing.median_ms
    ours = taken[NAMES[0], torch.float32]
    if not native:
        return Result(ours_ms=ours, reason="this processor has no native bf16", notes=notes)
    peer = taken[NAMES[0], torch.bfloat16]
    return Result(ours_ms=ours, peer_ms=peer, ratio=peer / ours, peer="bf16", dtype="float32", notes=notes)


BENCHMARK = Benchmark(run, "EfficientNet-Lite0 and ResNet-18, forward and backward, float32 beside bf16")
