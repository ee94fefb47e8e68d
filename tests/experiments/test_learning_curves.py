import json

import numpy as np

from selfsup3d.experiments.learning_curves import learning_curves, read_scalars


def test_curves_come_from_the_log_with_beta(tmp_path):
    lines = [
        {"step": k, "loss/vae/kl": 1.0 / k, "loss/vae/_beta": 1e-3, "lr/main": 0.1, "val/mpjpe": None}
        for k in (1, 2, 3)
    ]
    (tmp_path / "scalars.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scalars = read_scalars(tmp_path)
    assert scalars["loss/vae/kl"][0].tolist() == [1, 2, 3]
    assert np.isnan(scalars["val/mpjpe"][1]).all()
    image = learning_curves(tmp_path)
    assert image.ndim == 3
    assert image.std() > 1


def test_a_model_without_a_log_has_none(tmp_path):
    assert learning_curves(tmp_path) is None
