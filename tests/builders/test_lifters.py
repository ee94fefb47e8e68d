from pathlib import Path

import numpy as np
import pytest

from selfsup3d.builders.evaluation_data import DataOptions, open_evaluation_data
from selfsup3d.builders.lifters import LIFTERS, projected_poses
from selfsup3d.builders.systems import SYSTEMS, build_labelled, build_prior, build_source, build_system, load_system
from selfsup3d.config.lifters import LIFTER_CONFIGS, LifterConfig
from selfsup3d.config.load import load_config
from selfsup3d.config.projected import ProjectedConfig
from selfsup3d.config.run import Config
from selfsup3d.errors import InputError
from selfsup3d.io import pretrained
from selfsup3d.models.lifters.ites_student import EquivariantStudent
from selfsup3d.structures.random import RandomStreams

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "lifters").glob("*.yaml"))
RUNS = [path for path in CONFIGS if path.stem not in ("benchmark", "ites_ablations", "poses")]
DATA = {"kind": "projected", "sequences": 5}
TEACHER = {"kind": "ites_teacher", "width": 16, "bottleneck": 8, "blocks": 1}


def test_every_kind_has_a_builder_and_a_config_file():
    kinds = {config.model_fields["kind"].default for config in LIFTER_CONFIGS}
    assert kinds == set(LIFTERS)
    assert kinds < set(SYSTEMS)
    assert set(LIFTER_CONFIGS) == set(LifterConfig.__args__)
    assert {load_config(path).system.kind for path in RUNS} == kinds


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_published_settings_build(path):
    config = load_config(path)
    if config.system.kind == "ites_student":  # its teacher is trained first
        config = config.model_copy(update={"system": config.system.model_copy(update={"teacher": None})})
    system = build_system(config)
    assert sum(p.numel() for p in system.parameters()) > 1000
    command = path.read_text(encoding="utf-8")
    assert f"--config configs/lifters/{path.name}" in command, "its opening comment names the command"


def test_a_student_learns_from_a_released_teacher_and_loads_without(tmp_path):
    teacher = Config.model_validate({"system": TEACHER, "data": DATA})
    pretrained.save_pretrained(tmp_path / "teacher", build_system(teacher), teacher.to_dict(), "card")
    system = {"kind": "ites_student", "channels": 8, "blocks": 1, "teacher": str(tmp_path / "teacher")}
    config = Config.model_validate({"system": system, "data": DATA})
    student = build_system(config)
    assert isinstance(student, EquivariantStudent)
    batch = build_source(config, "train").batch(RandomStreams(0, 0, np.arange(32)))
    student.fit([batch])
    assert "distillation" in student(batch, "lifter", 0.0)
    pretrained.save_pretrained(tmp_path / "student", student, config.to_dict(), "card")
    (tmp_path / "teacher").rename(tmp_path / "gone")
    loaded, _ = load_system(tmp_path / "student")
    assert loaded.predict(batch).pose.shape == (32, 1, 17, 3)


def test_wrong_teacher_raises(tmp_path):
    other = Config.model_validate({"system": {"kind": "martinez", "width": 8}, "data": DATA})
    pretrained.save_pretrained(tmp_path / "m", build_system(other), other.to_dict(), "card")
    config = Config.model_validate({"system": {"kind": "ites_student", "teacher": str(tmp_path / "m")}, "data": DATA})
    with pytest.raises(InputError, match="holds a martinez"):
        build_system(config)


def test_splits_of_projected_poses_share_nobody_and_only_training_is_thinned():
    settings = ProjectedConfig(sequences=6, fraction=0.5, labelled=0.5)
    train, val, test = (projected_poses(settings, split) for split in ("train", "val", "test"))
    people = [set(source.capture.subjects) for source in (train, val, test)]
    assert not people[0] & people[1]
    assert not people[1] & people[2]
    assert train.fraction == 0.5
    assert val.fraction == val.labelled == 1.0


def test_evaluation_conditions():
    config = Config.model_validate({"system": TEACHER, "data": DATA})
    options = DataOptions(preset="noisy", split="test")
    data = open_evaluation_data(config, ("joints_2d",), options)
    assert data.source.keypoints.sigma == 5.0
    assert data.split == "test"
    assert data.labelled is not None
    with pytest.raises(InputError, match="clean, noisy, missing"):
        open_evaluation_data(config, ("joints_2d",), DataOptions(preset="dirty"))


def test_baselines_know_the_poses_that_were_trained_on():
    config = Config.model_validate({"system": TEACHER, "data": DATA})
    assert build_prior(config.data).poses.shape == (160, 17, 3)
    assert build_labelled(config) is not None


def test_a_student_without_distillation_needs_no_teacher(tmp_path):
    system = {"kind": "ites_student", "channels": 8, "blocks": 1, "teacher": str(tmp_path / "nowhere")}
    student = {"system": system | {"weights": {"distillation": 0}}, "data": DATA}
    assert build_system(Config.model_validate(student)).teacher is None
