import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from selfsup3d.config.base import Section
from selfsup3d.config.datasets import SyntheticConfig
from selfsup3d.config.part_guided import PartGuidedConfig, StageConfig
from selfsup3d.config.run import Config, MixtureConfig
from selfsup3d.config.trainer import TrainerConfig


def sections(model=Config):
    """Every model that a config is made of."""
    found = {model}
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            found |= sections(inner)
    return found


def _models(annotation):
    from typing import get_args

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in get_args(annotation) for m in _models(a)]


@pytest.mark.parametrize("model", sorted(sections(), key=lambda m: m.__name__), ids=lambda m: m.__name__)
def test_every_setting_is_documented(model):
    assert model.__doc__
    for name, field in model.model_fields.items():
        nested = bool(_models(field.annotation)) and not isinstance(field.default, (dict, tuple))
        assert field.description or nested, f"{model.__name__}.{name} has no docstring"


def test_defaults_make_a_whole_config():
    config = Config()
    assert config.system.kind == "part_guided"
    assert config.data.kind == "synthetic"


def test_round_trip_through_yaml(tmp_path):
    from selfsup3d.config.load import load_config

    config = Config.model_validate(
        {
            "output_dir": "runs/é x",
            "seed": 7,
            "trainer": {"optimizer": {"lr": 3e-4}, "optimizers": {"critic": {"kind": "sgd", "betas": [0.5, 0.9]}}},
            "data": [{"kind": "synthetic", "weight": 2.0}, {"kind": "videos", "root": "/a/b"}],
        }
    )
    config.save(tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()


def test_a_list_of_datasets_is_a_mixture():
    config = Config.model_validate({"data": [{"kind": "synthetic"}, {"kind": "videos", "weight": 3}]})
    assert isinstance(config.data, MixtureConfig)
    assert [part.weight for part in config.data.parts] == [1.0, 3.0]


def test_nothing_can_be_changed_afterwards():
    with pytest.raises(ValidationError):
        Config().seed = 3


def test_sections_refuse_unknown_keys():
    assert all(model.model_config["extra"] == "forbid" for model in sections() if issubclass(model, Section))


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (TrainerConfig, {"steps": 0}),
        (TrainerConfig, {"ema": 1.0}),
        (TrainerConfig, {"batch_size": 2.5}),
        (TrainerConfig, {"mixed_precision": "fp8"}),
        (TrainerConfig, {"optimizer": {"lr": -1}}),
        (TrainerConfig, {"optimizer": {"lr": float("nan")}}),
        (TrainerConfig, {"optimizer": {"lr": float("inf")}}),
        (StageConfig, {"pretrain": 0.5, "decoder": 0.5, "joint": 0.5}),
        (SyntheticConfig, {"size": 65}),
        (MixtureConfig, {"parts": []}),
        (Config, {"seed": -1}),
        (Config, {"seed": 2**63}),
    ],
)
def test_impossible_values_are_refused(model, values):
    with pytest.raises(ValidationError):
        model.model_validate(values)


def test_a_stage_with_nothing_to_learn_from_is_refused():
    NONE = {"source": "none"}
    without = {"pretrain": 0.0, "decoder": 0.5, "joint": 0.5}
    assert PartGuidedConfig(pretrain=NONE, stages=without).pretrain.source == "none"
    assert PartGuidedConfig(pretrain=NONE, supervision="3d").pretrain.source == "none"
    with pytest.raises(ValidationError, match="pretrain stage has nothing else"):
        PartGuidedConfig(pretrain=NONE)


def test_hash_tells_what_is_trained_and_not_where():
    base = Config()
    assert base.hash == Config(output_dir=Path("elsewhere"), resume="auto", overwrite=True).hash
    assert base.hash != Config(seed=1).hash
    assert base.hash != Config(trainer=TrainerConfig(steps=11)).hash
    assert len(base.hash) == 16
