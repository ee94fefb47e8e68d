"""Synthetic pre-training on rendered people by the configs that are shipped, in small."""

import json
from pathlib import Path

import pytest
import yaml

from selfsup3d.builders import systems
from selfsup3d.builders.systems import load_system
from selfsup3d.commands import train

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--trainer.steps", "3", "--trainer.batch-size", "2", "--trainer.workers", "0", "--trainer.fit-batches", "2",
         "--trainer.checkpoint-every", "2", "--trainer.log-every", "1", "--data.pool", "4", "--data.reuse", "2"]  # fmt: skip


@pytest.fixture(autouse=True)
def few_frames_to_evaluate(monkeypatch):
    monkeypatch.setattr(systems, "_PEOPLE_ARE_TRIED_ON", "tiny-test")


def run(config, folder, *more):
    command = ["--config", str(ROOT / "configs" / config), "--output-dir", str(folder), *SMALL, *more]
    return train.main(command)


@pytest.mark.slow
def test_the_config_of_people_trains_stops_goes_on_and_gives_a_model_that_loads(tmp_path):
    assert run("people.yaml", tmp_path / "run") == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "scalars.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss/heat" in line or "heat" in str(line)][:3] == [1, 2, 3]
    assert run("people.yaml", tmp_path / "run", "--trainer.steps", "5", "--resume", "auto") == 0
    system, config = load_system(tmp_path / "run")
    assert config.trainer.steps == 5
    assert system.settings.pretrain.source == "people"
    assert system.bone_lengths.min() >= 0
    assert system.bone_lengths.max() > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_config_for_a_gpu_takes_its_steps_on_a_cpu(tmp_path, precision):
    told = yaml.safe_load((ROOT / "configs" / "people_gpu.yaml").read_text())
    assert told["trainer"]["mixed_precision"] == "bf16"
    assert told["trainer"]["compile"] is True
    flags = ["--trainer.mixed-precision", precision, "--trainer.compile", "false"]
    assert run("people_gpu.yaml", tmp_path / "run", *flags) == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
