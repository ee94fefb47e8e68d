"""Convolutions over the graph of joints with learnt edge weights, and attention between all joints."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from selfsup3d.skeleton import H36M_17, NUM_JOINTS

__all__ = ["Edges", "GraphBlock", "GraphConvolution", "NonLocal"]

Edges = Literal["per_channel", "shared"]


class GraphConvolution(nn.Module):
    """out_i = sum_j A_ij W_(i=j or i!=j) h_j over a joint and its neighbours; the rows of A sum to 1.

    Args:
        inputs, outputs: channels.
        edges: "per_channel" = one A per output channel; "shared" = one A for all (Zhao et al. 2019, SemGCN).
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, edges: Edges = "per_channel") -> None:
        super().__init__()
        self.edges = nn.Parameter(torch.zeros(outputs if edges == "per_channel" else 1, NUM_JOINTS, NUM_JOINTS))
        self.own = nn.Linear(inputs, outputs)
        self.neighbours = nn.Linear(inputs, outputs, bias=False)
        self.register_buffer("mask", torch.from_numpy(H36M_17.adjacency.copy()), persistent=False)

    def weights(self) -> Tensor:
        """(outputs or 1, 17, 17) A: 0 between joints that are no neighbours."""
        return self.edges.masked_fill(~self.mask, float("-inf")).softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 17, inputs) -> (B, 17, outputs)."""
        weights = self.weights()
        diagonal = torch.diagonal(weights, dim1=-2, dim2=-1)  # (C or 1, 17)
        others = weights - torch.diag_embed(diagonal)
        moved = self.neighbours(x).permute(2, 1, 0)  # (C, 17, B)
        gathered = torch.matmul(others.to(moved.dtype), moved).permute(2, 1, 0)
        return self.own(x) * diagonal.T + gathered


class GraphBlock(nn.Module):
    """Two graph convolutions with BatchNorm and ReLU around a skip."""

    def __init__(self, channels: int, edges: Edges) -> None:
        super().__init__()
        self.layers = nn.ModuleList(GraphConvolution(channels, channels, edges) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 17, C) -> (B, 17, C)."""
        y = x
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = norm(layer(y).transpose(1, 2)).transpose(1, 2).relu()
        return x + y


class NonLocal(nn.Module):
    """Attention of every joint to all joints, added to the input; starts as the identity (Wang et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(channels, channels // 2) for _ in range(3))
        self.leave = nn.Linear(channels // 2, channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 17, C) -> (B, 17, C)."""
        attended = nn.functional.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
        return x + self.leave(attended)
