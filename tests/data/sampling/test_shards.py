"""Shards: what is written comes back; each sample once an epoch; ranks read different shards; any process count alike."""

import json

import numpy as np
import pytest
import torch

from selfsup3d.data.sampling.augmentation import Augmentation
from selfsup3d.data.sampling.shards import ShardSource, lanes_of
from selfsup3d.data.sampling.shards_write import Record, write_shards
from selfsup3d.data.sampling.step_dataset import StepStream
from selfsup3d.errors import InputError
from selfsup3d.structures.random import RandomStreams

pytest.importorskip("webdataset")
SIZE = 32


def records(count=96, people=6):
    rng = np.random.default_rng(0)
    for n in range(count):
        crop = np.full((SIZE, SIZE, 3), (n * 2 % 256, 40, 200 - n), np.uint8)
        joints = rng.normal(size=(17, 3)) + np.array([0, 0, 4])
        joints[9] = np.nan
        yield Record(
            crop=crop,
            K=np.array([[40.0, 0, 16], [0, 41, 16], [0, 0, 1]]),
            person=f"p{n * people // count}",
            saliency=np.full((SIZE, SIZE), n, np.uint8),
            background=np.full((SIZE, SIZE, 3), 255 - n, np.uint8),
            meta={"frame": n, "action": "Walking"},
            labels={"joints_3d": joints, "joints_2d": np.full((17, 2), float(n)), "confidence": np.ones(17)},
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    assert write_shards(folder, records(), "h36m", per_shard=8) == 96
    return folder


def frames_of(batch):
    return [m["frame"] for m in batch.meta]


def test_round_trip(folder):
    source = ShardSource(folder, SIZE)
    assert len(source) == 96
    assert source.name == "h36m"
    batch = source.frames(np.array([0, 7, 8, 95]))
    assert frames_of(batch) == [0, 7, 8, 95]
    expected = list(records())
    for row, number in enumerate((0, 7, 8, 95)):
        record = expected[number]
        assert (batch.target[row].permute(1, 2, 0) * 255 - torch.from_numpy(record.crop)).abs().mean() < 3
        assert (batch.target_saliency[row] * 255).round().unique().tolist() == [number]
        np.testing.assert_allclose(batch.joints_3d[row], record.labels["joints_3d"].astype(np.float32))
        np.testing.assert_allclose(batch.K[row], record.K)
    assert batch.meta[0]["person"] == "p0"


def test_smaller_samples_take_their_camera_along(folder):
    whole, half = (ShardSource(folder, s).frames(np.array([30])) for s in (32, 16))
    torch.testing.assert_close(half.K[0, :2], whole.K[0, :2] / 2)
    torch.testing.assert_close(half.joints_2d, whole.joints_2d / 2)
    assert half.target.shape[-1] == 16
    with pytest.raises(InputError, match="its crops have 32 px"):
        ShardSource(folder, 64)


@pytest.mark.parametrize(("per_step", "split_by"), [(8, 1), (8, 2), (16, 4), (12, 1), (12, 3)])
def test_each_sample_once_an_epoch(folder, per_step, split_by):
    source = ShardSource(folder, SIZE, samples_per_step=per_step, split_by=split_by)
    lanes = lanes_of(per_step, split_by, 12)
    lengths = source._epoch(0).lengths
    assert sum(lengths) == 96
    seen = [source.place(n) for n in range(min(lengths) * lanes)]  # as far as the shortest lane goes
    assert len(set(seen)) == len(seen)
    every = {source._epoch(1).sample(lane, p) for lane in range(lanes) for p in range(source._epoch(1).lengths[lane])}
    assert len(every) == 96
    assert [source._epoch(0).sample(0, p) for p in range(8)] != [source._epoch(1).sample(0, p) for p in range(8)]


def test_ranks_read_different_shards(folder):
    read = []
    for rank in range(2):
        source = ShardSource(folder, SIZE, samples_per_step=16, split_by=2)
        stream = StepStream(source, seed=0, batch_size=8, rank=rank, world=2)
        shards = {source.place(int(n))[0] for step in range(4) for n in stream.indices(step, 0)}
        read.append(shards)
    assert not read[0] & read[1]


def test_two_processes_draw_what_one_draws(folder):
    one = StepStream(ShardSource(folder, SIZE, samples_per_step=16, split_by=1), seed=3, batch_size=16)
    for step in range(3):
        whole = frames_of(one[step][0])
        halves = []
        for rank in range(2):
            source = ShardSource(folder, SIZE, samples_per_step=16, split_by=2)
            halves += frames_of(StepStream(source, seed=3, batch_size=8, rank=rank, world=2)[step][0])
        assert halves == whole


def test_training_samples(folder):
    source = ShardSource(folder, SIZE, samples_per_step=8, augmentation=Augmentation())
    batch = source.batch(RandomStreams(0, 0, np.arange(8)))
    assert batch.joints_3d is None
    assert batch.source.shape == batch.target.shape == batch.unpaired_background.shape == (8, 3, 32, 32)
    assert batch.target_saliency.shape == (8, 1, 32, 32)
    labelled = ShardSource(folder, SIZE, samples_per_step=8, labels=True).batch(RandomStreams(0, 0, np.arange(8)))
    assert labelled.joints_3d.shape == (8, 17, 3)
    again = ShardSource(folder, SIZE, samples_per_step=8, labels=True).batch(RandomStreams(0, 0, np.array([5, 2])))
    torch.testing.assert_close(again.target, labelled.target[[5, 2]])
    torch.testing.assert_close(again.source, labelled.source[[5, 2]])


def test_few_shards_stay_in_memory(folder):
    source = ShardSource(folder, SIZE, samples_per_step=1)
    for n in range(96):
        source.batch(RandomStreams(0, 0, np.array([n])))
    assert len(source._loaded) <= 2


def test_workers_get_whole_shards(folder):
    source = ShardSource(folder, SIZE, samples_per_step=8)
    loader = torch.utils.data.DataLoader(
        StepStream(source, seed=0, batch_size=8), batch_size=None, sampler=range(2), num_workers=2
    )
    expected = [frames_of(source.batch(RandomStreams(0, s, np.arange(8 * s, 8 * s + 8)))) for s in range(2)]
    assert [frames_of(step[0]) for step in loader] == expected


def test_damage_is_told(folder, tmp_path):
    import shutil

    with pytest.raises(InputError, match="finished shards already"):
        write_shards(folder, records(), "h36m")
    with pytest.raises(InputError, match="nothing to write"):
        write_shards(tmp_path / "none", [], "h36m")
    with pytest.raises(InputError, match=r"shards\.json: no finished shards"):
        ShardSource(tmp_path / "none", SIZE)
    with pytest.raises(InputError, match="12 shards are too few for 13 parts"):
        lanes_of(26, 13, 12)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    tar = copy / "shard-000003.tar"
    raw = tar.read_bytes()
    tar.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match=r"shard-000003\.tar"):
        ShardSource(copy, SIZE).frames(np.array([24]))
    tar.unlink()
    with pytest.raises(InputError, match=r"shard-000003\.tar: no such shard"):
        ShardSource(copy, SIZE).frames(np.array([24]))
    listing = json.loads((copy / "shards.json").read_text())
    listing["shards"][0]["name"] = "../../etc/passwd.tar"
    (copy / "shards.json").write_text(json.dumps(listing))
    with pytest.raises(InputError, match="passwd"):
        ShardSource(copy, SIZE)
