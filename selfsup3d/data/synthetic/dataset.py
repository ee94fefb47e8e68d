"""synth-v1 with its ground truth: evaluation frames, and labelled training samples for the supervised variants.

The unsupervised path never comes here: it reads the clips' store through `clip_pairs`, which holds no truth.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.priors.pose_prior import PosePrior
from selfsup3d.data.saliency.saliency import mask_iou
from selfsup3d.data.sampling.augmentation import Augmentation, augment
from selfsup3d.data.sampling.clip_pairs import CameraPrior, PairSource
from selfsup3d.data.sampling.clip_store import ClipStore
from selfsup3d.data.synthetic.cache import SplitFolders, folders
from selfsup3d.data.synthetic.spec import Preset, preset_named
from selfsup3d.errors import FatalInputError, InputError
from selfsup3d.io.limits import open_npz
from selfsup3d.io.stored_arrays import file_digest, refuse_limit
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.batch import Batch, Camera
from selfsup3d.structures.random import RandomStreams

__all__ = ["SyntheticTruth", "open_clips"]

_OPEN_CLIPS = 512
"""Truth files kept in memory (about 1.5 MB each at 64 px)."""


def open_clips(
    root: str | Path | None = None, preset: str | Preset = "quickstart", size: int = 64, split: str = "train"
) -> ClipStore:
    """The rendered videos of a split, as any other prepared clips: what the unsupervised path reads.

    Raises:
        InputError: not rendered yet, or cut off.
    """
    return ClipStore(_existing(root, preset, size, split).clips)


def _existing(root: str | Path | None, preset: str | Preset, size: int, split: str) -> SplitFolders:
    preset = preset_named(preset) if isinstance(preset, str) else preset
    if not preset.clips(split):
        raise InputError(f"synthetic preset {preset.name!r} has no {split} clips; use the preset v1")
    where = folders(root, preset, size, split)
    if not (where.clips / "store.json").is_file():
        raise InputError(
            f"{where.clips}: synth-v1 {preset.name} {split} at {size} px is not rendered (or was cut off);"
            " call selfsup3d.data.synthetic.cache.prepare"
        )
    return where


class SyntheticTruth:
    """Frames of a split with everything that is known about them.

    Args:
        root, preset, size, split: of a rendered cache, see `cache.prepare`.
        augmentation: changes to the samples of `batch`; None = none.
        name: of the dataset, in results.
        pose_prior, camera_prior: of the unpaired poses in training samples, see `PairSource`.

    Raises:
        InputError: not rendered, or the truth was deleted.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        preset: str | Preset = "quickstart",
        size: int = 64,
        split: str = "val",
        augmentation: Augmentation | None = None,
        name: str = "synthetic",
        pose_prior: PosePrior | None = None,
        camera_prior: CameraPrior | None = None,
    ) -> None:
        where = _existing(root, preset, size, split)
        self.name, self.split = name, split
        self._truth = where.truth
        self._store = ClipStore(where.clips)
        self.pairs = PairSource(self._store, pose_prior, camera_prior, name=name)
        self.image_size = self.pairs.image_size
        self._augmentation = augmentation
        missing = [n for n in self._store.names if not self._file(n).is_file()]
        if missing:
            raise InputError(
                f"{self._file(missing[0])}: ground truth is missing; the next training run or evaluation renders it again"
            )
        self._digests = {clip.name: clip.meta.get("truth_sha256") for clip in self._store}
        self._load = lru_cache(maxsize=_OPEN_CLIPS)(self._read)

    def __len__(self) -> int:
        """Frames, each once."""
        return len(self.pairs)

    def _file(self, clip: str) -> Path:
        return self._truth / f"{clip}.npz"

    def _read(self, clip: str) -> dict[str, np.ndarray]:
        path, known = self._file(clip), self._digests.get(clip)
        try:
            if known is not None and file_digest(path) != known:
                raise FatalInputError(f"{path}: was altered after it was rendered; delete it and render again")
            with open_npz(path) as stored:
                return {name: stored[name] for name in stored.files if name != "depth"}
        except OSError as error:
            refuse_limit(error)
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); render again") from None
        except InputError:
            raise
        except Exception as error:  # whatever numpy raises for a damaged file
            raise InputError(f"{path}: damaged ground truth ({error}); delete it and render again") from error

    def frames(self, indices: np.ndarray) -> Batch:
        """Evaluation frames with ground truth; outside train also the second view and the transfer target.

        Args:
            indices: (B,) in [0, len(self)).
        """
        return self._with_truth(self.pairs.frames(indices), views=self.split != "train")

    def batch(self, streams: RandomStreams) -> Batch:
        """Labelled training samples: pairs as of `clip_pairs`, with joints, labels and bone lengths of the target."""
        batch = self._with_truth(self.pairs.batch(streams), views=False)
        if self._augmentation is None:
            return batch
        # Unpaired poses belong to no image; their camera keeps the pinhole that it was drawn with.
        unpaired = {name: getattr(batch, name) for name in ("unpaired_camera", "unpaired_background")}
        plain = replace(batch, unpaired_camera=None, unpaired_background=None)
        return replace(augment(plain, streams, self._augmentation), **unpaired)

    def depth(self, clip: str) -> np.ndarray:
        """(T, S, S) float16 metres of a clip's frames, background included."""
        with np.load(self._file(clip), allow_pickle=False) as stored:
            return stored["depth"]

    def saliency_iou(self) -> float:
        """Mean over clips of the IoU between the real saliency and the renderer's mask: reported beside results."""
        background = default_puppet().background
        values = [
            mask_iou(clip.saliency[:] > 127, self._load(clip.name)["labels"] != background) for clip in self._store
        ]
        return float(np.mean(values))

    def _with_truth(self, batch: Batch, views: bool) -> Batch:
        where = [(str(m["clip"]), int(m["frame"])) for m in batch.meta]

        def gather(name: str) -> Tensor:
            return torch.from_numpy(np.stack([self._load(clip)[name][frame] for clip, frame in where]))

        fields: dict[str, Any] = {
            "joints_3d": gather("joints_3d"),
            "joints_2d": gather("joints_2d"),
            "confidence": torch.ones(len(where), 17),
            "part_labels": gather("labels").long(),
            "bone_lengths": gather("bone_lengths"),
        }
        if views:
            fields |= {
                "second_view": _image(gather("second")),
                "second_view_camera": Camera(
                    gather("second_rotation"), gather("second_translation"), gather("second_K")
                ),
                "second_view_joints_3d": gather("second_joints_3d"),
                "second_view_labels": gather("second_labels").long(),
                "transfer": _image(gather("transfer")),
                "transfer_joints_3d": gather("transfer_joints_3d"),
                "transfer_labels": gather("transfer_labels").long(),
            }
        return replace(batch, **fields)


def _image(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [0, 1]."""
    return images.permute(0, 3, 1, 2).contiguous().float().mul_(1.0 / 255.0)
