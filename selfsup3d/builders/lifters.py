"""From a config to a lifter, and to the poses that lifters train on."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from selfsup3d.config.lifters import StudentConfig, TeacherConfig
from selfsup3d.config.load import validate
from selfsup3d.config.projected import ProjectedConfig
from selfsup3d.config.run import Config
from selfsup3d.config.upgrade import upgrade, upgrade_tensors
from selfsup3d.data.mocap.mocap import MotionCapture, load_mocap
from selfsup3d.data.sampling.detector_noise import DetectorModel
from selfsup3d.data.sampling.keypoint_noise import KeypointModel
from selfsup3d.data.sampling.pose_variation import PoseVariation
from selfsup3d.data.sampling.projected_poses import CameraRange, ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.errors import InputError
from selfsup3d.io import pretrained
from selfsup3d.models.lifters.adversarial_depth import AdversarialDepth
from selfsup3d.models.lifters.c3dpo import C3DPO
from selfsup3d.models.lifters.deep_nrsfm import DeepNRSfM
from selfsup3d.models.lifters.elepose import ElePose
from selfsup3d.models.lifters.geometric import Geometric
from selfsup3d.models.lifters.ites_student import EquivariantStudent
from selfsup3d.models.lifters.ites_teacher import InvariantTeacher
from selfsup3d.models.lifters.keypoint_lifter import KeypointLifter
from selfsup3d.models.lifters.martinez import Martinez
from selfsup3d.models.lifters.repnet import RepNet
from selfsup3d.models.lifters.root_depth import ImageRoot, KeypointRoot
from selfsup3d.models.lifters.temporal import Temporal
from selfsup3d.models.system import System

__all__ = ["LIFTERS", "build_lifter", "projected_capture", "projected_poses"]

_HELD_OUT_SEQUENCES = 100
"""Procedural sequences of a validation or test split."""


def _student(settings: StudentConfig) -> System:
    unneeded = settings.teacher is None or settings.weights.distillation == 0
    return EquivariantStudent(settings, None if unneeded else _teacher(cast(Path, settings.teacher)))


def _teacher(path: Path) -> InvariantTeacher:
    """A trained teacher.

    Raises:
        InputError: nothing there, or another system.
    """

    def build(values: dict[str, Any], version: int) -> System:
        config = validate(upgrade(values, version), f"{path} ({pretrained.CONFIG})")
        if not isinstance(config.system, TeacherConfig):
            raise InputError(f"system.teacher: {path} holds a {config.system.kind}, expected an ites_teacher")
        return InvariantTeacher(config.system)

    teacher = pretrained.from_pretrained(path, build, rename=upgrade_tensors)
    assert isinstance(teacher, InvariantTeacher)
    return teacher


LIFTERS: dict[str, Callable[..., System]] = {
    "martinez": Martinez,
    "temporal": Temporal,
    "adversarial_depth": AdversarialDepth,
    "repnet": RepNet,
    "geometric": Geometric,
    "ites_teacher": InvariantTeacher,
    "ites_student": _student,
    "c3dpo": C3DPO,
    "deep_nrsfm": DeepNRSfM,
    "elepose": ElePose,
    "root_depth": KeypointRoot,
    "keypoint_lifter": KeypointLifter,
    "image_root": ImageRoot,
}
"""The lifter of each kind, made from its section of the config."""


def build_lifter(config: Config) -> System:
    """The untrained lifter of a config; a student has its teacher."""
    return LIFTERS[config.system.kind](config.system)


# ---------------------------------------------------------------------------------------------------------------- data


@lru_cache(maxsize=4)
def projected_capture(mocap: Path | None, sequences: int, split: Literal["train", "val", "test"]) -> MotionCapture:
    """The motion of a split: captured, or procedural where there is no file."""
    if mocap is not None:
        return load_mocap(mocap / "mocap.npz" if mocap.is_dir() else mocap, split)
    return procedural_capture(sequences if split == "train" else _HELD_OUT_SEQUENCES, split=split)


def _keypoint_model(settings: ProjectedConfig) -> KeypointModel | DetectorModel:
    if settings.detector is not None:
        return DetectorModel(**settings.detector.model_dump())
    return KeypointModel(**settings.keypoints.model_dump())


def projected_poses(
    settings: ProjectedConfig,
    split: Literal["train", "val", "test"],
    keypoints: KeypointModel | DetectorModel | None = None,
) -> ProjectedPoses:
    """Poses of a split seen by random cameras.

    Args:
        settings: of the data.
        split: "train", "val" or "test".
        keypoints: in place of the settings' own.
    """
    return ProjectedPoses(
        projected_capture(settings.mocap, settings.sequences, split),
        name="mocap" if settings.mocap is not None else "procedural",
        image_size=settings.size,
        frames_per_sample=settings.frames,
        cameras=CameraRange(**settings.cameras.model_dump()),
        keypoints=keypoints or _keypoint_model(settings),
        variation=None if settings.variation is None else PoseVariation(**settings.variation.model_dump()),
        speeds=settings.speeds,
        mirror=settings.mirror,
        balance=settings.balance,
        fraction=settings.fraction if split == "train" else 1.0,
        labelled=settings.labelled if split == "train" else 1.0,
        second_source=settings.second_source,
        stride=settings.stride,
    )
