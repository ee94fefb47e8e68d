"""Where a trained model runs."""

from __future__ import annotations

import torch

from selfsup3d.errors import InputError

__all__ = ["pick_device"]


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name for scripts that do not train; "auto" = the GPU where there is one.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises the latter where it was built without CUDA
        raise InputError(f"--device {name}: not usable here ({str(error).splitlines()[0]})") from None
    return device
