"""Everything measured on single frames, collected batch by batch and over processes, each frame exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsup3d.errors import InputError
from selfsup3d.io.files import atomic_path
from selfsup3d.io.limits import open_npz

__all__ = ["Records", "load_frames", "save_frames"]


class Records:
    """Rows of named values, one row a frame.

    A value that some batches have and others lack (a mixture of datasets) is NaN, or "" for texts, in the rows
    that lack it.

    Attributes:
        values: name -> (N, ...) array; "index" is always there.
        reasons: name of a metric -> why it is missing.
        unit: of the predicted poses.
    """

    def __init__(self, values: dict[str, np.ndarray], reasons: dict[str, str] | None = None, unit: str = "m") -> None:
        self.values, self.reasons, self.unit = values, reasons or {}, unit

    def __len__(self) -> int:
        return len(self.values["index"])

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def tensor(self, name: str) -> Tensor:
        """A numeric value as a float64 tensor (N, ...)."""
        return torch.from_numpy(self.values[name].astype(np.float64))

    def where(self, keep: np.ndarray) -> Records:
        """The rows marked in `keep` (N,) bool."""
        return Records({name: value[keep] for name, value in self.values.items()}, self.reasons, self.unit)

    @classmethod
    def joined(cls, pieces: Iterable[Records]) -> Records:
        """All rows of all pieces in order of their index, each index once.

        Raises:
            ValueError: nothing to join, or a value whose shape differs between pieces.
        """
        pieces = [piece for piece in pieces if len(piece)]
        if not pieces:
            raise ValueError("no frame was evaluated")
        names = list(dict.fromkeys(name for piece in pieces for name in piece.values))
        values = {name: np.concatenate(_filled(name, pieces)) for name in names}
        _, first = np.unique(values["index"], return_index=True)
        reasons: dict[str, str] = {}
        for piece in pieces:
            reasons |= piece.reasons
        return cls({name: value[first] for name, value in values.items()}, reasons, pieces[0].unit)


def _filled(name: str, pieces: Sequence[Records]) -> list[np.ndarray]:
    """The value of every piece, filled in where a piece lacks it."""
    known = next(piece.values[name] for piece in pieces if name in piece.values)
    out = []
    for piece in pieces:
        value = piece.values.get(name)
        if value is None:
            text = known.dtype.kind in "US"
            value = np.full((len(piece), *known.shape[1:]), "" if text else np.nan, known.dtype if text else np.float32)
        elif value.shape[1:] != known.shape[1:]:
            raise ValueError(f"{name} has shape {value.shape[1:]} in some batches and {known.shape[1:]} in others")
        out.append(value)
    return out


def save_frames(path: str | Path, frames: Mapping[str, np.ndarray]) -> None:
    """Per-frame values for later comparison (`selfsup3d evaluate --compare`), as an npz without pickled objects.

    Args:
        path: ends in .npz.
        frames: as of `evaluator.evaluate_frames`.
    """
    with atomic_path(Path(path).with_suffix(".npz")) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **frames)


def load_frames(path: str | Path) -> dict[str, np.ndarray]:
    """Read what `save_frames` wrote.

    Raises:
        InputError: not such a file.
    """
    try:
        with open_npz(path) as data:
            values = {name: data[name] for name in data.files}
        strange = [name for name, value in values.items() if not isinstance(value, np.ndarray)]
        if strange:  # numpy gives the bytes of what it cannot read
            raise ValueError(f"{strange[0]} is no array")
    except Exception as error:  # whatever numpy raises for a damaged file, or for one array where several are expected
        raise InputError(f"{path}: no per-frame values can be read ({error}); write them with --per-frame") from None
    if "index" not in values:
        raise InputError(f"{path}: holds no per-frame values (no `index`); write them with --per-frame")
    return values
