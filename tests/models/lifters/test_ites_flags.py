"""The flags that the sweeps give ITES: those of the teacher, on poses they were not chosen on and on those they were."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from selfsup3d.builders.systems import build_system
from selfsup3d.config.flags import parse_config
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.evaluation.metrics import pa_mpjpe
from selfsup3d.structures.random import RandomStreams
from selfsup3d.training.optimizers import UpdateOptimizers
from tests.models.lifters.catalogue import capture

CONFIGS = Path(__file__).parents[3] / "configs" / "lifters"


def flags(sweep: str, experiment: str) -> dict[str, str]:
    content = yaml.safe_load((CONFIGS / f"{sweep}.yaml").read_text(encoding="utf-8"))
    words = [*content["flags"], *content["experiments"][experiment]["flags"]]
    given: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            given[flag := word] = ""  # a switch has no value
        else:
            given[flag] = word
    return given | {"--config": content["experiments"][experiment]["config"]}


def trained(source, steps, experiment="ites_teacher"):
    """A lifter by the benchmark's flags, and its losses at every step."""
    torch.manual_seed(0)
    chosen = flags("benchmark", experiment)
    chosen["--config"] = str(CONFIGS / Path(chosen["--config"]).name)
    config = parse_config([word for pair in chosen.items() for word in pair if word], "")
    system = build_system(config)
    size = config.trainer.batch_size
    system.fit(source.batch(RandomStreams(1, step, np.arange(size))) for step in range(8))
    optimizers, losses = UpdateOptimizers(system, config.trainer), []
    for step in range(steps):
        (update,) = system.updates(step, step / steps)
        terms = system(source.batch(RandomStreams(0, step, np.arange(size))), update.name, step / steps)
        system.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        optimizers.clip(update)
        optimizers.step(update, step / steps)
        losses.append({name: value.item() for name, value in terms.items()})
    return system.eval(), losses


def test_the_teacher_keeps_its_poses_in_front_of_the_camera():
    """Twice as wide and deep at this rate, without warm-up, the first steps threw poses behind the camera, and the
    re-projection error rose fortyfold and stayed there."""
    system, losses = trained(source := ProjectedPoses(capture(), name="procedural"), 60)
    reprojection = [loss["reprojection"] for loss in losses]
    assert max(reprojection) < 3 * reprojection[0]
    assert np.mean(reprojection[-5:]) < 0.5 * reprojection[0]
    with torch.no_grad():
        depth = system.lifted(system.observe(source.batch(RandomStreams(2, 0, np.arange(256)))).values)[..., 2]
    assert depth.min() > 1.0 - system.distance


def test_the_sweeps_train_the_same_teacher():
    chosen = flags("benchmark", "ites_teacher")
    assert flags("ites_ablations", "teacher_alone") == chosen
    assert flags("poses", "ites_teacher_100_percent") == chosen | {"--data.fraction": "1"}


@pytest.mark.parametrize("experiment", ["without_2d_cycle", "without_invariance", "without_facing", "without_compactness",
                                 "any_axis", "axis_angle", "4_atoms", "32_atoms"])  # fmt: skip
def test_an_ablation_differs_in_one_thing(experiment):
    chosen, other = flags("ites_ablations", "teacher_alone"), flags("ites_ablations", experiment)
    assert len({name for name in chosen | other if chosen.get(name) != other.get(name)}) == 1


def test_the_sweeps_train_the_same_student():
    teacher = "--system.teacher"
    chosen, other = flags("benchmark", "ites_student"), flags("ites_ablations", "student_shared_edges")
    assert (chosen.pop(teacher), other.pop(teacher)) == ("{run:ites_teacher}", "{run:teacher_alone}")
    assert chosen == other


@pytest.mark.parametrize(
    ("experiment", "parts"),
    [
        ("student_edges_per_channel", {"--system.edges"}),
        ("student_without_distillation", {"--system.teacher", "--system.weights.distillation"}),
    ],
)
def test_an_ablation_of_the_student_differs_in_one_thing(experiment, parts):
    chosen, other = flags("ites_ablations", "student_shared_edges"), flags("ites_ablations", experiment)
    assert {name for name in chosen | other if chosen.get(name) != other.get(name)} == parts


@pytest.mark.slow
@pytest.mark.skipif("SELFSUP3D_DATA" not in os.environ, reason="SELFSUP3D_DATA (real motion capture) is not set")
def test_the_teacher_finds_depth_on_real_motion():
    """Better than the validation keypoints without any depth, by far."""
    path = Path(os.environ["SELFSUP3D_DATA"]) / "mocap.npz"
    system, _ = trained(ProjectedPoses(load_mocap(path, "train")), 1500)
    held_out = ProjectedPoses(load_mocap(path, "val"))
    batch = held_out.frames(np.linspace(0, len(held_out) - 1, 600).round().astype(int))
    assert batch.joints_3d is not None
    assert pa_mpjpe(system.predict(batch).pose[:, 0].double(), batch.joints_3d.double()).mean() < 80.0
