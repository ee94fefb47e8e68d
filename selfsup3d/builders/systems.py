"""From a config to the objects that it describes: the system, its data, its priors. A plain dict for each choice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import torch

from selfsup3d.builders.cross_modal import build_cross_modal
from selfsup3d.builders.datasets import indexed_rows, indexed_source, open_indexed, shard_source
from selfsup3d.builders.lifters import LIFTERS, build_lifter, projected_capture, projected_poses
from selfsup3d.config.cross_modal import CrossModalConfig
from selfsup3d.config.datasets import (
    H36mConfig,
    IndexedConfig,
    MpiInf3dhpConfig,
    PeopleConfig,
    ShardsConfig,
    SyntheticConfig,
    VideosConfig,
)
from selfsup3d.config.lifters import StudentConfig
from selfsup3d.config.load import validate
from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.config.projected import ProjectedConfig
from selfsup3d.config.run import Config, MixtureConfig
from selfsup3d.config.upgrade import upgrade, upgrade_tensors
from selfsup3d.data.priors.camera_prior import CameraPrior
from selfsup3d.data.priors.pose_prior import MocapPrior, UprightPrior
from selfsup3d.data.sampling.augmentation import Augmentation
from selfsup3d.data.sampling.clip_pairs import PairSource
from selfsup3d.data.sampling.clip_store import STORE, ClipStore
from selfsup3d.data.sampling.dataset import Dataset, ImageDataset, Split
from selfsup3d.data.sampling.indexed_poses import IndexedPoses
from selfsup3d.data.sampling.mixture import Mixture
from selfsup3d.data.synthetic.cache import cache_root, prepare
from selfsup3d.data.synthetic.dataset import SyntheticTruth, open_clips
from selfsup3d.data.synthetic.people_images import UNSEEN, PeopleSource, PosePool, WithPeople
from selfsup3d.data.synthetic.people_pairs import PeoplePairs
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.errors import InputError
from selfsup3d.io import pretrained
from selfsup3d.models.part_guided.confidence import Calibration
from selfsup3d.models.part_guided.perceptual import PerceptualDistance
from selfsup3d.models.part_guided.presets import PRESETS, build_networks
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.models.system import System
from selfsup3d.preparation.videos import prepare_clips
from selfsup3d.puppet.puppet import default_puppet

__all__ = [
    "OneDataset",
    "build_labelled",
    "build_prior",
    "build_source",
    "build_system",
    "evaluated",
    "load_system",
    "part_guided_teacher",
    "people_source",
]

OneDataset = (
    SyntheticConfig | PeopleConfig | VideosConfig | ProjectedConfig | H36mConfig | MpiInf3dhpConfig | ShardsConfig
)


# ------------------------------------------------------------------------------------------------------------- systems


def build_system(config: Config) -> System:
    """The untrained system of a config, its random weights from `seed` alone."""
    state = torch.get_rng_state()
    torch.manual_seed(config.seed)
    try:
        return SYSTEMS[config.system.kind](config)
    finally:
        torch.set_rng_state(state)


def load_system(path: str | Path, device: torch.device | str = "cpu") -> tuple[System, Config]:
    """A trained system in evaluation mode, from a run, a released model or a checkpoint; and its config.

    The config keeps its paths (of data, priors ...) only where the model lies in the folder of the run that made it: those
    of a model from elsewhere are not this person's choice, and nothing follows them.

    Raises:
        InputError: see `pretrained.from_pretrained`.
    """
    configs: list[Config] = []

    def build(values: dict[str, Any], version: int) -> System:
        config = validate(upgrade(values, version), f"{path} ({pretrained.CONFIG})")
        # The weights of the backbone are among those that will be loaded, and a student needs its teacher to train
        # only: their files need not be here.
        files = {PartGuidedConfig: ("backbone_weights", "perceptual_weights", "teacher"),
                 CrossModalConfig: ("backbone_weights",), StudentConfig: ("teacher",)}  # fmt: skip
        elsewhere = dict.fromkeys(files.get(type(config.system), ()))
        system = config.system.model_copy(update=elsewhere)
        configs.append(config)
        return build_system(config.model_copy(update={"system": system}))

    system = pretrained.from_pretrained(path, build, device, upgrade_tensors)
    if isinstance(system, PartGuided):
        system.calibration = Calibration.load(pretrained.locate_model(path))
    config = configs[0]
    return system, config if _lies_in_its_run(Path(path), config) else config.without_paths()


def read_poses_by(system: System, path: str | Path) -> None:
    """Have a part-guided system draw the poses that another model finds.

    Raises:
        InputError: one of the two is not part-guided; see also `load_system`.
    """
    reader, config = load_system(path, next(system.parameters()).device)
    if not isinstance(system, PartGuided) or not isinstance(reader, PartGuided):
        raise InputError(f"--poses {path}: a part_guided system draws the poses of another part_guided system")
    system.pose_reader = (reader, int(getattr(evaluated(config), "size", 64)))


def _lies_in_its_run(path: Path, config: Config) -> bool:
    """Whether a model is the run's own folder, its model/ or one of its checkpoints."""
    place = path.resolve()
    return config.output_dir is not None and config.output_dir.resolve() in (place, *list(place.parents)[:2])


