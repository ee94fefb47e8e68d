"""Data workers on small machines, and workers that die."""

import os
import signal
import sys

import pytest
import torch

from selfsup3d.errors import RunFailedError
from selfsup3d.io import pretrained
from selfsup3d.training import loading
from selfsup3d.training.checkpoint import find_checkpoint
from selfsup3d.training.loop import train
from tests.training.toy import Autoencoder, Noise, config


def last(folder):
    return pretrained.read_tensors(find_checkpoint("auto", folder) / "training.safetensors")


@pytest.mark.parametrize("scarce", ["memory", "files"])
def test_little_shared_memory_changes_the_way_and_not_the_result(tmp_path, monkeypatch, capsys, scarce):
    train(config(tmp_path / "ample"), Autoencoder(), Noise())
    if scarce == "memory":
        monkeypatch.setattr(loading, "_free", lambda: 1000)
    else:
        monkeypatch.setattr(loading.resource, "getrlimit", lambda which: (70, 70))
    train(config(tmp_path / "short", workers=2), Autoencoder(), Noise())
    assert "batches go through pipes" in capsys.readouterr().err
    one, other = last(tmp_path / "ample"), last(tmp_path / "short")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_free_shared_memory_is_that_of_the_file_system(tmp_path):
    assert 0 < loading._free(tmp_path) <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert loading._free(tmp_path / "absent") == sys.maxsize


class Deadly(Noise):
    """Its worker dies at a step, as of the kernel's hand."""

    def __init__(self, step):
        super().__init__()
        self.step, self.parent = step, os.getpid()

    def batch(self, streams):
        if streams.step == self.step and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(streams)


def test_a_killed_worker_ends_the_run_with_one_line_and_a_saved_state(tmp_path):
    settings = {"steps": 20, "workers": 1, "checkpoint_every": 20}
    with pytest.raises(
        RunFailedError, match=r"a data worker was killed.*Step \d+ is saved: --resume auto goes on"
    ) as told:
        train(config(tmp_path, **settings), Autoencoder(), Deadly(12))
    assert "\n" not in str(told.value)
    train(config(tmp_path, resume="auto", **settings), Autoencoder(), Noise())
    train(config(tmp_path / "whole", **settings), Autoencoder(), Noise())
    one, other = last(tmp_path), last(tmp_path / "whole")
    assert all(torch.equal(one[name], other[name]) for name in one)
