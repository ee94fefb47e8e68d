import numpy as np
import pytest
import torch

from selfsup3d.data.sampling.mixture import Mixture
from selfsup3d.errors import InputError
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams


class Toy:
    def __init__(self, name: str, size: int, frames: int, labelled: bool = False) -> None:
        self.name, self.image_size, self._frames, self._labelled = name, size, frames, labelled

    def __len__(self) -> int:
        return self._frames

    def batch(self, streams: RandomStreams) -> Batch:
        values = torch.from_numpy(streams.uniform(4)).float()
        labels = torch.zeros(len(streams), 17, 2) if self._labelled else None
        meta = tuple({"dataset": self.name} for _ in range(len(streams)))
        return Batch(index=torch.from_numpy(streams.indices.copy()), unpaired=values, joints_2d=labels, meta=meta)

    def frames(self, indices: np.ndarray) -> Batch:
        meta = tuple({"dataset": self.name, "frame": int(i)} for i in indices)
        return Batch(index=torch.from_numpy(np.asarray(indices)), meta=meta)


def test_each_sample_keeps_its_place_its_draw_and_its_dataset():
    mixture = Mixture([Toy("a", 64, 10), Toy("b", 64, 30)], weights=[1, 3])
    batch = mixture.batch(RandomStreams(0, 0, np.arange(2000)))
    assert batch.index.tolist() == list(range(2000))
    names = np.array([m["dataset"] for m in batch.meta])
    assert abs((names == "b").mean() - 0.75) < 0.03
    # One uniform went into the choice; the sample's own stream goes on from there, whoever its neighbours are.
    streams = RandomStreams(0, 0, np.arange(2000))
    choice = streams.uniform()
    assert np.array_equal(names == "b", choice >= 0.25)
    assert torch.equal(batch.unpaired, torch.from_numpy(streams.uniform(4)).float())


def test_a_sample_does_not_depend_on_the_batch_round_it():
    mixture = Mixture([Toy("a", 64, 10), Toy("b", 64, 30)])
    whole = mixture.batch(RandomStreams(1, 2, np.arange(32)))
    part = mixture.batch(RandomStreams(1, 2, np.arange(10, 14)))
    assert torch.equal(whole.unpaired[10:14], part.unpaired)
    assert whole.meta[10:14] == part.meta


def test_default_weights_follow_the_number_of_frames():
    assert np.allclose(Mixture([Toy("a", 64, 10), Toy("b", 64, 30)]).weights, [0.25, 0.75])


def test_evaluation_frames_run_through_the_datasets():
    mixture = Mixture([Toy("a", 64, 3), Toy("b", 64, 2)])
    assert len(mixture) == 5
    meta = mixture.frames(np.array([4, 0, 3, 2])).meta
    assert [(m["dataset"], m["frame"]) for m in meta] == [("b", 1), ("a", 0), ("b", 0), ("a", 2)]


def test_labels_of_one_dataset_alone_are_dropped():
    mixed = Mixture([Toy("a", 64, 10, labelled=True), Toy("b", 64, 10)])
    assert mixed.batch(RandomStreams(0, 0, np.arange(64))).joints_2d is None
    both = Mixture([Toy("a", 64, 10, labelled=True), Toy("b", 64, 10, labelled=True)])
    assert both.batch(RandomStreams(0, 0, np.arange(64))).joints_2d.shape == (64, 17, 2)


@pytest.mark.parametrize(
    ("sources", "weights", "words"),
    [
        ([], None, "at least one"),
        ([Toy("a", 64, 1), Toy("a", 64, 1)], None, "different names"),
        ([Toy("a", 64, 1), Toy("b", 32, 1)], None, "one image size"),
        ([Toy("a", 64, 1), Toy("b", 64, 1)], [1.0], "one positive weight"),
        ([Toy("a", 64, 1), Toy("b", 64, 1)], [1.0, -1.0], "one positive weight"),
        ([Toy("a", 64, 1), Toy("b", 64, 1)], [1.0, float("nan")], "one positive weight"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(sources, weights, words):
    with pytest.raises(InputError, match=words):
        Mixture(sources, weights)
