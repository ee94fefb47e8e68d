import numpy as np
import pytest
import torch

from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.data.priors.camera_prior import CameraPrior
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.models.part_guided.backbone import PatchResNet
from selfsup3d.models.part_guided.decoder import Decoder
from selfsup3d.models.part_guided.encoder import Encoder
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.structures.batch import Batch, Camera
from selfsup3d.structures.random import RandomStreams

SIZE = 32


@pytest.fixture(scope="session")
def prior() -> ProceduralPrior:
    return ProceduralPrior(motions=8)


@pytest.fixture
def make_system():
    """Small part-guided systems of any variant, with fixed random weights."""

    def make(stages: tuple[float, float, float] = (0.25, 0.25, 0.5), **variant) -> PartGuided:
        torch.manual_seed(0)
        fractions = dict(zip(("pretrain", "decoder", "joint"), stages, strict=True))
        kinematics = variant.get("kinematics", True)
        encoder = Encoder(
            PatchResNet((16, 32), (1, 1)), width=16, hidden=32, channels=8, appearance_width=8, kinematics=kinematics
        )
        system = PartGuided(
            encoder,
            Decoder(
                10,
                8,
                (16, 16, 8),
                textures=variant.get("textures", False),
                texture_features=variant.get("texture_features", 0),
            ),
            settings=PartGuidedConfig(stages=fractions, **variant),
        )
        if variant.get("supervision") == "teacher":
            teacher = make(kinematics=kinematics)
            teacher.bone_lengths.fill_(0.3)
            system.learn_from(teacher)
        return system

    return make


@pytest.fixture
def batch(prior) -> Batch:
    """Four samples of everything the system may ask for; the frames are noise."""
    torch.manual_seed(1)
    count = 4
    streams = RandomStreams(0, 0, np.arange(count))
    poses = prior.sample_upright(streams)
    camera = CameraPrior(SIZE).sample(streams, poses=poses)
    joints = poses.joints @ camera.rotation.transpose(-1, -2) + camera.translation[:, None]
    pixels = joints @ camera.K.transpose(-1, -2)
    image = lambda channels: torch.rand(count, channels, SIZE, SIZE)  # noqa: E731
    return Batch(
        index=torch.arange(count),
        seeds=torch.from_numpy(streams.seeds),
        source=image(3),
        target=image(3),
        source_saliency=(image(1) > 0.8).float(),
        target_saliency=(image(1) > 0.8).float(),
        source_background=image(3),
        target_background=image(3),
        unpaired=poses.joints,
        unpaired_camera=Camera(camera.rotation, camera.translation, camera.K),
        unpaired_background=image(3),
        joints_3d=joints,
        joints_2d=pixels[..., :2] / pixels[..., 2:],
        confidence=torch.ones(count, 17),
        bone_lengths=torch.full((count, 17), 0.3),
        K=camera.K,
    )
