"""What synth-v1 is made of: integers. Every person, background, camera and motion is a row of 16-bit codes.

Codes are raw outputs of numpy's Philox, whose stream is fixed for ever by (key, counter), so the same specification
arises on every machine and numpy version; images made from it may differ by float rounding. A key names
the namespace (train, val, test, prior ...), the kind of thing and its index, so splits can share nothing, and a small
preset is the beginning of a large one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from selfsup3d.errors import InputError

__all__ = ["NAMESPACES", "PRESETS", "RENDERING", "Code", "Preset", "clip_length", "code", "preset_named", "spec_hash"]

VERSION = 1
"""Of the specification; part of every Philox key."""

RENDERING = 4
"""Of what is made of the integers (shapes, motion, drawing). Raise it when images or poses of one specification change:
caches are then made anew."""

NAMESPACES = {"train": 1, "val": 2, "test": 3, "prior": 4, "mocap-val": 5, "mocap-test": 6, "people": 7}
KINDS = {"person": 1, "background": 2, "camera": 3, "motion": 4, "pairing": 5}

CODE_LENGTH = 512

Choice = TypeVar("Choice")


class Code:
    """Reads a row of 16-bit integers from the front, turning them into numbers and choices.

    Args:
        integers: (N,) uint16.
    """

    def __init__(self, integers: np.ndarray) -> None:
        self._integers = integers.tolist()
        self._next = 0

    def unit(self) -> float:
        """A number in [0, 1): the next integer / 65536."""
        if self._next >= len(self._integers):
            raise ValueError(f"a code of {len(self._integers)} integers is used up")
        value = self._integers[self._next]
        self._next += 1
        return value / 65536.0

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def integer(self, high: int) -> int:
        """An integer in [0, high)."""
        return int(self.unit() * high)

    def pick(self, options: Sequence[Choice], weights: Sequence[float] | None = None) -> Choice:
        """One of the options, evenly or by weights."""
        if weights is None:
            return options[self.integer(len(options))]
        edges = np.cumsum(weights)
        return options[min(int(np.searchsorted(edges, self.unit() * edges[-1], side="right")), len(options) - 1)]

    def uniforms(self, count: int, low: float, high: float) -> np.ndarray:
        """(count,) numbers in [low, high)."""
        return np.array([self.uniform(low, high) for _ in range(count)])


def code(namespace: str, kind: str, index: int) -> np.ndarray:
    """(CODE_LENGTH,) uint16: the integers of one thing, e.g. person 3 of the training split.

    Args:
        namespace: a key of `NAMESPACES`.
        kind: a key of `KINDS`.
        index: of the thing, >= 0.
    """
    key = np.array([VERSION << 32 | NAMESPACES[namespace] << 8 | KINDS[kind], index], dtype=np.uint64)
    return (np.random.Philox(key=key).random_raw(CODE_LENGTH) >> np.uint64(48)).astype(np.uint16)


@dataclass(frozen=True)
class Preset:
    """How much of synth-v1 is rendered.

    Attributes:
        name: of the preset.
        train, val, test: number of clips.
        shortest, longest: frames of a clip.
        moving_cameras: share of clips whose camera pans and orbits.
        mocap: npz whose motions the people make, in place of procedural ones (see `captured.mocap_preset`).
    """

    name: str
    train: int
    val: int
    test: int
    shortest: int = 20
    longest: int = 36
    moving_cameras: float = 0.0
    mocap: Path | None = None

    def namespace(self, split: str) -> str:
        """Whose codes the clips of a split are made of."""
        return split if self.mocap is None else f"mocap-{split}"

    def clips(self, split: str) -> int:
        """Number of clips of a split."""
        if split not in ("train", "val", "test"):
            raise InputError(f"synthetic split {split!r}: expected train, val or test")
        return int(getattr(self, split))


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("tiny-test", train=3, val=2, test=2, shortest=6, longest=9),
        Preset("quickstart", train=120, val=20, test=0),
        Preset("v1", train=400, val=24, test=40),
        Preset("v1-moving", train=400, val=24, test=40, moving_cameras=0.3),
    )
}
"""`quickstart` is the beginning of `v1`, clip for clip; `v1-moving` lets some of the cameras of `v1` move."""


def preset_named(name: str) -> Preset:
    """The preset of this name.

    Raises:
        InputError: no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"synthetic preset {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def clip_length(preset: Preset, split: str, clip: int) -> int:
    """Frames of a procedural clip, read from its pairing code."""
    return preset.shortest + Code(code(split, "pairing", clip)).integer(preset.longest - preset.shortest + 1)


@lru_cache(maxsize=32)
def spec_hash(preset: Preset) -> str:
    """SHA-256 (hex) over the preset and every integer of every clip of its splits, or the motion-capture file's bytes.

    Raises:
        InputError: the motion-capture file cannot be read.
    """
    fields = asdict(preset)
    if preset.mocap is not None:
        try:
            fields["mocap"] = hashlib.sha256(preset.mocap.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{preset.mocap}: cannot be read ({error}); expected a motion-capture npz") from error
    digest = hashlib.sha256(json.dumps([VERSION, fields], sort_keys=True).encode())
    for split in ("train", "val", "test"):
        for clip in range(preset.clips(split)):
            for kind in KINDS:
                digest.update(code(preset.namespace(split), kind, clip).astype("<u2").tobytes())
    return digest.hexdigest()
