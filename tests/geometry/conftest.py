import os
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def mocap() -> torch.Tensor:
    """(N, 17, 3) all poses of the motion capture, metres, y-up world, float32."""
    folder = os.environ.get("SELFSUP3D_DATA")
    if not folder or not (path := Path(folder) / "mocap.npz").is_file():
        pytest.skip("needs mocap.npz in the folder named by SELFSUP3D_DATA")
    with np.load(path, allow_pickle=False) as data:
        return torch.from_numpy(data["positions"])
