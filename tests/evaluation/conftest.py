import numpy as np
import pytest
import torch

from tests.evaluation.fakes import Source


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def noise():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(20, 5, 17, 3)) * 0.06).float()
