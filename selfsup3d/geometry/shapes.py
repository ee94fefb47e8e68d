"""What every geometric function asks of its arguments: trailing shapes, at least float32, and the batch-last layout."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["batch_first", "batch_last", "broadcast_batch", "check_shape", "full_precision", "working_dtype"]


def check_shape(tensor: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless `tensor` has trailing dimensions `shape`; leading ones are free."""
    if tensor.dim() < len(shape) or tuple(tensor.shape[tensor.dim() - len(shape) :]) != shape:
        wanted = ", ".join(("...", *(str(size) for size in shape)))
        raise ValueError(f"{name} must have shape ({wanted}), got {tuple(tensor.shape)}")


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if any input is, else float32: geometry in half precision is off by centimetres."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def full_precision(tensor: Tensor) -> Tensor:
    """float64 as it is, everything narrower as float32."""
    return tensor.to(working_dtype(tensor))


def broadcast_batch(*heads: Tensor) -> torch.Size:
    """The shape that tensors have together; RuntimeError where they do not fit.

    `torch.broadcast_shapes` says the same, and loads torch's compiler and sympy to do so: half a second.
    """
    return torch.broadcast_tensors(*heads)[0].shape


def batch_last(tensor: Tensor, batch: torch.Size, dims: int) -> Tensor:
    """(*leading, *last `dims`) broadcast to `batch` and flattened behind them: (*last, N), a contiguous copy.

    With thousands of small matrices or points, operations over a long last dimension are several times faster. The copy
    is a plain matrix transposition, for which torch works in blocks; a general permutation takes twice as long.
    """
    last = tensor.shape[tensor.dim() - dims :]
    rows = tensor.expand(*batch, *last).reshape(math.prod(batch), math.prod(last))
    copy = rows.t().clone(memory_format=torch.contiguous_format)
    return copy.view(*last, rows.shape[0])  # `len` would fix N under torch.export


def batch_first(tensor: Tensor, batch: torch.Size, dims: int) -> Tensor:
    """(*first `dims`, N) -> (*batch, *first), contiguous: undoes `batch_last`."""
    rows = tensor.flatten(0, dims - 1).t().contiguous()
    return rows.view(*batch, *tensor.shape[:dims])
