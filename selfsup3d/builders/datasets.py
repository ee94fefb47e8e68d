"""From a config to the datasets that people bring: Human3.6M, MPI-INF-3DHP, and shards of any."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.config.datasets import H36mConfig, IndexedConfig, MpiInf3dhpConfig, ShardsConfig
from selfsup3d.config.run import Config
from selfsup3d.data.datasets.backgrounds import Backgrounds
from selfsup3d.data.datasets.dataset_tree import Tree
from selfsup3d.data.datasets.frame_index import FrameIndex, load_index, select_split, thin_out, with_images
from selfsup3d.data.datasets.h36m.layouts import find_h36m
from selfsup3d.data.datasets.index_build import cached_index_path, open_index
from selfsup3d.data.datasets.mpi_inf_3dhp import find_mpi_inf_3dhp
from selfsup3d.data.priors.camera_prior import CameraPrior
from selfsup3d.data.priors.pose_prior import PosePrior
from selfsup3d.data.sampling.augmentation import Augmentation
from selfsup3d.data.sampling.dataset import Split
from selfsup3d.data.sampling.indexed_frames import IndexedFrames
from selfsup3d.data.sampling.indexed_poses import IndexedPoses
from selfsup3d.data.sampling.shards import ShardSource
from selfsup3d.errors import InputError

__all__ = ["indexed_rows", "indexed_source", "open_indexed", "shard_source"]


_READ_IMAGES = ("part_guided", "image_root")
"""Systems that take images; cross-modal ones may, all others take joints alone."""


def indexed_source(
    config: Config, data: IndexedConfig, split: Split, pose_prior: PosePrior, labels: bool
) -> IndexedFrames | IndexedPoses:
    """Samples of a split, as the config's system reads them.

    Args:
        pose_prior: of the unpaired poses, for image models; lifters without `prior` take other frames' poses.
        labels: training samples hold joints.

    Raises:
        InputError: no root, a folder that cannot be used, or images that are not there.
    """
    index, place = open_indexed(data)
    rows = indexed_rows(index, data, split)
    camera_prior = CameraPrior(data.size, widen=data.camera_widen)
    if not _reads_images(config):
        return IndexedPoses(
            rows,
            frames_per_sample=data.frames,
            keypoints=data.keypoints,
            pose_prior=None if data.prior is None else pose_prior,
            camera_prior=None if data.prior is None else CameraPrior(1000, widen=data.camera_widen),
            balance=data.balance,
        )
    rows = with_images(rows)
    return IndexedFrames(
        rows,
        data.size,
        labels=labels,
        crop=data.crop,
        backgrounds=Backgrounds(data.backgrounds or place.with_suffix(".backgrounds"), index)
        if _behind(config, rows)
        else None,
        given_masks=data.given_masks,
        pose_prior=pose_prior if split == "train" else None,
        camera_prior=camera_prior if split == "train" else None,
        pair=data.pair,
        balance=data.balance,
        keypoints=data.keypoints,
        augmentation=Augmentation() if data.augment and split == "train" else None,
    )


def _reads_images(config: Config) -> bool:
    system = config.system
    if isinstance(system, CrossModalConfig):
        return "image" in system.modalities
    return system.kind in _READ_IMAGES


def _behind(config: Config, index: FrameIndex) -> bool:
    """Whether backgrounds are of use: the part-guided system alone reads saliency and backgrounds."""
    return config.system.kind == "part_guided" and all(t.static_camera for t in index.takes)


def open_indexed(data: IndexedConfig) -> tuple[FrameIndex, Path]:
    """The whole index of a dataset, and where it is kept.

    Raises:
        InputError: no root, or neither index nor dataset there.
    """
    if data.index is not None:
        return load_index(data.index, data.root), data.index
    if data.root is None:
        raise InputError(f"data.root: the folder of {data.kind} is missing; add --data.root FOLDER")
    tree, settings = _tree(data, data.root)
    return open_index(tree, settings=settings), cached_index_path(tree.dataset, tree.root, settings)


def _tree(data: IndexedConfig, root: Path) -> tuple[Tree, dict[str, object]]:
    if isinstance(data, H36mConfig):
        settings: dict[str, object] = {"every": data.every, "cameras": data.cameras, "detections": data.detections}
        return find_h36m(root, cameras=data.cameras, detections=data.detections, every=data.every), settings
    assert isinstance(data, MpiInf3dhpConfig)
    settings = {"every": data.every, "annotation": data.annotation, "views": list(data.views)}
    return find_mpi_inf_3dhp(root, annotation=data.annotation, cameras=data.views, every=data.every), settings


def indexed_rows(index: FrameIndex, data: IndexedConfig, split: Split) -> FrameIndex:
    """Rows of a split: held-out subjects are "val"; without any, "val" is the test split thinned out."""
    subjects = index.of_takes("subject")
    held_out = np.isin(subjects, data.validation)
    if data.validation and not held_out.any():
        known = ", ".join(sorted(set(subjects.tolist())))
        raise InputError(f"data.validation {', '.join(data.validation)}: no such subject (there are {known})")
    if split == "train":
        return select_split(index.select(~held_out), "train")
    if split == "val" and data.validation:
        return thin_out(index.select(held_out), _steps(data.evaluate_every, data.every))
    rows = select_split(index, "test")
    return rows if split == "test" else thin_out(rows, _steps(data.evaluate_every, data.every))


def _steps(wanted: int, kept: int) -> int:
    """The multiple of `kept` nearest to `wanted` frames."""
    return max(1, round(wanted / kept)) * kept


def shard_source(config: Config, data: ShardsConfig, split: Split, pose_prior: PosePrior, labels: bool) -> ShardSource:
    """Samples from shards: of the split's subfolder, of "test" where there is no "val", or of `root` itself.

    Raises:
        InputError: no root, or no finished shards.
    """
    if data.root is None:
        raise InputError("data.root: the folder of the shards is missing; add --data.root FOLDER")
    places = [data.root / name for name in {"val": ("val", "test")}.get(split, (split,))]
    folder = next((place for place in places if place.is_dir()), data.root)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    parts = world * config.trainer.accumulation
    training = split == "train"
    return ShardSource(
        folder,
        data.size,
        samples_per_step=config.trainer.batch_size * parts,
        split_by=parts if training else 1,
        labels=labels,
        pose_prior=pose_prior if training else None,
        camera_prior=CameraPrior(data.size, widen=data.camera_widen) if training else None,
        augmentation=Augmentation() if data.augment and training else None,
    )
