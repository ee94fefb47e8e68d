"""Released models: a folder with weights (safetensors), config.json and a card. Nothing in it is ever executed.

    model/
      model.safetensors   parameters and buffers
      config.json         {"format": 2, "selfsup3d": "0.1.0", "config": {...}}: what `build` makes the network from
      README.md           the card

This module knows no architecture: who loads hands in `build`, which makes an untrained network from the config
(`builders.systems.load_system` does both). Checkpoints of a run have the same two files, so they load alike.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from selfsup3d import __version__
from selfsup3d.errors import InputError
from selfsup3d.io.files import atomic_folder, write_json, write_text
from selfsup3d.io.json_yaml import parse_json
from selfsup3d.io.limits import DOCUMENT, read_within
from selfsup3d.io.resources import CONFIG, WEIGHTS, locate_model

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "fill",
    "from_pretrained",
    "locate_model",
    "nonfinite",
    "read_config",
    "read_tensors",
    "refuse_nonfinite",
    "save_pretrained",
    "write_model",
    "write_tensors",
]

FORMAT = 2
"""Of config.json and the names of the tensors; raised when older releases could not read the new."""

CARD = "README.md"

Module = TypeVar("Module", bound=nn.Module)


# ------------------------------------------------------------------------------------------------------------- writing


def save_pretrained(
    folder: str | Path, system: nn.Module, config: Mapping[str, Any], card: str, half: bool = False
) -> None:
    """Write a released model; a model that stands there is replaced as a whole.

    Args:
        folder: where to.
        system: parameters and buffers are taken from it.
        config: plain JSON; what `build` will get.
        card: text of README.md.
        half: store floating-point tensors as fp16 (half the size; they load as fp32).
    """
    with atomic_folder(folder) as temporary:
        write_model(temporary, system.state_dict(), config, half)
        write_text(temporary / CARD, card)


def write_model(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], half: bool = False) -> None:
    """Write weights and config into a folder."""
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    write_tensors(folder / WEIGHTS, tensors)
    write_json(folder / CONFIG, {"format": FORMAT, "selfsup3d": __version__, "config": dict(config)})


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, from any device and memory layout.

    Raises:
        OSError: the file cannot be written whole (a full disk).
    """
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        # safetensors refuses tensors that share memory, as tied weights do.
        plain[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    try:
        save_file(plain, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(None, f"cannot be written: {error}", str(path)) from error


# ------------------------------------------------------------------------------------------------------------- reading


def from_pretrained(
    path: str | Path,
    build: Callable[[dict[str, Any], int], Module],
    device: torch.device | str = "cpu",
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict,
) -> Module:
    """The network of a released model, a run or a checkpoint, in evaluation mode.

    Args:
        path: see `locate_model`.
        build: makes the untrained network from the config and the number of its format.
        rename: brings tensors of older formats to the names of today.

    Raises:
        InputError: nothing there; a damaged file; weights of another architecture; written by a newer version.
    """
    folder = locate_model(path)
    system = build(*read_config(folder))
    fill(system, rename(read_tensors(folder / WEIGHTS)), folder / WEIGHTS)
    return system.to(device).eval()


def read_config(folder: Path) -> tuple[dict[str, Any], int]:
    """What stands under "config" in a model's config.json, and the number of its format.

    Raises:
        InputError: damaged, or written by a newer version.
    """
    path = folder / CONFIG
    try:
        header = parse_json(read_within(path, DOCUMENT).decode())
        version, config = header["format"], header["config"]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path}: damaged, or not the config of a model") from None
    if not isinstance(version, int) or not isinstance(config, dict):
        raise InputError(f"{path}: damaged, or not the config of a model")
    if version > FORMAT:
        raise InputError(
            f"{path}: format {version}, written by selfsup3d {header.get('selfsup3d', '?')}; "
            f"this is {__version__}, which reads up to format {FORMAT}: upgrade selfsup3d"
        )
    return config, version


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU.

    Raises:
        InputError: missing, truncated or no safetensors.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged or truncated ({error}); copy or download it again") from None


def fill(system: nn.Module, tensors: Mapping[str, Tensor], source: Path, fresh: Sequence[str] = ()) -> None:
    """Load tensors into a network that must have exactly these names and shapes; dtypes are converted.

    Args:
        fresh: names or patterns (encoder.head.*) of those that the network keeps as they are.

    Raises:
        InputError: another architecture, the first differences are named; or a pattern that fits no tensor; or
            tensors with NaN or Inf.
    """
    refuse_nonfinite(tensors, source)
    own = system.state_dict()
    for pattern in fresh:
        kept = fnmatch.filter(own, pattern)
        if not kept:
            raise InputError(f"fresh: no tensor is called {pattern!r}; the first are {', '.join(list(own)[:3])}")
        tensors = {**tensors, **{name: own[name] for name in kept}}
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    differences = [
        f"{title} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for title, names in (("missing", missing), ("unexpected", unexpected), ("other shapes:", shapes))
        if names
    ]
    if differences:
        raise InputError(f"{source}: of another architecture than its config or yours: {'; '.join(differences)}")
    system.load_state_dict(dict(tensors))


def nonfinite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or Inf."""
    return [name for name, value in tensors.items() if value.is_floating_point() and not bool(value.isfinite().all())]


def refuse_nonfinite(tensors: Mapping[str, Tensor], source: Path) -> None:
    """Nothing, if all tensors are finite.

    Raises:
        InputError: one is not; no prediction could come of it.
    """
    bad = nonfinite(tensors)
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise InputError(
            f"{source}: {bad[0]}{more} of {len(tensors)} tensors hold NaN or Inf; the training failed, use an earlier checkpoint"
        )
