"""Convolutions over the graph of joints with learnt edge weights, and attention between all joints.

Features lie channels first, (C, 17, B): the maps between channels are one matrix product, those between joints a
batch of small ones, BatchNorm sees rows, and none of them has to copy the features into another order.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS

__all__ = ["Edges", "GraphBlock", "GraphConvolution", "NonLocal", "normalised"]

Edges = Literal["per_channel", "shared"]


def normalised(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """relu(BatchNorm) of (C, 17, B), over joints and samples."""
    normal: Tensor = norm(x.flatten(1)[None])[0]
    return normal.relu_().view(x.shape)


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
        """(inputs, 17, B) -> (outputs, 17, B)."""
        weights = self.weights().expand(self.own.out_features, -1, -1)
        diagonal = torch.diagonal(weights, dim1=-2, dim2=-1)  # (C, 17)
        own = torch.diag_embed(diagonal)
        gather = torch.cat((own, weights - own), -1)  # (C, 17, 34): from what joints say to themselves and to others
        messages = torch.stack((self.own.weight, self.neighbours.weight), 1).flatten(0, 1) @ x.flatten(1)
        bias = (diagonal * self.own.bias[:, None])[..., None]
        return torch.baddbmm(
            bias.to(messages.dtype), gather.to(messages.dtype), messages.view(-1, 2 * NUM_JOINTS, x.shape[-1])
        )


class GraphBlock(nn.Module):
    """Two graph convolutions with BatchNorm and ReLU around a skip."""

    def __init__(self, channels: int, edges: Edges) -> None:
        super().__init__()
        self.layers = nn.ModuleList(GraphConvolution(channels, channels, edges) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(C, 17, B) -> (C, 17, B)."""
        y = x
        for layer, norm in zip(self.layers, self.norms, strict=True):
            assert isinstance(norm, nn.BatchNorm1d)
            y = normalised(norm, layer(y))
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
        """(C, 17, B) -> (C, 17, B)."""
        maps = (self.query, self.key, self.value)
        weight, bias = torch.cat([m.weight for m in maps]), torch.cat([m.bias for m in maps])
        asked = nn.functional.linear(x.flatten(1).T, weight, bias)  # (17 B, 3 C / 2)
        query, key, value = asked.view(NUM_JOINTS, x.shape[-1], 3, -1).permute(2, 1, 0, 3)  # (B, 17, C / 2) each
        # By hand: fused kernels are made for sequences longer than 17.
        attended = (query @ key.mT * key.shape[-1] ** -0.5).softmax(-1).to(value.dtype) @ value
        rows = attended.transpose(0, 1).flatten(0, 1)  # (17 B, C / 2)
        return x + torch.addmm(self.leave.bias[:, None], self.leave.weight, rows.T).view(x.shape)
