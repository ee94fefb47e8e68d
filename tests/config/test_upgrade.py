"""Configs of older formats give the run that they described."""

import json
from pathlib import Path

import pytest

from selfsup3d.builders.systems import load_system
from selfsup3d.config.run import Config
from selfsup3d.config.upgrade import ANY, KEYS, TENSORS, upgrade, upgrade_tensors
from selfsup3d.io.pretrained import read_tensors

RELEASED = Path(__file__).parents[2] / "assets" / "synth-v1" / "model" / "config.json"


def test_every_renamed_key_is_unknown_today_and_known_under_its_new_name():
    old = {
        "system": {"kind": "part_guided", "stages": {"puppet": 0.5, "decoder": 0.25, "joint": 0.25},
                   "weights": {"puppet": 2.0}, "puppets": True, "disturbance": False, "plates": False,
                   "supervision": "puppet"},
        "data": {"kind": "h36m", "plates": "p"},
        "trainer": {"optimizers": {"puppet": {"lr": 0.5}}},
    }  # fmt: skip
    with pytest.raises(ValueError, match="puppets"):
        Config.model_validate(old)
    config = Config.model_validate(upgrade(old, 1))
    system = config.system
    assert system.stages.pretrain == 0.5
    assert system.weights.known_pose == 2.0
    assert (system.pretrain.source, system.strong_augmentation, system.composite) == ("puppet", False, False)
    assert system.supervision == "pretrain"
    assert str(config.data.backgrounds) == "p"
    assert config.trainer.optimizers["pretrain"].lr == 0.5
    assert len(KEYS[1][ANY]) + len(KEYS[1]["part_guided"]) == 7  # a key added to the table belongs into this test


def test_puppets_off_become_no_pretraining_source():
    old = {"system": {"kind": "part_guided", "puppets": False, "stages": {"puppet": 0.0, "decoder": 0.5, "joint": 0.5}}}
    assert Config.model_validate(upgrade(old, 1)).system.pretrain.source == "none"


def test_backgrounds_of_every_part_of_a_mixture_are_renamed():
    old = {
        "data": {"kind": "mixture", "parts": [{"kind": "h36m", "plates": "a"}, {"kind": "mpi_inf_3dhp", "plates": "b"}]}
    }
    parts = Config.model_validate(upgrade(old, 1)).data.parts
    assert [str(part.backgrounds) for part in parts] == ["a", "b"]


def test_configs_of_the_present_format_and_the_input_itself_are_left_alone():
    values = {"system": {"puppets": True}}
    assert upgrade(values, 2) == values
    upgrade(values, 1)
    assert values == {"system": {"puppets": True}}


@pytest.mark.parametrize(
    ("kind", "old", "new", "value"),
    [("repnet", "critic_turns", "critic_updates", 3), ("ites_teacher", "sides", "view_rotations", "views")],
)
def test_renamed_keys_of_lifters_are_known_under_their_new_name(kind, old, new, value):
    values = {"system": {"kind": kind, old: value}, "data": {"kind": "projected"}}
    with pytest.raises(ValueError, match=old):
        Config.model_validate(values)
    assert getattr(Config.model_validate(upgrade(values, 1)).system, new) == value


def test_renamed_tensors_are_those_of_todays_networks():
    """The released weights have the old names of the part-guided network; it loads only if all are renamed."""
    stored = read_tensors(RELEASED.parent / "model.safetensors")
    assert any(name.startswith("encoder.glimpse.look.") for name in stored)
    system, _ = load_system(RELEASED.parent)
    own = system.state_dict()
    assert upgrade_tensors(stored).keys() == own.keys()
    weight = stored["encoder.glimpse.look.2.weight"].float()
    assert (own["encoder.head_crop.layers.2.weight"] == weight).all()
    assert not any(name.startswith(old) for name in own for old in TENSORS)


def test_systems_of_other_kinds_keep_keys_of_these_names():
    values = {"system": {"kind": "martinez", "plates": 1}}
    assert upgrade(values, 1) == values


def test_the_released_config_is_read():
    stored = json.loads(RELEASED.read_text(encoding="utf-8"))
    config = Config.model_validate(upgrade(stored["config"], stored["format"]))
    assert config.system.supervision == "teacher"
    assert config.system.stages.joint == 0.8
