import pytest
import torch

from selfsup3d.config.trainer import OptimizerConfig, TrainerConfig
from selfsup3d.models.system import Update
from selfsup3d.training.optimizers import UpdateOptimizers, learning_rate, make_optimizer
from tests.training.toy import Autoencoder, Noise, config

KINDS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


@pytest.mark.parametrize(("kind", "expected"), KINDS.items())
def test_each_kind_is_made(kind, expected):
    made = make_optimizer(OptimizerConfig(kind=kind, lr=0.3, weight_decay=0.2, momentum=0.6), [torch.nn.Parameter()])
    assert type(made) is expected
    assert made.defaults["lr"] == 0.3
    assert made.defaults["weight_decay"] == 0.2
    assert made.defaults.get("momentum", 0.6) == 0.6


def test_learning_rate_over_a_run():
    cosine = OptimizerConfig(lr=2.0, schedule="cosine", warmup=0.1, end=0.1)
    assert learning_rate(cosine, 0.0) == 0.0
    assert learning_rate(cosine, 1.0) == pytest.approx(0.2)
    assert max(learning_rate(cosine, i / 1000) for i in range(1001)) == pytest.approx(2.0, rel=0.03)
    steps = OptimizerConfig(lr=2.0, schedule="piecewise", warmup=0.0, milestones=(0.5,), factor=0.25)
    assert [learning_rate(steps, p) for p in (0.0, 0.49, 0.5, 1.0)] == [2.0, 2.0, 0.5, 0.5]
    decay = OptimizerConfig(lr=2.0, schedule="exponential", warmup=0.0, end=0.01)
    assert learning_rate(decay, 0.5) == pytest.approx(0.2)
    assert learning_rate(OptimizerConfig(lr=2.0, schedule="linear", warmup=0.0, end=0.0), 0.25) == 1.5
    assert learning_rate(OptimizerConfig(lr=2.0, schedule="constant", warmup=0.0), 1.0) == 2.0


def gradients(system, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in system.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_an_update_equals_a_plain_optimizer_of_its_parameters():
    """Two updates share an optimizer and alternate; each parameter sees what it would with one of its own."""
    system, plain = Autoencoder(), Autoencoder()
    settings = OptimizerConfig(lr=0.1, schedule="constant", warmup=0.0, weight_decay=0.0)
    optimizers = UpdateOptimizers(system, TrainerConfig(optimizer=settings, clip=0.0))
    reference = {
        "encoder": torch.optim.AdamW(plain.encoder.parameters(), lr=0.1, weight_decay=0.0),
        "decoder": torch.optim.AdamW(plain.decoder.parameters(), lr=0.1, weight_decay=0.0),
    }
    for step in range(6):
        group = "encoder" if step % 3 else "decoder"
        gradients(system, step)
        gradients(plain, step)
        optimizers.step(Update("any", (group,), "shared"), 0.0)
        reference[group].step()
    for name, value in system.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-6, atol=1e-7)


