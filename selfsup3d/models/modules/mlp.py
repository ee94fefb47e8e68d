"""The residual multi-layer perceptron that most lifters and critics are made of.

An input layer, blocks of two layers (or a bottleneck of three) with a skip, an output layer. What differs between
papers is an argument: width, depth, bottleneck, normalisation, dropout, activation, and a true weight max-norm.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Activation", "MaxNormLinear", "Norm", "ResidualMLP", "frozen_statistics"]

Norm = Literal["batch", "layer", "none"]
Activation = Literal["relu", "leaky_relu"]

_LEAK = 0.01
"""Slope of LeakyReLU below zero."""


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm layers normalise as ever but leave their running statistics alone.

    For inputs that only training sees, such as views turned upside down: averaged into the statistics, they would make
    the network normalise real inputs wrongly when it predicts.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


class _Shrunk(torch.autograd.Function):
    """W -> (W, s), s = min(1, c / |W|_F), with the gradients of both uses of W met in one pass over the matrix.

    dL/dW = dL/dW' - dL/ds s^3 / c^2 W where s < 1. Left to autograd, the norm's part takes four passes.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, max_norm: float) -> tuple[Tensor, Tensor]:
        shrinkage = max_norm / torch.linalg.vector_norm(weight).clamp(min=max_norm)
        ctx.save_for_backward(weight, shrinkage)
        ctx.max_norm = max_norm
        return weight.view_as(weight), shrinkage

    @staticmethod
    def backward(ctx: Any, of_weight: Tensor, of_shrinkage: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weight, shrinkage = ctx.saved_tensors
        share = torch.where(shrinkage < 1.0, -of_shrinkage * shrinkage**3 / ctx.max_norm**2, 0.0)
        if torch.is_grad_enabled():  # a gradient of the gradient is wanted
            return torch.addcmul(of_weight, weight, share), None
        return of_weight.addcmul_(weight, share), None  # W' reaches one linear map, so nobody else holds its gradient


class MaxNormLinear(nn.Linear):
    """A linear layer whose weight matrix, as used, never has a Frobenius norm above `max_norm`.

    The constraint of Martinez et al. 2017: W' = W min(1, max_norm / |W|_F), part of the graph, so it holds at every
    forward pass whatever the optimizer does. (Clipping the norm of the *gradients*, found in a port of that work under
    the same name, is another thing.)
    """

    def __init__(self, inputs: int, outputs: int, max_norm: float = 1.0) -> None:
        super().__init__(inputs, outputs)
        self.max_norm = max_norm

    def shrinkage(self) -> Tensor:
        """() min(1, max_norm / |W|_F)."""
        return self.max_norm / torch.linalg.vector_norm(self.weight).clamp(min=self.max_norm)

    def constrained_weight(self) -> Tensor:
        """(outputs, inputs) the weight that `forward` amounts to."""
        return self.weight * self.shrinkage()

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        # The inputs are shrunk in the weights' place: a batch of 64 of them is sixteen times smaller than the matrix.
        if torch.is_grad_enabled():
            weight, shrinkage = _Shrunk.apply(self.weight, self.max_norm)
        else:
            weight, shrinkage = self.weight, self.shrinkage()
        return F.linear(input * shrinkage, weight, self.bias)


class _Layer(nn.Sequential):
    """Linear, normalisation, activation, dropout; what is switched off is not there."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: Norm,
        activation: Activation | None,
        dropout: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        layers: list[nn.Module] = [_linear(inputs, outputs, max_norm)]
        if norm != "none":
            layers.append(nn.BatchNorm1d(outputs) if norm == "batch" else nn.LayerNorm(outputs))
        if activation is not None:
            layers.append(nn.ReLU() if activation == "relu" else nn.LeakyReLU(_LEAK))
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        super().__init__(*layers)


def _linear(inputs: int, outputs: int, max_norm: float | None) -> nn.Linear:
    return nn.Linear(inputs, outputs) if max_norm is None else MaxNormLinear(inputs, outputs, max_norm)


class _Block(nn.Module):
    """Two layers, or a bottleneck of three whose last is activated after the sum, around a skip."""

    def __init__(
        self,
        width: int,
        bottleneck: int | None,
        norm: Norm,
        activation: Activation,
        dropout: float,
        max_norm: float | None,
        skip: bool,
    ) -> None:
        super().__init__()
        if bottleneck is None:
            sizes: list[tuple[int, int, Activation | None]] = [(width, width, activation), (width, width, activation)]
        else:
            sizes = [(width, bottleneck, activation), (bottleneck, bottleneck, activation), (bottleneck, width, None)]
        self.layers = nn.Sequential(*(_Layer(i, o, norm, a, dropout, max_norm) for i, o, a in sizes))
        self.after: nn.Module = nn.Identity()
        if bottleneck is not None:
            self.after = nn.ReLU() if activation == "relu" else nn.LeakyReLU(_LEAK)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) -> (N, width)."""
        return self.after(x + self.layers(x) if self.skip else self.layers(x))


class ResidualMLP(nn.Module):
    """Linear to `width`, residual blocks, linear to the outputs.

    Args:
        inputs, outputs: sizes; `outputs` None ends after the last block (a trunk).
        width: of every hidden layer.
        blocks: residual blocks.
        bottleneck: width of the two inner layers of blocks of three (ITES, C3DPO); None = blocks of two (Martinez).
        norm: after each hidden linear layer. "batch" makes two processes differ from one, as in the papers that have
            it.
        dropout: after each hidden layer, the probability to drop.
        activation: of the hidden layers.
        max_norm: largest Frobenius norm of every weight matrix, see `MaxNormLinear`; None = unlimited.
        skip: False = a plain stack of layers.
        zero_output: start the output layer at zero, so that an untrained network predicts zeros.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int | None,
        width: int = 1024,
        blocks: int = 2,
        bottleneck: int | None = None,
        norm: Norm = "none",
        dropout: float = 0.0,
        activation: Activation = "relu",
        max_norm: float | None = None,
        skip: bool = True,
        zero_output: bool = False,
    ) -> None:
        super().__init__()
        self.enter = _Layer(inputs, width, norm, activation, dropout, max_norm)
        self.blocks = nn.Sequential(
            *(_Block(width, bottleneck, norm, activation, dropout, max_norm, skip) for _ in range(blocks))
        )
        self.leave: nn.Module = nn.Identity() if outputs is None else _linear(width, outputs, max_norm)
        if zero_output and isinstance(self.leave, nn.Linear):
            nn.init.zeros_(self.leave.weight)
            nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs), float32 whatever the autocast."""
        flat = x.reshape(-1, x.shape[-1])
        out = self.leave(self.blocks(self.enter(flat))).float()
        return out.view(*x.shape[:-1], out.shape[-1])

    def fused(self) -> ResidualMLP:
        """A copy for inference: BatchNorm and max-norm folded into the linear layers, the same function in fewer ops."""
        fused = copy.deepcopy(self).eval()
        for layer in fused.modules():
            if isinstance(layer, _Layer):
                linear, norm = layer[0], layer[1] if len(layer) > 1 else None
                assert isinstance(linear, nn.Linear)
                if isinstance(norm, nn.BatchNorm1d):
                    layer[0] = nn.utils.fusion.fuse_linear_bn_eval(_plain(linear), norm)
                    layer[1] = nn.Identity()
                else:
                    layer[0] = _plain(linear)
        if isinstance(fused.leave, nn.Linear):
            fused.leave = _plain(fused.leave)
        return fused


def _plain(linear: nn.Linear) -> nn.Linear:
    """An `nn.Linear` with the weight that `linear` uses."""
    plain = nn.Linear(linear.in_features, linear.out_features).to(linear.weight)
    with torch.no_grad():
        weight = linear.constrained_weight() if isinstance(linear, MaxNormLinear) else linear.weight
        plain.weight.copy_(weight)
        plain.bias.copy_(linear.bias)
    return plain.eval()
