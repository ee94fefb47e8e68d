"""Settings of the lifters: one section for each kind."""

from selfsup3d.config.lifters.adversarial import AdversarialDepthConfig, RepNetConfig, RepNetWeightConfig
from selfsup3d.config.lifters.cycles import ElePoseConfig, ElePoseWeightConfig, GeometricConfig, GeometricWeightConfig
from selfsup3d.config.lifters.ites import StudentConfig, StudentWeightConfig, TeacherConfig, TeacherWeightConfig
from selfsup3d.config.lifters.nrsfm import C3DPOConfig, C3DPOWeightConfig, DeepNRSfMConfig
from selfsup3d.config.lifters.supervised import (
    ImageRootConfig,
    KeypointLifterConfig,
    MartinezConfig,
    RootDepthConfig,
    TemporalConfig,
)

__all__ = [
    "LIFTER_CONFIGS",
    "LifterConfig",
    "AdversarialDepthConfig",
    "C3DPOConfig",
    "C3DPOWeightConfig",
    "DeepNRSfMConfig",
    "ElePoseConfig",
    "ElePoseWeightConfig",
    "GeometricConfig",
    "GeometricWeightConfig",
    "ImageRootConfig",
    "KeypointLifterConfig",
    "MartinezConfig",
    "RepNetConfig",
    "RepNetWeightConfig",
    "RootDepthConfig",
    "StudentConfig",
    "StudentWeightConfig",
    "TeacherConfig",
    "TeacherWeightConfig",
    "TemporalConfig",
]

LIFTER_CONFIGS = (
    MartinezConfig,
    TemporalConfig,
    AdversarialDepthConfig,
    RepNetConfig,
    GeometricConfig,
    TeacherConfig,
    StudentConfig,
    C3DPOConfig,
    DeepNRSfMConfig,
    ElePoseConfig,
    RootDepthConfig,
    KeypointLifterConfig,
    ImageRootConfig,
)
"""Every kind of lifter."""

LifterConfig = (
    MartinezConfig
    | TemporalConfig
    | AdversarialDepthConfig
    | RepNetConfig
    | GeometricConfig
    | TeacherConfig
    | StudentConfig
    | C3DPOConfig
    | DeepNRSfMConfig
    | ElePoseConfig
    | RootDepthConfig
    | KeypointLifterConfig
    | ImageRootConfig
)
