import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """The toy system is too small for several threads, which then wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
