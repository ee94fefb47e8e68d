"""Data that live on the device: no workers, no pinning, and the same samples."""

import json

import pytest
import torch

from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.data.sampling.projected_poses import ProjectedPoses
from selfsup3d.data.synthetic.capture import procedural_capture
from selfsup3d.training.device import make_accelerator
from selfsup3d.training.loop import train


def run(folder, workers, moves=None):
    config = Config.model_validate(
        {
            "system": {"kind": "geometric", "width": 16, "blocks": 1, "critic_blocks": 1},
            "data": {"kind": "projected"},
            "trainer": {"steps": 4, "batch_size": 16, "workers": workers, "ema": 0, "images": 0, "fit_batches": 4,
                        "log_every": 1, "mixed_precision": "no", "device": "cpu"},
            "output_dir": str(folder),
        }
    )  # fmt: skip
    source = ProjectedPoses(procedural_capture(6, frames=8), name="procedural")
    if moves is not None:
        source.to = lambda device: moves.append(str(device))
    accelerator = make_accelerator(config.trainer)
    result = train(config, build_system(config), source, accelerator=accelerator)
    return result.system.state_dict()


@pytest.mark.slow
def test_poses_move_to_the_device_where_no_worker_needs_them_and_samples_stay_the_same(tmp_path):
    moves = []
    resident = run(tmp_path / "resident", 0, moves)
    worked = run(tmp_path / "workers", 1, moves)
    assert moves == ["cpu"]
    assert all(torch.equal(value, worked[name]) for name, value in resident.items())
    assert json.loads((tmp_path / "resident" / "scalars.jsonl").read_text().splitlines()[-1])["step"] == 4


def test_moved_poses_make_samples_there():
    source = ProjectedPoses(procedural_capture(2, frames=4))
    assert source.to("meta").poses.positions.device.type == "meta"