def _part_guided(config: Config) -> System:
    settings = cast(PartGuidedConfig, config.system)
    widths = settings.decoder_widths or PRESETS[settings.preset].decoder_widths
    multiple = 2 ** (len(widths) - 1)  # each level of the decoder halves the side
    for data in config.data.parts if isinstance(config.data, MixtureConfig) else (config.data,):
        if data.size % multiple and not isinstance(data, ProjectedConfig):
            raise InputError(f"data.size is {data.size}; images of the preset {settings.preset} need a side that "
                             f"divides by {multiple}: its decoder has {len(widths)} levels")  # fmt: skip
    puppet = default_puppet()
    encoder, decoder = build_networks(
        settings.preset,
        len(puppet),
        backbone=settings.backbone,
        weights=None if settings.backbone_weights is None else str(settings.backbone_weights),
        channels=settings.appearance_channels,
        kinematics=settings.kinematics,
        pose_head=settings.pose_head,
        frozen_blocks=settings.frozen_blocks,
        heat_exponent=settings.heat_exponent,
        cue_dropout=settings.cue_dropout,
        textures=settings.textures,
        texture_features=settings.texture_features,
        decoder_widths=settings.decoder_widths,
    )
    system = PartGuided(encoder, decoder, puppet, settings)
    if settings.perceptual_weights is not None and settings.weights.perceptual:
        system.compare_by(PerceptualDistance(settings.perceptual_backbone, settings.perceptual_weights))
    if settings.teacher is not None:
        system.learn_from(part_guided_teacher(settings.teacher))
    return system


def part_guided_teacher(path: Path) -> PartGuided:
    """A trained system, unsupervised itself.

    Raises:
        InputError: nothing there, another kind of system, or one that was trained with labels.
    """
    teacher, config = load_system(path)
    if not isinstance(config.system, PartGuidedConfig):
        raise InputError(f"system.teacher: {path} holds a {config.system.kind}, expected a part_guided")
    if config.system.supervision in ("2d", "3d"):
        raise InputError(
            f"system.teacher: {path} was trained with labels (supervision: {config.system.supervision}), so its student "
            "would be no unsupervised one; give a system with supervision none, pretrain or teacher"
        )
    return cast(PartGuided, teacher)


SYSTEMS: dict[str, Callable[[Config], System]] = {
    "part_guided": _part_guided,
    "cross_modal": build_cross_modal,
    **dict.fromkeys(LIFTERS, build_lifter),
}


# ---------------------------------------------------------------------------------------------------------------- data


