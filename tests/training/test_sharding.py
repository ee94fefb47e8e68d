"""What is refused; what two processes do stands in tests/distributed/test_sharding.py."""

import pytest
import torch
from torch import nn

from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.config.trainer import TrainerConfig
from selfsup3d.errors import InputError
from selfsup3d.training.device import make_accelerator
from selfsup3d.training.sharding import Shards, check_shardable, whole_tensors
from tests.training.toy import Autoencoder


@pytest.fixture
def asked(monkeypatch):
    """As configs/accelerate/fsdp.yaml asks for it."""
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "NO_WRAP"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def settings(**more):
    return TrainerConfig(device="cpu", mixed_precision="no", **more)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed is not supported: it owns the optimizer"),
        ("FSDP_VERSION", "1", "fsdp_version: FSDP is supported as"),
        ("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP", "fsdp_auto_wrap_policy: "),
        ("FSDP_OFFLOAD_PARAMS", "true", "fsdp_offload_params: "),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "fsdp_activation_checkpointing: "),
    ],
)
def test_what_would_not_be_heard_is_refused(asked, variable, value, told):
    asked.setenv(variable, value)
    with pytest.raises(InputError, match=f"^{told}"):
        make_accelerator(settings())


def test_one_process_keeps_everything(asked):
    assert make_accelerator(settings()).num_processes == 1


@pytest.mark.parametrize(
    ("system", "told"),
    [
        ({"kind": "part_guided", "preset": "tiny"}, "PartGuided takes up to 1 updates a step with 3 optimizers"),
        ({"kind": "geometric"}, r"Geometric takes up to 2 updates a step with 2 optimizers \(critic, lifter\)"),
        ({"kind": "elepose"}, r"ElePose takes up to 1 updates a step with 2 optimizers \(flow, lifter\)"),
    ],
)
def test_several_optimizers_are_refused(asked, system, told):
    config = Config.model_validate({"system": system})
    with pytest.raises(InputError, match=told):
        check_shardable(build_system(config), config.trainer)


@pytest.mark.parametrize("mode", ["two", "shared"])
def test_several_turns_are_refused(asked, mode):
    with pytest.raises(InputError, match=r"Autoencoder takes up to 2 updates a step with [12] optimizers"):
        check_shardable(Autoencoder(mode), settings())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"channels_last": True}, "trainer.channels_last: .*--trainer.no-channels-last"),
        ({"compile": True}, "trainer.compile: .*--trainer.no-compile"),
        ({"mixed_precision": "fp16"}, "trainer.mixed_precision: fp16 .* use bf16 or no"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(asked, more, told):
    check_shardable(Autoencoder("fused"), settings())
    with pytest.raises(InputError, match=told):
        check_shardable(Autoencoder("fused"), settings().model_copy(update=more))


def test_a_single_number_cannot_be_divided(asked):
    system = Autoencoder("fused")
    system.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(InputError, match="FSDP cannot divide scale"):
        check_shardable(system, settings())


def test_nobody_is_refused_without_being_asked():
    check_shardable(Autoencoder("two"), settings(channels_last=True))


def test_the_remembered_architecture_holds_no_weights_and_is_filled_again():
    system = Autoencoder("fused", norm=True)
    system.norm.running_mean.fill_(3.0)
    shards = Shards(system)
    assert all(p.device.type == "meta" for p in shards._blueprint.parameters())
    again = shards.assemble(system)
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), system.state_dict().values(), strict=True)
    )
    again.decoder.weight.data.zero_()
    assert system.decoder.weight.abs().sum() > 0


def test_only_who_keeps_them_gets_whole_tensors():
    tensors = {"a": torch.ones(2)}
    assert whole_tensors(tensors, keep=True)["a"] is tensors["a"]
    assert whole_tensors(tensors, keep=False) == {}
