"""What every geometric function asks of its arguments: trailing shapes, and at least float32."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_shape", "full_precision", "working_dtype"]


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