def build_source(config: Config, split: Split) -> Dataset:
    """The data of a split; what is not prepared yet (rendered, cropped) is prepared, with a progress bar.

    Training data hold labels only where the system's config asks for supervision. Every other split has the ground
    truth that the dataset knows, for evaluation.
    """
    data = config.data
    if isinstance(data, MixtureConfig):
        if split != "train":
            return DATASETS[data.parts[0].kind](config, data.parts[0], split)
        parts = [_with_people(config, part, DATASETS[part.kind](config, part, split)) for part in data.parts]
        return Mixture(cast(list[ImageDataset], parts), [part.weight for part in data.parts])
    source = DATASETS[data.kind](config, data, split)
    return _with_people(config, data, source) if split == "train" else source


def _with_people(config: Config, data: OneDataset, source: Dataset) -> Dataset:
    """Training images with rendered people as their unpaired poses, where the system is pre-trained on them."""
    system = config.system
    if not isinstance(system, PartGuidedConfig) or isinstance(data, PeopleConfig | ProjectedConfig):
        return source
    behind = data.backgrounds if isinstance(data, SyntheticConfig | VideosConfig) else None
    if system.weights.pairs:
        return WithPeople(source, PeoplePairs(_people_poses(data.prior), data.size, behind))
    if system.pretrain.source not in ("people", "both"):
        return source
    people = PeopleConfig.model_construct(size=data.size, prior=data.prior, backgrounds=behind)
    return WithPeople(source, people_source(people))


def _people_poses(prior: Path | None, split: Literal["train", "val"] = "train") -> PosePool:
    priors: list[tuple[UprightPrior, float]] = [(ProceduralPrior(), 0.4)]
    if prior is not None:
        priors.append((MocapPrior(prior, split), 0.6))
    return PosePool(priors, first=0 if split == "train" else UNSEEN)


def people_source(data: PeopleConfig, split: Literal["train", "val"] = "train") -> PeopleSource:
    """Images of rendered people, as a config asks for them; in other poses, of other subjects, in each split."""
    return PeopleSource(_people_poses(data.prior, split), data.size, data.backgrounds, data.pool, data.reuse)


def build_labelled(config: Config) -> Dataset | None:
    """Training frames with their labels, for the baselines printed beside a result; None where there are none."""
    data = evaluated(config)
    if isinstance(data, SyntheticConfig):
        return SyntheticTruth(data.root, data.preset, data.size, "train")
    if isinstance(data, IndexedConfig):
        return IndexedPoses(indexed_rows(open_indexed(data)[0], data, "train"))
    return projected_poses(data, "train") if isinstance(data, ProjectedConfig) else None


def evaluated(config: Config) -> OneDataset:
    """The dataset that evaluation uses: the first of a mixture."""
    return config.data.parts[0] if isinstance(config.data, MixtureConfig) else config.data


def build_prior(data: OneDataset) -> MocapPrior | ProceduralPrior:
    """The unpaired poses; of projected poses, those that are trained on."""
    if isinstance(data, ProjectedConfig):
        return MocapPrior(projected_capture(data.mocap, data.sequences, "train"))
    return ProceduralPrior() if data.prior is None else MocapPrior(data.prior)


def _synthetic(config: Config, data: OneDataset, split: Split) -> Dataset:
    settings = cast(SyntheticConfig, data)
    prepare(settings.root, settings.preset, settings.size, (split,))
    if split != "train":
        return SyntheticTruth(settings.root, settings.preset, settings.size, split)
    pose_prior, camera_prior = build_prior(settings), CameraPrior(settings.size, widen=settings.camera_widen)
    augmentation = Augmentation() if settings.augment else None
    if _needs_labels(config):
        return SyntheticTruth(
            settings.root,
            settings.preset,
            settings.size,
            split,
            augmentation,
            pose_prior=pose_prior,
            camera_prior=camera_prior,
        )
    clips = open_clips(settings.root, settings.preset, settings.size, split)
    return PairSource(clips, pose_prior, camera_prior, name="synthetic", augmentation=augmentation)


