"""The frames that `launch/evaluate.py --dataset NAME` measures a trained system on, and the labelled training frames
that its baselines are made from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from selfsup3d.batch import Batch
from selfsup3d.config import Config, SyntheticConfig, VideosConfig
from selfsup3d.config_file import nearest
from selfsup3d.data.synthetic.cache import folders, prepare
from selfsup3d.data.synthetic.captured import mocap_preset
from selfsup3d.data.synthetic.dataset import SyntheticTruth
from selfsup3d.data.synthetic.scene import make_scene
from selfsup3d.data.synthetic.spec import Preset, clip_length, preset_named
from selfsup3d.errors import InputError
from selfsup3d.evaluation.baselines import FrameSource
from selfsup3d.training.build import build_source, evaluated

__all__ = ["DATASETS", "EvaluationData", "ScenePoses", "open_evaluation_data"]


@dataclass(frozen=True)
class EvaluationData:
    """Frames to measure on.

    Attributes:
        name: of the dataset.
        split: of it.
        source: the frames.
        labelled: training frames with labels, for the baselines; None = `reasons` says why.
        reasons: baseline -> why it is missing.
    """

    name: str
    split: str
    source: FrameSource
    labelled: FrameSource | None
    reasons: dict[str, str]


@dataclass(frozen=True)
class _Request:
    config: Config
    split: str
    root: Path | None
    preset: str | None

    @property
    def size(self) -> int:
        """Picture side that the system was trained at."""
        return int(getattr(evaluated(self.config), "size", 64))


def open_evaluation_data(
    config: Config,
    dataset: str | None = None,
    split: str | None = None,
    root: Path | None = None,
    preset: str | None = None,
) -> EvaluationData:
    """Open a dataset for a trained system; what is not prepared yet (rendered, cropped) is prepared.

    Args:
        config: of the system; its picture size is used, and its own data where an argument is None.
        dataset: a key of `DATASETS`; None = what the system was trained on.
        split: None = the dataset's usual one.
        root: where the dataset lies (synthetic: its cache; synth-mocap: the motion-capture npz).
        preset: of the synthetic dataset.

    Raises:
        InputError: unknown dataset or split, or the data cannot be used.
    """
    name = dataset or evaluated(config).kind
    if name not in DATASETS:
        raise InputError(f"--dataset {name}: no such dataset{nearest(name, DATASETS)} (known: {', '.join(DATASETS)})")
    opener, splits = DATASETS[name]
    split = split or splits[0]
    if split not in splits:
        raise InputError(f"--split {split}: {name} has the splits {', '.join(splits)}")
    return opener(_Request(config, split, root, preset))


def _synthetic(request: _Request) -> EvaluationData:
    trained = evaluated(request.config)
    own = trained if isinstance(trained, SyntheticConfig) else SyntheticConfig()
    root = request.root or own.root
    preset = preset_named(request.preset or own.preset)
    if not preset.clips(request.split) and request.preset is None:
        preset = preset_named("v1")  # quickstart has no test clips; it is the beginning of v1
    prepare(root, preset, request.size, (request.split,))
    source = SyntheticTruth(root, preset, request.size, request.split)
    labelled, reasons = _training_frames(root, preset, request.size)
    return EvaluationData("synthetic", request.split, source, labelled, reasons)


def _synth_mocap(request: _Request) -> EvaluationData:
    place = request.root
    if place is None:
        raise InputError("--data.root is missing: synth-mocap needs the npz of motion capture, or its folder")
    preset = mocap_preset(place / "mocap.npz" if place.is_dir() else place)
    trained = evaluated(request.config)
    cache = trained.root if isinstance(trained, SyntheticConfig) else None
    prepare(cache, preset, request.size, (request.split,))
    source = SyntheticTruth(cache, preset, request.size, request.split, name="synth-mocap")
    # The guess that needs no picture is that of who was trained on synth-v1.
    own = trained.preset if isinstance(trained, SyntheticConfig) else "quickstart"
    labelled, reasons = _training_frames(cache, preset_named(own), request.size)
    return EvaluationData("synth-mocap", request.split, source, labelled, reasons)


def _videos(request: _Request) -> EvaluationData:
    trained = evaluated(request.config)
    own = trained if isinstance(trained, VideosConfig) else VideosConfig(size=request.size)  # type: ignore[arg-type]
    data = own if request.root is None else own.model_copy(update={"root": request.root})
    asks_no_labels = {"supervision": "none", "bone_lengths": "fixed"}  # videos have none, and are refused otherwise
    system = request.config.system.model_copy(update=asks_no_labels)
    source = build_source(request.config.model_copy(update={"data": data, "system": system}), "val")
    reason = dict.fromkeys(("mean_pose", "nearest_neighbour", "bone_floor"), "videos have no labels")
    return EvaluationData("videos", request.split, source, None, reason)


DATASETS: dict[str, tuple[Callable[[_Request], EvaluationData], tuple[str, ...]]] = {
    "synthetic": (_synthetic, ("val", "test", "train")),
    "synth-mocap": (_synth_mocap, ("test", "val")),
    "videos": (_videos, ("all",)),
}
"""Name -> how it is opened, and its splits, the usual one first."""


def _training_frames(root: Path | None, preset: Preset, size: int) -> tuple[FrameSource, dict[str, str]]:
    """Training frames of synth-v1: rendered ones where they lie in the cache, else their poses alone."""
    if (folders(root, preset, size, "train").clips / "store.json").is_file():
        return SyntheticTruth(root, preset, size, "train"), {}
    return ScenePoses(preset, "train"), {"nearest_neighbour": "the training pictures are not rendered here"}


class ScenePoses:
    """The poses of a split of synth-v1, camera frame, without their pictures: nothing is rendered.

    Args:
        preset, split: of the benchmark. Frames come in the same order as those of `SyntheticTruth`.
    """

    name = "synthetic"

    def __init__(self, preset: Preset, split: str) -> None:
        self._preset, self._split = preset, split
        lengths = [clip_length(preset, split, clip) for clip in range(preset.clips(split))]
        self._first = np.concatenate([[0], np.cumsum(lengths)])
        self._joints = lru_cache(maxsize=8)(self._make)

    def __len__(self) -> int:
        return int(self._first[-1])

    def _make(self, clip: int) -> np.ndarray:
        scene = make_scene(self._preset, self._split, clip, 64)  # the size changes K, not where joints are
        return scene.camera.view(scene.joints).astype(np.float32)

    def frames(self, indices: np.ndarray) -> Batch:
        """Poses of these frames."""
        indices = np.asarray(indices, np.int64)
        clips = np.searchsorted(self._first, indices, side="right") - 1
        rows = indices - self._first[clips]
        joints = [self._joints(int(clip))[row] for clip, row in zip(clips, rows, strict=True)]
        return Batch(index=torch.from_numpy(indices), joints_3d=torch.from_numpy(np.stack(joints)))
