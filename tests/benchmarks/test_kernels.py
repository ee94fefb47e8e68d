"""Every benchmark runs at its smallest size; the figures mean nothing there."""

import json

import pytest
import torch

from selfsup3d.benchmarks import kinematics
from selfsup3d.benchmarks.harness import Disagreement, Settings
from selfsup3d.geometry.kinematics import forward_kinematics, inverse_kinematics, normalize_local_vectors
from selfsup3d.structures.skeleton import FK_PARENTS

QUICK = Settings(threads=1, quick=True)


def test_kinematics():
    row = kinematics.run(QUICK).to_json()
    json.dumps(row, allow_nan=False)
    assert row["ratio"] > 0
    assert row["max_error"] < 1e-5


def test_equivalent_rotations_of_any_pose():
    smplx = pytest.importorskip("smplx.lbs")
    torch.manual_seed(0)
    local = normalize_local_vectors(torch.randn(50, 13, 3, dtype=torch.float64))
    angle = torch.randn(50, dtype=torch.float64)
    joints = forward_kinematics(local, torch.stack((angle.cos(), angle.sin()), -1), 0.1 + torch.rand(50, 17).double())
    theirs, _ = smplx.batch_rigid_transform(*kinematics.smpl_arguments(joints), torch.tensor(FK_PARENTS))
    torch.testing.assert_close(theirs, joints)


def test_wrong_results_are_not_timed(monkeypatch):
    monkeypatch.setattr(kinematics, "inverse_kinematics", lambda joints, frames: inverse_kinematics(-joints, frames))
    with pytest.raises(Disagreement, match="T_fk"):
        kinematics.run(QUICK)


def test_a_missing_peer_is_named(monkeypatch):
    monkeypatch.setattr(kinematics, "optional", lambda _: None)
    row = kinematics.run(QUICK).to_json()
    assert row["ours_ms"] > 0
    assert row["peer_ms"] is None
    assert row["ratio"] is None
    assert "smplx" in row["reason"]
