"""What a model's config names on somebody's disk is neither followed nor given away."""

import pytest
import torch

from selfsup3d.builders.systems import build_system, load_system
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.experiments.release import save_release
from selfsup3d.io import pretrained
from selfsup3d.models.cross_modal.networks import ImageEncoder
from selfsup3d.models.part_guided.confidence import Calibration


def config(folder, **data):
    return Config.model_validate(
        {"output_dir": folder, "data": {"kind": "synthetic", "root": "/home/anna/private", **data}}
    )


def test_only_a_model_in_its_own_runs_folder_keeps_its_paths(tmp_path):
    ours = config(tmp_path / "run")
    system = build_system(ours)
    for place in ("run/model", "elsewhere/model"):
        pretrained.save_pretrained(tmp_path / place, system, ours.to_dict(), "")
    assert str(load_system(tmp_path / "run")[1].data.root) == "/home/anna/private"
    assert load_system(tmp_path / "elsewhere")[1].data.root is None


def test_a_released_model_names_no_folder_of_its_maker(tmp_path):
    ours = config(tmp_path / "run", prior="/home/anna/poses.npz")
    save_release(tmp_path / "released", ours, build_system(ours), [])
    for file in (tmp_path / "released").iterdir():
        assert b"anna" not in file.read_bytes(), file.name
        assert str(tmp_path / "run").encode() not in file.read_bytes(), file.name


def test_a_released_model_keeps_the_confidences_that_it_was_loaded_with(tmp_path):
    ours = config(tmp_path / "run")
    pretrained.save_pretrained(tmp_path / "run" / "model", build_system(ours), ours.to_dict(), "")
    fitted = Calibration(torch.arange(17.0), torch.tensor([4.0, 3.0, 2.0, 1.0]), "made")
    fitted.save(tmp_path / "run" / "model")
    system, _ = load_system(tmp_path / "run")
    save_release(tmp_path / "released", ours, system, [])
    again = load_system(tmp_path / "released")[0].calibration
    assert again.source == "made"
    assert torch.equal(again.bias, fitted.bias)
    assert torch.equal(again.weights, fitted.weights)


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "local-dir:/etc", "hf_hub:a/b"])
@pytest.mark.parametrize("kind", ["image_root", "part_guided"])
def test_backbones_are_networks_of_timm_and_nothing_else(kind, name):
    with pytest.raises(InputError, match="no network of timm"):
        build_system(Config.model_validate({"system": {"kind": kind, "backbone": name}}))


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "local-dir:/etc"])
def test_the_image_encoder_of_the_cross_modal_vae_takes_no_other_backbone(name):
    with pytest.raises(InputError, match="no network of timm"):
        ImageEncoder(name, 64, 8)
