import os
from pathlib import Path

import pytest
import torch

from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.experiments import lifter_conditions
from selfsup3d.io import pretrained
from selfsup3d.structures.batch import PoseOutput

MOCAP = Path(os.environ.get("SELFSUP3D_DATA", "")) / "mocap.npz"
needs_mocap = pytest.mark.skipif(not MOCAP.is_file(), reason="needs the motion capture of SELFSUP3D_DATA")


class Oracle(torch.nn.Module):
    """Knows the poses, but for half of its distance."""

    predict_requires = ("joints_2d",)

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def predict(self, batch, samples=1):
        joints = batch.joints_3d
        root = None if batch.K is None else 0.5 * joints[:, None, 0]
        return PoseOutput((joints - joints[:, :1])[:, None], root=root)


@needs_mocap
def test_the_truth_has_no_error_under_any_condition():
    for condition in lifter_conditions.conditions():
        found = lifter_conditions.measure(Oracle(), MOCAP, "val", condition, stride=50, limit=20)
        assert found["mpjpe"] == pytest.approx(0.0, abs=0.01)
        assert found["flat"] > 20
        assert found["distance"] == (pytest.approx(0.5) if condition.known else None)


@needs_mocap
def test_the_page_names_command_split_and_every_model(tmp_path, capsys):
    values = {
        "system": {"kind": "keypoint_lifter", "width": 8, "blocks": 1},
        "data": {"kind": "projected"},
    }
    config = Config.model_validate(values)
    pretrained.save_pretrained(tmp_path / "lifter" / "model", build_system(config), config.to_dict(), "card")
    page = tmp_path / "page.md"
    given = [str(tmp_path / "lifter"), "--data.mocap", str(MOCAP), "--limit", "10", "--results", str(page)]
    assert lifter_conditions.main(given) == 0
    text = page.read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert "--split val --limit 10" in text
    assert "| lifter |" in text
    assert "zero-depth baseline" in text
    for condition in lifter_conditions.conditions():
        assert condition.title in text
