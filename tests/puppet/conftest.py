import math

import pytest
import torch
from torch import Tensor

from selfsup3d.geometry.camera import default_intrinsics, orbit_rotation, transform
from selfsup3d.puppet.puppet import Puppet, default_puppet

# A standing body with bent arms, metres, body frame (+X forward, +Y left, +Z up), H36M_17 order.
STANDING = (
    (0.0, 0.0, 0.0), (0.0, -0.13, 0.0), (0.05, -0.15, -0.44), (0.0, -0.16, -0.88), (0.0, 0.13, 0.0),
    (0.05, 0.15, -0.44), (0.0, 0.16, -0.88), (0.0, 0.0, 0.24), (0.0, 0.0, 0.48), (0.08, 0.0, 0.58),
    (0.02, 0.0, 0.72), (0.0, 0.17, 0.45), (0.02, 0.26, 0.19), (0.20, 0.22, 0.05), (0.0, -0.17, 0.45),
    (0.02, -0.26, 0.19), (0.20, -0.22, 0.05),
)  # fmt: skip


@pytest.fixture(scope="session")
def puppet() -> Puppet:
    return default_puppet()


@pytest.fixture(scope="session")
def scene():
    """scene(count, size, seed, dtype) -> joints in the camera frame (count, 17, 3) and K (count, 3, 3)."""

    def make(count: int, size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        body = torch.tensor(STANDING, dtype=torch.float64)
        body = body + 0.12 * torch.randn(count, 17, 3, generator=generator, dtype=torch.float64)
        azimuth = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
        elevation = 0.5 * torch.rand(count, generator=generator, dtype=torch.float64)
        there = torch.tensor([0.0, 0.0, 3.2], dtype=torch.float64).expand(count, 3)
        joints = transform(body, orbit_rotation(azimuth, elevation), there)
        return joints.to(dtype), default_intrinsics(size).to(dtype).expand(count, 3, 3)

    return make