_PEOPLE_ARE_TRIED_ON = "quickstart"


def _people(config: Config, data: OneDataset, split: Split) -> Dataset:
    settings = cast(PeopleConfig, data)
    if split == "train":
        if _needs_labels(config):
            raise InputError("system: rendered people are for pre-training; use pretrain.source: people")
        pairs = isinstance(config.system, PartGuidedConfig) and config.system.weights.pairs
        if pairs:
            return cast(Dataset, PeoplePairs(_people_poses(settings.prior), settings.size, settings.backgrounds))
        return cast(Dataset, people_source(settings))  # of which training samples alone are asked
    # People of the benchmark, in its wider views: the renderer is the same, bodies, clothes and motions are not.
    prepare(None, _PEOPLE_ARE_TRIED_ON, settings.size, (split,))
    return SyntheticTruth(None, _PEOPLE_ARE_TRIED_ON, settings.size, split)


def _videos(config: Config, data: OneDataset, split: Split) -> Dataset:
    settings = cast(VideosConfig, data)
    if settings.root is None:
        raise InputError("data.root: the folder of your videos is missing; add --data.root FOLDER")
    keypoints = isinstance(config.system, PartGuidedConfig) and config.system.supervision == "2d"
    if _needs_labels(config) and not (keypoints and config.system.bone_lengths == "fixed"):  # type: ignore[union-attr]
        raise InputError(
            "system: videos have no 3D labels; use kind: part_guided with supervision: none, pretrain, teacher, or 2d (by a "
            "detector's keypoints) and bone_lengths: fixed"
        )
    clips = _clips(settings)
    if split != "train":
        return PairSource(clips)  # the same videos: nothing of theirs is known that training could have learned
    augmentation = Augmentation() if settings.augment else None
    camera_prior = CameraPrior(settings.size, widen=settings.camera_widen)
    prior = build_prior(settings)
    return PairSource(clips, prior, camera_prior, augmentation=augmentation, keypoints=keypoints)


def _clips(settings: VideosConfig) -> ClipStore:
    """Clips that prepare-data has written, or prepared now from a folder of videos."""
    assert settings.root is not None
    folder = settings.root.resolve()
    if (folder / STORE).is_file():
        clips = ClipStore(folder)
        if clips.image_size != settings.size:
            raise InputError(
                f"{settings.root}: clips of {clips.image_size} px, data.size is {settings.size}; set --data.size "
                f"{clips.image_size}, or prepare them with --size {settings.size}"
            )
        return clips
    place = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    store = cache_root(settings.cache) / "videos" / f"{folder.name}-{place}" / str(settings.size)
    return prepare_clips(folder, store, settings.size)


def _projected(config: Config, data: OneDataset, split: Split) -> Dataset:
    return projected_poses(cast(ProjectedConfig, data), split)


def _indexed(config: Config, data: OneDataset, split: Split) -> Dataset:
    settings = cast(IndexedConfig, data)
    return indexed_source(config, settings, split, build_prior(data), _needs_labels(config))


def _shards(config: Config, data: OneDataset, split: Split) -> Dataset:
    return shard_source(config, cast(ShardsConfig, data), split, build_prior(data), _needs_labels(config))


DATASETS: dict[str, Callable[[Config, OneDataset, Split], Dataset]] = {
    "synthetic": _synthetic,
    "people": _people,
    "videos": _videos,
    "projected": _projected,
    "h36m": _indexed,
    "mpi_inf_3dhp": _indexed,
    "shards": _shards,
}


def _needs_labels(config: Config) -> bool:
    """Lifters read 2D joints, and 3D ones where they are supervised; the image model only where a setting says so."""
    system = config.system
    if not isinstance(system, PartGuidedConfig):
        return True
    return system.supervision in ("2d", "3d") or system.bone_lengths == "given"
