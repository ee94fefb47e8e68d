import numpy as np
import pytest
import torch

from selfsup3d.config.lifters import MartinezConfig
from selfsup3d.errors import InputError
from selfsup3d.evaluation.evaluator import evaluate
from selfsup3d.evaluation.lifting import SeenJoints, lifted_frames
from selfsup3d.evaluation.measure import measure
from selfsup3d.evaluation.protocols import Protocol
from selfsup3d.evaluation.report import markdown, text
from selfsup3d.geometry.camera import project
from selfsup3d.models.lifters.martinez import Martinez
from selfsup3d.structures.batch import Batch, MissingFieldError, PoseOutput
from tests.evaluation.fakes import KnownErrors, Source


class Seen(Source):
    """Its 2D joints are the projections of its 3D ones."""

    def frames(self, indices):
        batch = super().frames(indices)
        joints = None if "joints_2d" in self.without else project(batch.joints_3d, batch.K)
        return Batch(**{**vars(batch), "joints_2d": joints})


class Looker(KnownErrors):
    """Finds the true 2D joints moved by `off` pixels, or none where `off` is None; keeps what it was asked."""

    off = 1.5

    def predict(self, batch, samples=1):
        self.batch = batch
        joints = None if self.off is None else project(self.truth.joints[batch.index], batch.K)[:, None] + self.off
        return PoseOutput(**{**vars(super().predict(batch, samples)), "joints_2d": joints})


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def lifter(seen):
    torch.manual_seed(0)
    system = Martinez(MartinezConfig(width=16, blocks=1))
    system.fit([seen.frames(np.arange(len(seen)))])
    return system.eval()


def test_both_rows_are_those_of_lifting_by_hand(seen, lifter):
    system = Looker(seen).eval()
    found, frames = lifted_frames(system, lifter, seen, protocol=Protocol(), batch_size=7, checkpoint="runs/lifter")
    everything = seen.frames(np.arange(len(seen)))
    known = torch.ones(len(seen), 17, dtype=torch.bool)
    for name, off in (("own_joints", Looker.off), ("given_joints", 0.0)):
        by_hand = lifter.predict(Batch(joints_2d=everything.joints_2d + off, K=everything.K))
        expected = measure(by_hand.pose[:, 0].double(), everything.joints_3d.double(), known, Protocol().flags)
        for metric in ("mpjpe", "pa_mpjpe", "n_mpjpe", "pck_150"):
            value = expected.frame[metric]
            assert found[name]["metrics"][metric] == pytest.approx(value.mean().item(), rel=1e-4)
            if name == "own_joints":
                np.testing.assert_allclose(frames[metric], value, rtol=1e-3, atol=1e-6)
        assert found[name]["frames"] == len(seen)
    assert found["own_joints"]["metrics"] != found["given_joints"]["metrics"]
    assert found["checkpoint"] == "runs/lifter"
    assert found["unit"] == "m"


def test_the_lifter_is_shown_joints_and_their_camera_and_no_image(seen):
    system = Looker(seen).eval()
    batch = SeenJoints(system, seen).frames(np.array([3, 5]))
    whole = seen.frames(np.array([3, 5]))
    torch.testing.assert_close(batch.joints_2d, whole.joints_2d + Looker.off)
    torch.testing.assert_close(batch.K, whole.K)
    assert batch.target is None
    assert batch.confidence is None
    assert [m["person"] for m in batch.meta] == ["p3", "p1"]


def test_crops_without_a_camera_have_the_one_that_the_system_assumes(monkeypatch):
    bare = Seen(without=("K",))
    monkeypatch.setattr(Looker, "predict", lambda self, batch, samples=1: PoseOutput(
        torch.zeros(len(batch), 1, 17, 3), joints_2d=torch.zeros(len(batch), 1, 17, 2)))  # fmt: skip
    monkeypatch.setattr(Seen, "frames", lambda self, indices: Batch(target=torch.zeros(len(indices), 3, 24, 24)))
    K = SeenJoints(Looker(bare).eval(), bare).frames(np.arange(2)).K
    torch.testing.assert_close(K[:, :2, 2], torch.full((2, 2), 12.0))
    assert (K[:, 0, 0] > 24).all()


def test_without_2d_joints_in_the_data_there_is_no_second_row(lifter):
    bare = Seen(without=("joints_2d",))
    found, _ = lifted_frames(Looker(bare).eval(), lifter, bare, protocol=Protocol())
    assert found["given_joints"] is None
    assert found["own_joints"]["metrics"]["pa_mpjpe"] > 0


@pytest.mark.parametrize("render", [text, markdown])
def test_rows_stand_below_the_system_s_own(seen, lifter, render):
    system = Looker(seen).eval()
    result = evaluate(system, seen, progress=False)
    result["lifted"], _ = lifted_frames(system, lifter, seen, protocol=Protocol(), checkpoint="runs/lifter")
    lines = render(result).splitlines()
    start = next(i for i, line in enumerate(lines) if "this system" in line)
    assert "lifted from its own 2D joints" in lines[start + 1]
    assert f"{result['lifted']['own_joints']['metrics']['mpjpe']:.1f}" in lines[start + 1]
    assert "lifted from the data's 2D joints" in lines[start + 2]
    assert any("lifter: runs/lifter, poses in unit 'm'" in line for line in lines)


def test_a_lifter_of_unknown_scale_has_its_aligned_errors_alone(seen, lifter, monkeypatch):
    monkeypatch.setattr(type(lifter), "unit", "relative")
    found, _ = lifted_frames(Looker(seen).eval(), lifter, seen, protocol=Protocol())
    assert found["unit"] == "relative"
    assert found["own_joints"]["metrics"]["mpjpe"] is None
    assert "unit 'relative'" in found["own_joints"]["reasons"]["mpjpe"]
    assert found["own_joints"]["metrics"]["pa_mpjpe"] > 0


def test_unliftable_systems_raise_before_anything_is_measured(seen, lifter, monkeypatch):
    system = Looker(seen).eval()
    with pytest.raises(InputError, match=r"runs/v1: this system takes images; keypoints need a lifter"):
        lifted_frames(system, system, seen, protocol=Protocol(), checkpoint="runs/v1")
    system.off = None
    with pytest.raises(InputError, match="Looker predicts no 2D joints"):
        lifted_frames(system, lifter, seen, protocol=Protocol())
    with pytest.raises(InputError, match="Martinez predicts no 2D joints"):
        lifted_frames(lifter, lifter, seen, protocol=Protocol())
    bare = Seen(without=("target",))
    with pytest.raises(MissingFieldError, match="Looker needs target"):
        lifted_frames(Looker(bare).eval(), lifter, bare, protocol=Protocol())
    assert [asked for asked in seen.asked if len(asked) > 1] == [list(range(20))]  # the lifter's statistics, above
