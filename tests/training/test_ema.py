import torch

from selfsup3d.training.ema import AveragedWeights, evaluating
from tests.training.toy import Autoencoder


def test_average_follows_the_recursion():
    system = Autoencoder(norm=True)
    averaged = AveragedWeights(system, 0.6)
    expected = system.decoder.weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            system.decoder.weight.add_(torch.randn_like(system.decoder.weight))
            system.norm.running_mean.add_(1.0)
        averaged.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * system.decoder.weight.detach()
    torch.testing.assert_close(averaged.system.decoder.weight, expected)
    assert torch.equal(averaged.system.norm.running_mean, system.norm.running_mean)
    assert not averaged.system.decoder.weight.requires_grad
    assert system.decoder.weight.requires_grad
    assert not averaged.system.training


def test_constant_weights_are_their_own_average():
    system = Autoencoder()
    averaged = AveragedWeights(system, 0.999)
    for step in range(50):
        averaged.update(step)
    for name, value in averaged.system.state_dict().items():
        torch.testing.assert_close(value, system.state_dict()[name])


def test_zero_decay_means_no_average():
    system = Autoencoder()
    averaged = AveragedWeights(system, 0.0)
    averaged.update(3)
    assert averaged.system is system


def test_memory_layout_is_kept():
    system = Autoencoder()
    system.conv = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    averaged = AveragedWeights(system, 0.9)
    averaged.update(0)
    assert averaged.system.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_evaluating_gives_the_mode_back():
    system = Autoencoder().train()
    with evaluating(system) as inside:
        assert inside is system
        assert not system.training
        assert not torch.is_grad_enabled()
    assert system.training
    assert torch.is_grad_enabled()
