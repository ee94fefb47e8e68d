"""Every dataset that launch/evaluate.py can open, from generated files in the layouts people have."""

import numpy as np
import pytest
import torch
from torch import nn

from selfsup3d.builders import evaluation_data, systems
from selfsup3d.builders.evaluation_data import DATASETS, DataOptions, open_evaluation_data
from selfsup3d.config.datasets import PeopleConfig, ShardsConfig, SyntheticConfig
from selfsup3d.config.run import Config
from selfsup3d.data.datasets.h36m.layouts import find_h36m
from selfsup3d.data.datasets.index_build import build_index
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.errors import InputError
from selfsup3d.evaluation.baselines import Baselines, labelled_baselines
from selfsup3d.evaluation.evaluator import evaluate
from selfsup3d.evaluation.protocols import dataset_protocol
from selfsup3d.geometry.camera import project
from selfsup3d.models.system import System
from selfsup3d.preparation.datasets import shard_index
from selfsup3d.structures.batch import PoseOutput
from selfsup3d.structures.random import RandomStreams
from tests.data.generators import h36m, mpi_inf_3dhp, threedpw

LIFTER = ("joints_2d",)
TINY = Config(data=SyntheticConfig(preset="tiny-test"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path / "cache"))


class Constant(System):
    """Predicts one pose, whatever it sees."""

    predict_requires = LIFTER

    def __init__(self, pose):
        super().__init__()
        self.pose = nn.Parameter(pose)

    def parameter_groups(self):
        return {}

    def updates(self, step, progress):
        return []

    def losses(self, batch, turn, progress):
        return {}

    def predict(self, batch, samples=1):
        return PoseOutput(pose=self.pose.expand(len(batch), 1, 17, 3))


def measured(data, name):
    """The mean training pose as a system: its numbers must be those of the baseline."""
    pose, _ = labelled_baselines(data.labelled)
    baselines = Baselines(mean_pose=pose, reasons=data.reasons)
    result = evaluate(
        Constant(pose.float()),
        data.source,
        protocol=dataset_protocol(name),
        baselines=baselines,
        split=data.split,
        progress=False,
    )
    for metric in ("mpjpe", "pa_mpjpe"):
        assert result["metrics"][metric] == pytest.approx(result["baselines"]["mean_pose"][metric], rel=1e-4)
    return result


def test_h36m_is_measured_on_its_test_subjects_with_the_train_subjects_mean_pose(tmp_path):
    scene = h36m.Scene(subjects=("S1", "S9"), trials=("Directions 1", "WalkingDog"), frames=6)
    h36m.npz(tmp_path / "h36m", scene)
    data = open_evaluation_data(TINY, LIFTER, DataOptions("h36m", root=tmp_path / "h36m"))
    assert (data.name, data.split, len(data.source), len(data.labelled)) == ("h36m", "test", 48, 48)
    result = measured(data, "h36m")
    assert set(result["per_action"]) == {"Directions", "WalkDog"}
    assert result["frames"] == 48
    assert "P1 = mpjpe" in result["notes"]["protocols"]
    assert "boxes" in result["notes"]
    every_third = open_evaluation_data(TINY, LIFTER, DataOptions("h36m", root=tmp_path / "h36m", every=3))
    assert len(every_third.source) == 16


def test_3dpw_counts_limbs_and_names_where_its_joints_come_from(tmp_path):
    threedpw.write_sequence(tmp_path / "3dpw", images=False)
    data = open_evaluation_data(TINY, LIFTER, DataOptions("3dpw", root=tmp_path / "3dpw"))
    assert data.labelled.name == "synthetic"  # 3DPW is never trained on, not even by a baseline
    result = measured(data, "3dpw")
    assert result["flags"]["root"] == "mid_hips"
    assert result["notes"]["joint_set"] == "limbs_12"
    assert "jointPositions" in result["notes"]["joints"]
    assert set(result["beside"]) == {"lsp_14"}
    assert (result["frames"], result["skipped"]) == (18, 2)


