import numpy as np
import torch

from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.fit import fit_keypoints
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import FK_PARENTS

PARENTS = list(FK_PARENTS[1:])


def people(count: int = 6) -> torch.Tensor:
    """(count, 17, 3) metres, 4 m before the camera, y down."""
    joints = ProceduralPrior(motions=4).sample_upright(RandomStreams(0, 0, np.arange(count))).joints.double()
    return torch.stack([joints[..., 1], -joints[..., 2], joints[..., 0]], -1) + torch.tensor([0.1, -0.2, 4.0])


def seen(joints: torch.Tensor) -> torch.Tensor:
    return joints[..., :2] / joints[..., 2:]


def bones(joints: torch.Tensor) -> torch.Tensor:
    return (joints[:, 1:] - joints[:, PARENTS]).norm(dim=-1)


def disturbed(joints: torch.Tensor, amount: float = 0.04) -> torch.Tensor:
    return joints + amount * torch.randn(joints.shape, generator=torch.Generator().manual_seed(3), dtype=joints.dtype)


def cost(joints, first, plane, weight):
    """The objective as its docstring says it, person by person."""
    total = joints.new_zeros(())
    for pose, start, places, trust in zip(joints, first, plane, weight, strict=True):
        root = start[0, 2]
        for joint in range(17):
            off = root * (pose[joint, :2] / pose[joint, 2] - places[joint])
            total = total + trust[joint] * (0.08 / 0.04) ** 2 * torch.log1p(off.square().sum() / 0.08**2)
        for joint, parent in enumerate(PARENTS, 1):
            bone, old = pose[joint] - pose[parent], start[joint] - start[parent]
            total = total + ((bone.norm() - old.norm()) / 0.005) ** 2
            total = total + ((bone - old) / torch.tensor([0.06, 0.06, 0.03])).square().sum()
        hips = [1, 4]
        middle = (pose[hips].sum(0) - 2 * pose[0]) - (start[hips].sum(0) - 2 * start[0])
        total = total + (middle / 0.005).square().sum() + ((pose[0, 2] - root) / (0.1 * root)) ** 2
    return total


def test_nothing_moves_where_keypoints_agree_or_count_for_nothing():
    joints, ones = people(), torch.ones(6, 17)
    torch.testing.assert_close(fit_keypoints(joints, seen(joints), ones), joints)
    torch.testing.assert_close(fit_keypoints(joints, seen(disturbed(joints)), 0 * ones), joints)


def test_is_the_minimum_of_the_objective():
    first = people()
    plane = seen(disturbed(first))
    weight = torch.rand(6, 17, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = fit_keypoints(first, plane, weight, steps=60).requires_grad_()
    (slope,) = torch.autograd.grad(cost(found, first, plane, weight), found)
    start = first.clone().requires_grad_()
    (steep,) = torch.autograd.grad(cost(start, first, plane, weight), start)
    assert slope.abs().max() < 1e-4 * steep.abs().max()
    few = fit_keypoints(first, plane, weight)
    gained = cost(first, first, plane, weight) - cost(few, first, plane, weight)
    assert gained > 0.98 * (cost(first, first, plane, weight) - cost(found, first, plane, weight))


def test_bones_stay_and_projections_come_nearer():
    truth = people()
    first = truth.clone()
    first[:, 15:] += torch.tensor([0.05, 0.08, 0.0])  # an arm points elsewhere
    found = fit_keypoints(first, seen(truth), torch.ones(6, 17))
    assert (bones(found) - bones(first)).abs().max() < 0.01
    before, after = ((seen(p) - seen(truth)).norm(dim=-1)[:, 15:].mean() for p in (first, found))
    assert after < 0.6 * before


def test_a_keypoint_far_off_counts_for_little():
    joints = people()
    plane = seen(joints)
    plane[:, 13] += 0.5  # two metres away
    assert (fit_keypoints(joints, plane, torch.ones(6, 17)) - joints).norm(dim=-1).max() < 0.02


def test_what_cannot_be_fitted_stays():
    joints = people(2)
    plane = seen(joints)
    plane[1] = torch.nan
    found = fit_keypoints(joints.float(), plane.float(), torch.ones(2, 17))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, joints.float())
