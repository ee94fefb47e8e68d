import pytest
import torch
from torch.nn import functional as F

from selfsup3d.geometry.rotation import random_rotation, rotate
from selfsup3d.models.modules.critic import (
    ChainCritic,
    Critic,
    accuracy,
    critic_loss,
    generator_loss,
    gradient_penalty,
    kinematic_chain,
    leave_out,
)
from selfsup3d.structures.skeleton import H36M_17


def test_kinematic_chain_is_the_gram_matrix_of_bone_vectors():
    joints = torch.randn(4, 17, 3, dtype=torch.float64)
    bones = torch.stack([joints[:, child] - joints[:, parent] for parent, child in H36M_17.bones], 1)
    torch.testing.assert_close(kinematic_chain(joints), bones @ bones.mT)
    lengths = bones.square().sum(-1)
    torch.testing.assert_close(torch.diagonal(kinematic_chain(joints), dim1=-2, dim2=-1), lengths)


def test_kinematic_chain_is_invariant_to_rotations_and_shifts_but_not_to_bends():
    joints = torch.randn(4, 17, 3, dtype=torch.float64)
    rotated = rotate(random_rotation(torch.rand(4, 3, dtype=torch.float64)), joints) + 3.0
    torch.testing.assert_close(kinematic_chain(rotated), kinematic_chain(joints))
    bent = joints.clone()
    bent[:, 16] += 0.1
    assert (kinematic_chain(bent) - kinematic_chain(joints)).abs().max() > 1e-3


def test_losses_agree_with_their_definitions():
    real, fake = torch.randn(7), torch.randn(7)
    expected = F.binary_cross_entropy(real.sigmoid(), torch.ones(7), reduction="none") + F.binary_cross_entropy(
        fake.sigmoid(), torch.zeros(7), reduction="none"
    )
    torch.testing.assert_close(critic_loss(real, fake, "bce"), expected)
    torch.testing.assert_close(critic_loss(real, fake, "softplus"), expected)
    torch.testing.assert_close(critic_loss(real, fake, "wasserstein"), fake - real)
    torch.testing.assert_close(generator_loss(fake, "bce"), -fake.sigmoid().log())
    torch.testing.assert_close(generator_loss(fake, "wasserstein"), -fake)
    smooth = critic_loss(torch.full((1,), 20.0), torch.full((1,), -20.0), "bce", smoothing=0.9)
    assert smooth > 1.0  # a confident critic pays for labels of 0.9


@pytest.mark.parametrize("smoothing", [1.1, 0.5, -1.0])
def test_labels_above_one_are_refused(smoothing):
    with pytest.raises(ValueError, match="label of real samples"):
        critic_loss(torch.zeros(2), torch.zeros(2), "bce", smoothing=smoothing)


def test_gradient_penalty_against_autograd_by_hand():
    torch.manual_seed(0)
    critic = ChainCritic(width=20)
    real, fake, mix = torch.randn(3, 17, 3), torch.randn(3, 17, 3), torch.tensor([0.0, 0.3, 0.9])
    found = gradient_penalty(critic, real, fake, mix)
    for i in range(3):
        point = (mix[i] * real[i] + (1 - mix[i]) * fake[i]).requires_grad_(True)
        critic(point[None]).sum().backward()
        norm = point.grad.norm()
        torch.testing.assert_close(found[i], (norm - 1) ** 2, rtol=1e-3, atol=1e-5)


def test_gradient_penalty_trains_the_critic_and_not_the_samples():
    critic = Critic(34, width=8, blocks=1)
    real, fake = torch.randn(4, 17, 2, requires_grad=True), torch.randn(4, 17, 2, requires_grad=True)
    gradient_penalty(critic, real, fake, torch.rand(4)).mean().backward()
    assert real.grad is None
    assert fake.grad is None
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())


def test_penalty_of_a_unit_slope_is_zero_and_of_a_flat_critic_finite():
    direction = F.normalize(torch.randn(6), dim=0)
    x = torch.randn(5, 6)
    penalty = gradient_penalty(lambda p: p @ direction, x, -x, torch.rand(5))
    torch.testing.assert_close(penalty, torch.zeros(5), atol=1e-5, rtol=0)
    weight = torch.zeros(6, requires_grad=True)
    gradient_penalty(lambda p: p @ weight, x, -x, torch.rand(5)).mean().backward()
    assert torch.isfinite(weight.grad).all()


def test_the_stronger_player_rests():
    assert accuracy(torch.tensor([1.0, 1.0]), torch.tensor([-1.0, 1.0])) == pytest.approx(0.75)
    assert [w.item() for w in leave_out(torch.tensor(0.95))] == [0.0, 1.0]
    assert [w.item() for w in leave_out(torch.tensor(0.05))] == [1.0, 0.0]
    assert [w.item() for w in leave_out(torch.tensor(0.5))] == [1.0, 1.0]


def test_without_the_chain_path_the_critic_has_no_second_network():
    assert ChainCritic(20, chain=False)(torch.randn(2, 17, 3)).shape == (2,)
    assert ChainCritic(20, chain=False).chain is None
