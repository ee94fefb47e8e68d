"""The flags that the table gives C3DPO."""

import os
from pathlib import Path

import numpy as np
import pytest

from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.evaluation.metrics import pa_mpjpe
from tests.models.lifters.test_ites_flags import trained


@pytest.mark.slow
@pytest.mark.skipif("SELFSUP3D_DATA" not in os.environ, reason="SELFSUP3D_DATA (real motion capture) is not set")
def test_c3dpo_finds_depth_on_real_motion():
    """Better than the validation keypoints without any depth, by far; by the paper's terms it is not."""
    path = Path(os.environ["SELFSUP3D_DATA"]) / "mocap.npz"
    system, _ = trained(ProjectedPoses(load_mocap(path, "train")), 1200, "c3dpo_views")
    held_out = ProjectedPoses(load_mocap(path, "val"))
    batch = held_out.frames(np.linspace(0, len(held_out) - 1, 600).round().astype(int))
    assert batch.joints_3d is not None
    assert pa_mpjpe(system.predict(batch).pose[:, 0].double(), batch.joints_3d.double()).mean() < 85.0
