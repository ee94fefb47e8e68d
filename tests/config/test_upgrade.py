"""Configs of older formats give the run that they described."""

import json
from pathlib import Path

import pytest

from selfsup3d.config.run import Config
from selfsup3d.config.upgrade import KEYS, upgrade

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
    assert len(KEYS[1]) == 7  # a key added to the table belongs into this test


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


def test_systems_of_other_kinds_keep_keys_of_these_names():
    values = {"system": {"kind": "martinez", "plates": 1}}
    assert upgrade(values, 1) == values


def test_the_released_config_is_read():
    stored = json.loads(RELEASED.read_text(encoding="utf-8"))
    config = Config.model_validate(upgrade(stored["config"], stored["format"]))
    assert config.system.supervision == "teacher"
    assert config.system.stages.joint == 0.8
