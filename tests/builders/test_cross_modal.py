from pathlib import Path

import pytest

from selfsup3d.builders.systems import build_system, load_system
from selfsup3d.config.load import load_config
from selfsup3d.config.sweep import load_sweep
from selfsup3d.models.cross_modal.objective import beta_at
from selfsup3d.models.cross_modal.system import CrossModalVAE

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs" / "cross_modal").glob("*.yaml"))
SWEEPS = [path for path in FILES if path.stem in ("questions", "lifting", "modalities")]
RUNS = [path for path in FILES if path not in SWEEPS]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_configs_build_and_tell_their_command(path):
    config = load_config(path)
    assert config.system.kind == "cross_modal"
    system = build_system(config)
    assert isinstance(system, CrossModalVAE)
    assert f"--config configs/cross_modal/{path.name}" in path.read_text(encoding="utf-8")


def test_every_variant_has_a_config():
    told = [load_config(path).system for path in RUNS]
    assert {system.fusion for system in told} == {"pairs", "poe", "moe"}
    assert {system.adversary.judges for system in told} == {"none", "joints_3d", "joints_2d", "image"}
    assert {system.supervision for system in told} == {"labels", "reprojection"}


def test_thesis_config_has_the_settings_of_the_thesis():
    config = load_config(ROOT / "configs" / "cross_modal" / "thesis.yaml")
    system = build_system(config)
    assert (system.settings.width, system.settings.latent, system.image_size) == (512, 100, 256)
    assert beta_at(system.settings.beta, 0.3) == 0.001
    assert config.trainer.steps * config.trainer.batch_size == pytest.approx(100 * 389_938, rel=0.001)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweeps_change_what_they_name(path, monkeypatch):
    from selfsup3d.config.flags import parse_config

    monkeypatch.chdir(ROOT)
    sweep = load_sweep(path)
    hashes = set()
    for experiment in sweep.experiments.values():
        config = parse_config(["--config", str(experiment.config), *sweep.flags, *experiment.flags], "")
        hashes.add(config.hash)
    assert len(hashes) == len(sweep.experiments)


def test_questions_are_eight_experiments_of_five_minutes():
    sweep = load_sweep(ROOT / "configs" / "cross_modal" / "questions.yaml")
    assert len(sweep.experiments) == 8
    assert all(budget.minutes <= 5 for budget in sweep.budgets.values())


def test_backbone_weights_are_needed_to_train_only(tmp_path):
    import timm
    import torch
    from safetensors.torch import save_file

    from selfsup3d.config.run import Config
    from selfsup3d.io import pretrained

    torch.manual_seed(1)
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), str(tmp_path / "weights.safetensors"))
    system = {"kind": "cross_modal", "pairs": ["image->joints_3d"], "backbone": "test_resnet", "latent": 4, "width": 8,
              "backbone_weights": str(tmp_path / "weights.safetensors")}  # fmt: skip
    config = Config.model_validate({"system": system, "data": {"kind": "synthetic", "size": 16}})
    built = build_system(config)
    random = build_system(
        config.model_copy(update={"system": config.system.model_copy(update={"backbone_weights": None})})
    )
    names = [n for n in built.state_dict() if n.endswith("weight") and "backbone" in n]
    name = names[0]
    assert not torch.equal(built.state_dict()[name], random.state_dict()[name])
    pretrained.save_pretrained(tmp_path / "model", built, config.to_dict(), "card")
    (tmp_path / "weights.safetensors").unlink()
    loaded, _ = load_system(tmp_path / "model")
    assert torch.equal(loaded.state_dict()[name], built.state_dict()[name])
