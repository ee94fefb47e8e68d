import cv2
import numpy as np
import pytest
import torch

from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.models.part_guided.backbone import PatchResNet
from selfsup3d.models.part_guided.decoder import Decoder
from selfsup3d.models.part_guided.encoder import Encoder
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.structures.random import RandomStreams

SIZE = 32


@pytest.fixture(scope="session")
def poses():
    """(12, 17, 3) canonical poses, metres."""
    return ProceduralPrior(motions=8).sample(RandomStreams(0, 0, np.arange(12)))


@pytest.fixture(scope="session")
def system(poses):
    """A small part-guided system with fixed random weights and a person's bones."""
    torch.manual_seed(0)
    encoder = Encoder(PatchResNet((16, 32), (1, 1)), width=16, hidden=32, channels=8, appearance_width=8)
    system = PartGuided(encoder, Decoder(10, 8, (16, 16, 8))).eval()
    system.bone_lengths.copy_(bone_lengths(poses).mean(0))
    return system


@pytest.fixture
def walker(tmp_path):
    """A video of 30 frames, 96x64: a light block walks to the right before a still, patterned wall."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(40, 120, (8, 12, 3), np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)
    path = tmp_path / "walker.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 10, (96, 64))
    for k in range(30):
        frame = wall.copy()
        cv2.rectangle(frame, (8 + 2 * k, 16), (20 + 2 * k, 55), (230, 220, 210), -1)
        writer.write(frame)
    writer.release()
    return path
