import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup3d.builders.lifters import projected_poses
from selfsup3d.builders.systems import build_system, load_system
from selfsup3d.config.run import Config
from selfsup3d.experiments.release import save_release

MOCAP = Path(os.environ.get("SELFSUP3D_DATA", "")) / "mocap.npz"


@pytest.mark.skipif(not MOCAP.is_file(), reason="needs the motion capture of SELFSUP3D_DATA")
@pytest.mark.parametrize("frames", [1, 9])
def test_a_released_lifter_predicts_alike_names_no_path_and_quotes_the_database(frames, tmp_path):
    torch.manual_seed(0)
    values = {
        "system": {"kind": "keypoint_lifter", "width": 32, "blocks": 1, "widths": [3, 3] if frames == 9 else []},
        "data": {"kind": "projected", "mocap": str(MOCAP), "frames": frames, "detector": {}, "variation": {}},
    }
    config = Config.model_validate(values)
    system = build_system(config).eval()
    for parameter in system.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_release(tmp_path / "model", config, system, [])
    loaded, again = load_system(tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert stored["config"]["data"]["mocap"] == "mocap.npz"
    assert again.data.mocap is None  # a name that a model carries is told, never followed
    batch = projected_poses(config.data, "val").frames(np.arange(8))
    pose, other = system.predict(batch), loaded.predict(batch)
    torch.testing.assert_close(pose.pose, other.pose, atol=5e-3, rtol=0)
    torch.testing.assert_close(pose.root, other.root, rtol=1e-2, atol=1e-2)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "NSF EIA-0196217" in card
    assert "supervision: 3D poses of the training subjects" in card
    assert "left/right swaps" in card
    assert str(MOCAP.parent) not in card + (tmp_path / "model" / "config.json").read_text(encoding="utf-8")