class Convolutions(Autoencoder):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)

    def parameter_groups(self):
        return {"conv": self.conv.parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_fused_kernels_and_reloading_keep_the_order_of_channels_last_weights(kind):
    """Against the plain algorithm on plain weights; the state goes through a file's layout in between."""
    settings = OptimizerConfig(kind=kind, lr=0.1, schedule="constant", warmup=0.0, momentum=0.5, weight_decay=0.01)
    system = Convolutions()
    plain = torch.nn.Parameter(system.conv.weight.detach().contiguous().clone())
    reference = KINDS[kind](
        [plain], lr=0.1, weight_decay=0.01, **({"momentum": 0.5} if kind in ("sgd", "rmsprop") else {})
    )
    optimizers = UpdateOptimizers(system, TrainerConfig(optimizer=settings))
    update = Update("x", ("conv",), "main")
    for step in range(4):
        gradient = torch.randn(plain.shape, generator=torch.Generator().manual_seed(step))
        system.conv.weight.grad = gradient.to(memory_format=torch.channels_last)
        plain.grad = gradient.clone()
        optimizers.step(update, 0.0)
        reference.step()
        state = {name: value.contiguous() for name, value in optimizers.state_dict().items()}
        optimizers = UpdateOptimizers(system, TrainerConfig(optimizer=settings))
        optimizers.load_state_dict(state)
    torch.testing.assert_close(system.conv.weight, plain.detach(), rtol=1e-5, atol=1e-6, check_stride=False)


def test_optimizers_have_states_of_their_own():
    system = Autoencoder()
    optimizers = UpdateOptimizers(system, TrainerConfig(optimizer=OptimizerConfig(kind="adagrad", warmup=0.0)))
    gradients(system)
    optimizers.step(Update("a", ("decoder",), "first"), 0.0)
    assert {key.split("|")[0] for key in optimizers.state_dict()} == {"first"}
    optimizers.step(Update("b", ("decoder",), "second"), 0.0)
    state = optimizers.state_dict()
    assert float(state["first|decoder|decoder.bias|step"]) == 1.0
    assert float(state["second|decoder|decoder.bias|step"]) == 1.0


def test_settings_by_name():
    special = OptimizerConfig(kind="sgd", lr=0.5, schedule="constant", warmup=0.0)
    optimizers = UpdateOptimizers(Autoencoder(), TrainerConfig(optimizers={"critic": special}))
    assert optimizers.learning_rate(Update("x", ("encoder",), "critic"), 0.5) == 0.5
    assert optimizers.learning_rate(Update("x", ("encoder",), "main"), 1.0) == pytest.approx(2e-5)


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_clipping_uses_the_gradients_of_the_update_only(clip):
    system = Autoencoder()
    optimizers = UpdateOptimizers(system, TrainerConfig(clip=clip))
    gradients(system)
    before = {name: p.grad.clone() for name, p in system.named_parameters()}
    norm = optimizers.clip(Update("x", ("encoder",), "main"))
    expected = torch.cat([before[n].flatten() for n in before if n.startswith("encoder")]).norm()
    torch.testing.assert_close(norm, expected)
    for name, parameter in system.named_parameters():
        factor = clip / float(expected) if clip and name.startswith("encoder") else 1.0
        torch.testing.assert_close(parameter.grad, before[name] * factor, rtol=1e-4, atol=1e-6)


def test_parameters_without_gradient_stay():
    system = Autoencoder()
    before = {name: value.clone() for name, value in system.state_dict().items()}
    optimizers = UpdateOptimizers(system, TrainerConfig(optimizer=OptimizerConfig(weight_decay=0.5, warmup=0.0)))
    optimizers.step(Update("x", ("encoder", "unused"), "main"), 0.0)
    for name, value in system.state_dict().items():
        assert torch.equal(value, before[name])


def test_wrong_groups_are_named():
    class Twice(Autoencoder):
        def parameter_groups(self):
            return {"a": self.encoder.parameters(), "b": [self.encoder[0].weight]}

    with pytest.raises(ValueError, match=r"encoder.0.weight stands in groups a and b"):
        UpdateOptimizers(Twice(), TrainerConfig())
    with pytest.raises(ValueError, match=r"update 'x' names unknown parameter groups \['critic'\]"):
        UpdateOptimizers(Autoencoder(), TrainerConfig()).parameters(Update("x", ("critic",), "main"))


def test_settings_of_an_unknown_optimizer_raise(tmp_path):
    from selfsup3d.errors import InputError
    from selfsup3d.training.loop import train

    with pytest.raises(InputError, match=r"trainer.optimizers.critc: .*did you mean 'critic'"):
        train(config(tmp_path, optimizers={"critc": {"lr": 1}}), Critical(), Noise())


class Critical(Autoencoder):
    def updates(self, step, progress):
        return [Update("encode", ("encoder",), "critic")]