def test_mpi_inf_3dhp_without_its_training_part_says_so(tmp_path):
    mpi_inf_3dhp.write_test_sequence(tmp_path / "mpi", images=False)
    data = open_evaluation_data(TINY, LIFTER, DataOptions("mpi_inf_3dhp", root=tmp_path / "mpi"))
    assert data.labelled is None
    assert "not here" in data.reasons["mean_pose"]
    assert len(data.source) == 9  # one frame is not valid
    metric = data.source.frames(np.arange(9)).joints_3d
    universal = open_evaluation_data(
        TINY, LIFTER, DataOptions("mpi_inf_3dhp", root=tmp_path / "mpi", annotation="universal")
    ).source.frames(np.arange(9))
    ratio = (universal.joints_3d - universal.joints_3d[:, :1]).norm() / (metric - metric[:, :1]).norm()
    assert ratio == pytest.approx(0.9, abs=0.01)


def test_images_are_read_only_for_systems_that_need_them(tmp_path):
    threedpw.write_sequence(tmp_path / "3dpw", frames=4, size=(270, 480))
    options = DataOptions("3dpw", root=tmp_path / "3dpw")
    assert open_evaluation_data(TINY, LIFTER, options).source.frames(np.arange(2)).target is None
    seen = open_evaluation_data(TINY, ("target",), options).source.frames(np.arange(2))
    assert seen.target.shape == (2, 3, 64, 64)
    assert torch.isfinite(seen.K).all()


def test_shards_are_measured_on_their_test_crops(tmp_path):
    pytest.importorskip("webdataset")
    scene = h36m.Scene(subjects=("S1", "S9"), trials=("Walking 1",), frames=4, speed=5)
    h36m.fetch(tmp_path / "h36m", scene)
    index = build_index(find_h36m(tmp_path / "h36m"), progress=False).index
    shard_index(index, tmp_path / "shards", 64, None, 100, progress=False)
    trained = Config(data=ShardsConfig(root=tmp_path / "shards", size=64))
    data = open_evaluation_data(trained, ("target",), DataOptions())
    assert (data.name, data.split, len(data.source)) == ("h36m", "test", 16)
    batch = data.source.frames(np.arange(3))
    assert batch.target.shape == (3, 3, 64, 64)
    assert torch.isfinite(batch.joints_3d).all()
    assert "not read" in data.reasons["mean_pose"]


@pytest.mark.parametrize("name", [n for n in DATASETS if n not in ("synthetic", "people", "projected")])
def test_a_missing_or_wrong_root_is_named(name, tmp_path):
    with pytest.raises(InputError, match="root"):
        open_evaluation_data(TINY, LIFTER, DataOptions(name))
    with pytest.raises(InputError, match="nowhere"):
        open_evaluation_data(TINY, LIFTER, DataOptions(name, root=tmp_path / "nowhere"))


def test_unknown_names_are_answered_with_known_ones():
    with pytest.raises(InputError, match="did you mean 'h36m'"):
        open_evaluation_data(TINY, LIFTER, DataOptions("h36"))
    with pytest.raises(InputError, match="3dpw has the splits test, val, train, all"):
        open_evaluation_data(TINY, LIFTER, DataOptions("3dpw", split="dev"))


def test_rendered_people_come_with_their_poses_and_are_others_than_those_of_training(monkeypatch):
    monkeypatch.setattr(evaluation_data, "_PEOPLE", 6)
    monkeypatch.setattr(systems, "_people_poses", lambda *_: ProceduralPrior())
    config = Config(data=PeopleConfig(size=32, pool=6))
    data = open_evaluation_data(config, ("target",), DataOptions())
    assert (data.name, data.split, len(data.source)) == ("people", "val", 6)
    batch = data.source.frames(np.arange(6))
    assert batch.target.shape == (6, 3, 32, 32)
    pixels = project(batch.joints_3d, batch.K)
    assert ((pixels > 0) & (pixels < 32)).all(-1).float().mean() > 0.6  # some are cut off
    again = open_evaluation_data(config, ("target",), DataOptions("people")).source.frames(np.arange(6))
    assert torch.equal(batch.target, again.target)
    trained = systems.people_source(config.data).batch(RandomStreams(config.seed, 0, np.arange(6)))
    assert not {m["person"] for m in batch.meta} & {m["person"] for m in trained.meta}
    assert (batch.joints_3d[:, 0, 2] > 1).all()  # in front of the camera
