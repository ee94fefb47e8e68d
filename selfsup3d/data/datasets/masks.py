"""Person masks that a dataset brings along: videos, images, or Human3.6M's MATLAB files."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from selfsup3d.data.datasets.dataset_tree import need_package
from selfsup3d.data.datasets.frame_index import Take
from selfsup3d.errors import InputError
from selfsup3d.io.crops import Frames, Reduced, warp_view

__all__ = ["GivenMasks"]


class GivenMasks:
    """Masks below a dataset's root; a few files stay open.

    Args:
        root: of the dataset.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._frames = Frames(root)
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._process = os.getpid()

    def crop(self, take: Take, frame: int, view: np.ndarray, size: int) -> np.ndarray:
        """(size, size) uint8 of a view of one frame, 255 = person; anything that is not black counts as person.

        Args:
            frame: number in the take's images.

        Raises:
            InputError: the file is absent or damaged, or has no such frame.
        """
        frame = frame + take.mask_shift
        if take.mask.endswith(".mat"):
            mask = self._matlab(take, frame)
        else:
            mask = self._frames.read(take.mask, frame, take.width, take.height).image
        scale = (mask.shape[1] / take.width, mask.shape[0] / take.height)
        person = (mask.max(-1) > 127).astype(np.uint8) * 255 if mask.ndim == 3 else mask
        inside = np.repeat(255 - person[..., None], 3, -1)  # what lies outside the image is not the person
        return 255 - _grey_border(warp_view(Reduced(inside, scale), view, size))

    def _matlab(self, take: Take, frame: int) -> np.ndarray:
        """(H, W) uint8 of `Masks`, which HDF5 shows as (T, W, H)."""
        path = self.root / take.mask
        try:
            import h5py
        except ImportError:
            raise need_package("h5py", path) from None
        if self._process != os.getpid():  # a forked worker must not share its parent's file
            self._open, self._process = OrderedDict(), os.getpid()
        try:
            if take.mask not in self._open:
                self._open[take.mask] = h5py.File(path, "r")
                if len(self._open) > 8:
                    self._open.popitem(last=False)[1].close()
            return (np.asarray(self._open[take.mask]["Masks"][frame]).T > 0).astype(np.uint8) * 255
        except (OSError, KeyError, ValueError, IndexError, RuntimeError) as error:
            raise InputError(f"{path}: frame {frame} of its masks cannot be read ({error})") from error

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": OrderedDict()}  # open files cannot move


def _grey_border(inverted: np.ndarray) -> np.ndarray:
    """The first channel, the grey that stands for "outside the image" counted as background."""
    channel = inverted[..., 0]
    return np.where(channel == 127, 255, channel).astype(np.uint8)
