import numpy as np
import pytest
import torch

from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.kinematics import forward_kinematics, inverse_kinematics
from selfsup3d.geometry.rotation import rotation_about
from selfsup3d.structures.random import RandomStreams


@pytest.fixture(scope="session")
def motion():
    """(20, 17, 3) metres, camera axes: poses of one body that turns about and walks off."""
    poses = ProceduralPrior(motions=8).sample(RandomStreams(0, 0, np.arange(20))).double()
    local = inverse_kinematics(poses, recentre=True)
    body = forward_kinematics(local.local_vectors, local.hip_angle, local.bone_lengths[:1].expand(20, -1))
    to_camera = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    turns = rotation_about("x", torch.linspace(-1, 1, 20).double()) @ rotation_about(
        "y", torch.linspace(0, 6, 20).double()
    )
    joints = (turns @ to_camera @ body.transpose(-1, -2)).transpose(-1, -2)
    return (joints + torch.linspace(0, 2, 20).double()[:, None, None] + 1.0).numpy()
