"""What `train` does with a config that self-trains on videos, before the first step."""

from dataclasses import replace

import numpy as np
import pytest
from accelerate import Accelerator

from selfsup3d.commands import train
from selfsup3d.config.datasets import SyntheticConfig, VideosConfig
from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.config.run import Config
from selfsup3d.data.sampling.clip_pairs import PairSource
from selfsup3d.data.sampling.clip_store import Clip
from selfsup3d.data.synthetic.people_images import PeopleSource, WithPeople
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.errors import InputError
from selfsup3d.experiments.self_training import FILE, PseudoLabels


@pytest.fixture
def source():
    frames = np.zeros((6, 32, 32, 3), np.uint8)
    return PairSource([Clip("a", frames, frames[..., 0], frames[0], {})])


def config(tmp_path, **changes):
    system = PartGuidedConfig(supervision="teacher")
    return Config(**{"system": system, "data": VideosConfig(), "output_dir": tmp_path, **changes})


def start(settings, source):
    return train._self_train(settings, None, source, source, Accelerator(cpu=True))


def test_self_training_on_videos_without_weights_is_refused(tmp_path, source):
    with pytest.raises(InputError, match="begin with one: --weights"):
        start(config(tmp_path), source)


def test_other_data_and_other_supervision_make_no_pseudo_labels(tmp_path, source):
    assert start(config(tmp_path, data=SyntheticConfig()), source) is None
    assert start(config(tmp_path, system=PartGuidedConfig()), source) is None
    assert not list(tmp_path.iterdir())


def test_videos_beside_rendered_people_are_learned_from_too(tmp_path, source, monkeypatch):
    monkeypatch.setattr(train, "part_guided_teacher", lambda path: _Teacher())
    monkeypatch.setattr(train, "agreement", lambda network, frames: {"spread_mm": 1.0})
    labels = PseudoLabels(np.ones((6, 17, 3), np.float32), np.ones(6, np.float32), np.ones((6, 5), np.float32), "w")
    monkeypatch.setattr(train, "make_pseudo_labels", lambda teacher, frames, name: replace(labels, teacher=name))
    given = []
    monkeypatch.setattr(source, "learn_from", lambda joints, weight: given.append(joints))
    both = WithPeople(source, PeopleSource(ProceduralPrior(4), 32, pool=2))
    settings = config(tmp_path, weights=tmp_path / "first")
    assert train._self_train(settings, None, both, source, Accelerator(cpu=True)) == {"spread_mm": 1.0}
    assert len(given) == 1


def test_stored_pseudo_labels_are_used_again_and_those_of_another_teacher_refused(tmp_path, source, monkeypatch):
    asked = []
    monkeypatch.setattr(train, "part_guided_teacher", lambda path: _Teacher())
    monkeypatch.setattr(train, "agreement", lambda network, frames: {"spread_mm": 1.0})

    def make(teacher, frames, name):
        asked.append(name)
        return PseudoLabels(np.ones((6, 17, 3), np.float32), np.ones(6, np.float32), np.ones((6, 5), np.float32), name)

    monkeypatch.setattr(train, "make_pseudo_labels", make)
    for _ in range(2):
        assert start(config(tmp_path, weights=tmp_path / "first"), source) == {"spread_mm": 1.0}
    assert asked == [str(tmp_path / "first")]
    assert (tmp_path / FILE).is_file()
    with pytest.raises(InputError, match=r"of teacher .*first"):
        start(config(tmp_path, weights=tmp_path / "second"), source)


class _Teacher:
    def to(self, device):
        return self
