import pytest
import torch

from selfsup3d.geometry.kinematics import (
    canonicalize,
    forward_kinematics,
    inverse_kinematics,
    mirror_joints,
    mirror_local_pose,
    normalize_local_vectors,
)

FRAMES = ["parallel_transport", "gram_schmidt"]


def random_joints(count: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    local = normalize_local_vectors(torch.randn(count, 13, 3, generator=generator, dtype=dtype))
    angle = torch.rand(count, generator=generator, dtype=dtype) - 0.5
    lengths = 0.1 + 0.4 * torch.rand(count, 17, generator=generator, dtype=dtype)
    return forward_kinematics(local, torch.stack((angle.cos(), angle.sin()), -1), lengths)


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_undoes_forward(frames, dtype):
    joints = random_joints(500, dtype)
    pose = inverse_kinematics(joints, frames)
    assert (pose.joints(frames) - joints).abs().max() < (1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("frames", FRAMES)
def test_mirroring_commutes_with_forward_kinematics(frames):
    pose = inverse_kinematics(random_joints(100), frames)
    mirrored = mirror_local_pose(pose)
    torch.testing.assert_close(mirrored.joints(frames), mirror_joints(pose.joints(frames), axis=0))


def test_canonical_poses_are_kept_by_canonicalize():
    joints = random_joints(10)
    torch.testing.assert_close(canonicalize(joints), joints, atol=1e-5, rtol=0)
