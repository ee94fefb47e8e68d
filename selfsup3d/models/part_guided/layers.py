"""Layers that encoder and decoder share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["COLOUR", "ChannelwiseLinear", "ConvNormAct", "group_norm", "standardized", "weights_as_activations"]

COLOUR = 3
"""The first channels of a part's appearance are its colour: the encoder puts it there, the decoder draws with it."""


def group_norm(channels: int, **options: Any) -> nn.GroupNorm:
    """GroupNorm with groups of 16 channels (fewer where 16 does not divide); its statistics know nothing of the batch.

    `options` (device, dtype) are what `timm` passes to a normalisation layer.
    """
    for size in (16, 8, 4, 2, 1):
        if channels % size == 0:
            return nn.GroupNorm(channels // size, channels, **options)
    raise ValueError(f"channels must be positive, got {channels}")


def standardized(images: Tensor) -> Tensor:
    """Images in [0, 1] with mean 0 and standard deviation 1, roughly: what published weights of backbones expect."""
    return (images - 0.5) * 4.0


def weights_as_activations(network: nn.Module) -> None:
    """Keep convolution weights channels-last, as activations lie: of others the convolutions make copies at every call."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class ConvNormAct(nn.Sequential):
    """3x3 convolution, GroupNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), group_norm(outputs), nn.ReLU(inplace=True)
        )


class ChannelwiseLinear(nn.Module):
    """One fully-connected layer per channel over space (Pathak et al. 2016, "Context encoders"): no mixing of channels.

    Starts at zero, so that what it is added to leads at first.
    """

    def __init__(self, channels: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(channels, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, inputs) -> (N, C, outputs)."""
        return torch.einsum("nci,cio->nco", x, self.weight) + self.bias
