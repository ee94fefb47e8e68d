"""What grows over a run: nothing but bounded logs."""

import os
from pathlib import Path

import numpy as np
import pytest

from selfsup3d.structures.random import RandomStreams
from selfsup3d.training.loop import train
from tests.training.toy import Autoencoder, Noise, config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc"),
]

STEPS = 2000


class Watching(Noise):
    """Notes memory (MiB) and open files of its process at some steps."""

    def __init__(self):
        super().__init__()
        self.memory, self.files = {}, {}

    def batch(self, streams):
        if streams.step % 250 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.memory[streams.step] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            self.files[streams.step] = len(os.listdir("/proc/self/fd"))
        return super().batch(streams)


def test_memory_open_files_and_logs_are_flat(tmp_path):
    source = Watching()
    images = source.batch(RandomStreams(0, 1, np.arange(2)))
    run = config(tmp_path, steps=STEPS, checkpoint_every=40, log_every=1, image_every=1, threads=1, keep_checkpoints=2)
    train(run, Autoencoder(), source, images=images)
    memory, files = list(source.memory.values())[2:], list(source.files.values())[2:]
    assert max(memory) - memory[0] < 16, source.memory
    assert max(files) - files[0] <= 1, source.files
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert len((tmp_path / "scalars.jsonl").read_text().splitlines()) == STEPS
    events = sum(path.stat().st_size for path in (tmp_path / "tensorboard").iterdir())
    assert events < 3 * 2**20
