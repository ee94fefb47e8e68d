"""The frames that `selfsup3d evaluate --dataset NAME` measures a trained system on, and the labelled training frames
that its baselines are made from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from selfsup3d.builders.lifters import projected_poses
from selfsup3d.builders.mixtures import of_dataset
from selfsup3d.builders.systems import build_source, evaluated, people_source
from selfsup3d.config.choices import EVALUATED, Annotation, JointSource, Keypoints
from selfsup3d.config.datasets import (
    H36mConfig,
    IndexedConfig,
    PeopleConfig,
    ShardsConfig,
    SyntheticConfig,
    VideosConfig,
)
from selfsup3d.config.load import nearest
from selfsup3d.config.projected import ProjectedConfig
from selfsup3d.config.run import Config
from selfsup3d.data.datasets.dataset_tree import Tree
from selfsup3d.data.datasets.frame_index import FrameIndex, load_index, select_split, thin_out, with_images
from selfsup3d.data.datasets.h36m.layouts import find_h36m
from selfsup3d.data.datasets.index_build import open_index
from selfsup3d.data.datasets.mpi_inf_3dhp import find_mpi_inf_3dhp
from selfsup3d.data.datasets.threedpw import find_threedpw
from selfsup3d.data.sampling.dataset import Frames
from selfsup3d.data.sampling.detector_noise import DETECTOR_CONDITIONS
from selfsup3d.data.sampling.indexed_frames import IndexedFrames
from selfsup3d.data.sampling.indexed_poses import IndexedPoses
from selfsup3d.data.sampling.keypoint_noise import CONDITIONS
from selfsup3d.data.synthetic.cache import folders, prepare
from selfsup3d.data.synthetic.captured import mocap_preset
from selfsup3d.data.synthetic.dataset import SyntheticTruth
from selfsup3d.data.synthetic.people_images import PeopleFrames
from selfsup3d.data.synthetic.scene import make_scene
from selfsup3d.data.synthetic.spec import Preset, clip_length, preset_named
from selfsup3d.errors import InputError
from selfsup3d.structures.batch import Batch

__all__ = ["DATASETS", "DataOptions", "EvaluationData", "ScenePoses", "open_evaluation_data"]


@dataclass(frozen=True)
class DataOptions:
    """What is asked for; None = the dataset's usual, or what the system was trained with.

    Attributes:
        dataset: a key of `EVALUATED`; None = what the system was trained on, of a mixture the first.
        split: of it.
        root: where it lies (synthetic: its cache; synth-mocap, projected, people: the motion-capture npz; real datasets: their
            folder, or an index that `selfsup3d prepare-data` wrote).
        preset: of the synthetic dataset; of projected poses, the condition of their keypoints (clean, noisy, missing).
        every: keep frames whose number is a multiple of this (Human3.6M's "64-frame subsampling": 64).
        annotation: MPI-INF-3DHP's "metric" or "universal" joints.
        joints: 3DPW's "smpl_24" or "h36m_14", the latter from the npz `regressed`.
        keypoints: 2D joints for lifters: "projected" from the truth, or the dataset's "detected" ones.
    """

    dataset: str | None = None
    split: str | None = None
    root: Path | None = None
    preset: str | None = None
    every: int = 1
    annotation: Annotation = "metric"
    joints: JointSource = "smpl_24"
    regressed: Path | None = None
    keypoints: Keypoints = "projected"


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
    source: Frames
    labelled: Frames | None = None
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Request:
    config: Config
    needs: Collection[str]
    name: str
    split: str
    options: DataOptions

    @property
    def size(self) -> int:
        """Image side that the system was trained at."""
        return int(getattr(evaluated(self.config), "size", 64))


def open_evaluation_data(config: Config, needs: Collection[str], options: DataOptions) -> EvaluationData:
    """Open a dataset for a trained system; what is not prepared yet (rendered, cropped, indexed) is prepared.

    Args:
        config: of the system; its image size is used, and its own data where an option is None.
        needs: fields of the batch that its `predict` needs: images are read only where "target" is among them.
        options: what is asked for.

    Raises:
        InputError: unknown dataset or split, or the data cannot be used.
    """
    config = of_dataset(config, options.dataset)
    name = options.dataset or evaluated(config).kind
    if name not in EVALUATED:
        raise InputError(f"--dataset {name}: no such dataset{nearest(name, EVALUATED)} (known: {', '.join(EVALUATED)})")
    splits = EVALUATED[name]
    split = options.split or splits[0]
    if split not in splits:
        raise InputError(f"--split {split}: {name} has the splits {', '.join(splits)}")
    return DATASETS[name](_Request(config, needs, name, split, options))


# ------------------------------------------------------------------------------------------------------------ synthetic


def _synthetic(request: _Request) -> EvaluationData:
    trained = evaluated(request.config)
    own = trained if isinstance(trained, SyntheticConfig) else SyntheticConfig()
    root = request.options.root or own.root
    preset = preset_named(request.options.preset or own.preset)
    if not preset.clips(request.split) and request.options.preset is None:
        preset = preset_named("v1")  # quickstart has no test clips; it is the beginning of v1
    prepare(root, preset, request.size, (request.split,))
    source = SyntheticTruth(root, preset, request.size, request.split)
    labelled, reasons = _training_frames(root, preset, request.size)
    return EvaluationData(request.name, request.split, source, labelled, reasons)


def _synth_mocap(request: _Request) -> EvaluationData:
    place = _needed_root(request, "the npz of motion capture, or its folder")
    preset = mocap_preset(place / "mocap.npz" if place.is_dir() else place)
    trained = evaluated(request.config)
    cache = trained.root if isinstance(trained, SyntheticConfig) else None
    prepare(cache, preset, request.size, (request.split,))
    source = SyntheticTruth(cache, preset, request.size, request.split, name=request.name)
    return EvaluationData(request.name, request.split, source, *_trained_on(request))


def _trained_on(request: _Request) -> tuple[Frames, dict[str, str]]:
    """For datasets that nothing is trained on: the guess is that of who was trained on synth-v1."""
    trained = evaluated(request.config)
    own = trained if isinstance(trained, SyntheticConfig) else SyntheticConfig()
    return _training_frames(own.root, preset_named(own.preset), request.size)


def _training_frames(root: Path | None, preset: Preset, size: int) -> tuple[Frames, dict[str, str]]:
    """Training frames of synth-v1: rendered ones where they lie in the cache, else their poses alone."""
    if (folders(root, preset, size, "train").clips / "store.json").is_file():
        return SyntheticTruth(root, preset, size, "train"), {}
    return ScenePoses(preset, "train"), {"nearest_neighbour": "the training images are not rendered here"}


class ScenePoses:
    """The poses of a split of synth-v1, camera frame, without their images: nothing is rendered.

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


_PEOPLE = 1_000
"""Rendered people of `--dataset people`."""


def _people(request: _Request) -> EvaluationData:
    trained, root = evaluated(request.config), request.options.root
    own = trained if isinstance(trained, PeopleConfig) else PeopleConfig()
    changes = {"size": request.size, "pool": _PEOPLE, "reuse": 1.0, "prior": root or own.prior}
    source = PeopleFrames(people_source(own.model_copy(update=changes), "val"), _PEOPLE)
    reasons = dict.fromkeys(("mean_pose", "nearest_neighbour"), "there are no labelled training frames")
    return EvaluationData(request.name, request.split, source, None, reasons)


def _projected(request: _Request) -> EvaluationData:
    trained = evaluated(request.config)
    own = trained if isinstance(trained, ProjectedConfig) else ProjectedConfig()
    root, condition = request.options.root, request.options.preset
    settings = own if root is None else own.model_copy(update={"mocap": root})
    conditions = CONDITIONS | DETECTOR_CONDITIONS
    if condition is not None and condition not in conditions:
        raise InputError(f"--data.preset {condition}: projected poses come {', '.join(conditions)}")
    keypoints = None if condition is None else conditions[condition]
    source = projected_poses(settings, "test" if request.split == "test" else "val", keypoints)
    return EvaluationData(source.name, request.split, source, projected_poses(settings, "train", keypoints))


# ----------------------------------------------------------------------------------------------------------------- real


def _videos(request: _Request) -> EvaluationData:
    trained = evaluated(request.config)
    own = trained if isinstance(trained, VideosConfig) else VideosConfig(size=request.size)
    root = request.options.root
    data = own if root is None else own.model_copy(update={"root": root})
    asks_no_labels = {"supervision": "none", "bone_lengths": "fixed"}  # videos have none, and are refused otherwise
    system = request.config.system.model_copy(update=asks_no_labels)
    source = build_source(request.config.model_copy(update={"data": data, "system": system}), "val")
    reasons = dict.fromkeys(("mean_pose", "mean_canonical_pose", "nearest_neighbour", "bone_floor"), "no true poses")
    return EvaluationData(request.name, request.split, source, None, reasons)


def _shards(request: _Request) -> EvaluationData:
    trained = evaluated(request.config)
    own = trained if isinstance(trained, ShardsConfig) else ShardsConfig(size=request.size)
    root = request.options.root
    data = own if root is None else own.model_copy(update={"root": root})
    source = build_source(request.config.model_copy(update={"data": data}), "val")
    reason = "training crops are not read"
    return EvaluationData(source.name, request.split, source, None, {"mean_pose": reason, "nearest_neighbour": reason})


def _indexed(request: _Request) -> EvaluationData:
    index = _open_index(request)
    chosen = thin_out(select_split(index, request.split), request.options.every)
    keypoints, trained = request.options.keypoints, evaluated(request.config)
    source: Frames
    if "target" in request.needs:
        crop = trained.crop if isinstance(trained, IndexedConfig) else "box"
        source = IndexedFrames(with_images(chosen), request.size, keypoints=keypoints, crop=crop)
    else:
        frames = trained.frames if isinstance(trained, ProjectedConfig | IndexedConfig) else 1
        source = IndexedPoses(chosen, keypoints=keypoints, frames_per_sample=frames)
    unread = {"nearest_neighbour": "its training images are not read"}
    if request.name == "3dpw":  # never trained on
        labelled, _ = _trained_on(request)
        return EvaluationData(request.name, request.split, source, labelled, unread)
    try:
        return EvaluationData(request.name, request.split, source, IndexedPoses(select_split(index, "train")), unread)
    except InputError:
        return EvaluationData(
            request.name, request.split, source, None, {**unread, "mean_pose": "its training split is not here"}
        )


def _open_index(request: _Request) -> FrameIndex:
    root = _needed_root(request, "the dataset's folder, or an index that selfsup3d prepare-data wrote")
    if root.suffix == ".npz" and not root.name.startswith("data_3d"):  # data_3d_h36m.npz is the dataset itself
        return load_index(root)
    options, trained = request.options, evaluated(request.config)
    tree: Tree
    settings: dict[str, str] = {}
    if request.name == "h36m":
        own = trained if isinstance(trained, H36mConfig) else H36mConfig()
        tree = find_h36m(root, cameras=own.cameras, detections=own.detections)
        settings = {"cameras": str(own.cameras), "detections": str(own.detections)}
    elif request.name == "mpi_inf_3dhp":
        tree, settings = find_mpi_inf_3dhp(root, annotation=options.annotation), {"annotation": options.annotation}
    else:
        tree = find_threedpw(root, joints=options.joints, regressed=options.regressed)
        settings = {"joints": options.joints, "regressed": str(options.regressed)}
    return open_index(tree, settings=settings)


def _needed_root(request: _Request, what: str) -> Path:
    trained = evaluated(request.config)
    if request.options.root is not None:
        return request.options.root
    if isinstance(trained, IndexedConfig) and request.name == trained.kind and trained.root is not None:
        return trained.root
    raise InputError(f"--data.root is missing: {request.name} needs {what}")


DATASETS: dict[str, Callable[[_Request], EvaluationData]] = {
    "synthetic": _synthetic,
    "synth-mocap": _synth_mocap,
    "people": _people,
    "projected": _projected,
    "h36m": _indexed,
    "mpi_inf_3dhp": _indexed,
    "3dpw": _indexed,
    "videos": _videos,
    "shards": _shards,
}
"""Name -> how it is opened."""
