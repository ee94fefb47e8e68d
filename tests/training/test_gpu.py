"""The loop on a GPU: every precision learns and resumes."""

import json

import pytest
import torch

from selfsup3d.training.loop import train
from tests.training.toy import Autoencoder, Noise, config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16", "auto"])
def test_every_precision_learns_and_resumes(tmp_path, precision):
    settings = {"device": "auto", "mixed_precision": precision, "log_every": 20, "workers": 1}
    train(config(tmp_path, steps=100, **settings), Autoencoder("fused"), Noise())
    result = train(config(tmp_path, steps=200, resume="auto", **settings), Autoencoder("fused"), Noise())
    assert result.step == 200
    assert next(result.system.parameters()).is_cuda
    lines = [json.loads(line) for line in (tmp_path / "scalars.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 200
    assert lines[-1]["loss/all/image"] < 0.7 * lines[0]["loss/all/image"]
    scaler = json.loads((tmp_path / "checkpoints" / "step-00000200" / "state.json").read_text())["scaler"]
    assert (scaler is not None) == (precision == "fp16")
