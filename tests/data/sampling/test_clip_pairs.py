import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup3d.data.saliency.saliency import video_saliency
from selfsup3d.data.sampling.clip_pairs import PairSource
from selfsup3d.data.sampling.clip_store import ClipStore, altered_clips, finish_store, save_clip, write_clip
from selfsup3d.errors import InputError
from selfsup3d.structures.batch import Batch, Camera
from selfsup3d.structures.random import RandomStreams


class StillPrior:
    def sample(self, streams):
        return torch.from_numpy(streams.uniform(17, 3)).float()


class FrontCamera:
    def sample(self, streams, K=None, poses=None):
        translation = torch.tensor([0.0, 0.0, 4.0]).repeat(len(streams), 1)
        return Camera(torch.eye(3).repeat(len(streams), 1, 1), translation, K)


@pytest.fixture
def store(tmp_path, toy_clips):
    for index, (frames, _) in enumerate(toy_clips):
        write_clip(tmp_path, f"clip_{index:05d}", frames, {"fps": 10.0, "person": f"p{index}"})
    finish_store(tmp_path, [f"clip_{i:05d}" for i in range(3)], {})
    return ClipStore(tmp_path)


@pytest.mark.parametrize("memory", ["keep", "map"])
def test_a_batch_has_every_unsupervised_field_and_no_label(store, memory):
    source = PairSource(store, StillPrior(), FrontCamera(), name="toys", memory=memory)
    batch = source.batch(RandomStreams(0, 0, np.arange(16)))
    for name in ("source", "target", "source_background", "target_background", "unpaired_background"):
        field = getattr(batch, name)
        assert field.shape == (16, 3, 32, 32)
        assert field.dtype == torch.float32
        assert field.is_contiguous()
        assert 0 <= field.min() <= field.max() <= 1
    assert batch.source_saliency.shape == batch.target_saliency.shape == (16, 1, 32, 32)
    assert batch.unpaired.shape == (16, 17, 3)
    assert batch.unpaired_camera.K is batch.K
    assert batch.index.tolist() == list(range(16))
    assert {m["dataset"] for m in batch.meta} == {"toys"}
    for label in ("joints_2d", "joints_3d", "part_labels", "second_view", "transfer", "confidence"):
        assert getattr(batch, label) is None


def test_memory_and_map_agree(store):
    streams = [RandomStreams(4, 2, np.arange(32)) for _ in range(2)]
    a = PairSource(store, memory="keep").batch(streams[0])
    b = PairSource(store, memory="map").batch(streams[1])
    for name in ("source", "target", "source_saliency", "target_background", "unpaired_background", "K"):
        assert torch.equal(getattr(a, name), getattr(b, name))


def test_images_are_the_clips_frames(store):
    source = PairSource(store)
    streams = RandomStreams(1, 0, np.arange(64))
    clip, first, second = source.draw_pairs(RandomStreams(1, 0, np.arange(64)))
    batch = source.batch(streams)
    for i in range(64):
        expected = torch.from_numpy(np.array(store[clip[i]].frames[second[i]])).permute(2, 0, 1) / 255
        assert torch.allclose(batch.target[i], expected)
        expected = torch.from_numpy(np.array(store[clip[i]].frames[first[i]])).permute(2, 0, 1) / 255
        assert torch.allclose(batch.source[i], expected)
        assert batch.meta[i]["clip"] == store[clip[i]].name
        assert batch.meta[i]["frame"] == second[i]


def test_pairs_keep_their_distance_and_reach_every_frame(store):
    source = PairSource(store, min_gap=0.4)  # 4 frames at 10 a second; clip 2 with 7 frames allows 3
    clip, first, second = source.draw_pairs(RandomStreams(0, 0, np.arange(20_000)))
    lengths = np.array([12, 20, 7])[clip]
    assert (first >= 0).all()
    assert (first < lengths).all()
    gap = np.abs(first - second)
    assert gap[clip != 2].min() == 4
    assert gap[clip == 2].min() == 3
    for c, length in enumerate((12, 20, 7)):
        assert set(second[clip == c]) == set(range(length))
        assert set(first[clip == c]) == set(range(length))
    assert np.abs(np.bincount(clip) / 20_000 - 1 / 3).max() < 0.02


@pytest.mark.parametrize("length", [1, 2, 3])
def test_very_short_clips(tmp_path, toy_clips, length):
    write_clip(tmp_path, "a", toy_clips[0][0][:length], {"fps": 10.0})
    finish_store(tmp_path, ["a"], {})
    source = PairSource(ClipStore(tmp_path))
    _, first, second = source.draw_pairs(RandomStreams(0, 0, np.arange(200)))
    assert set(first) == set(second) == set(range(length))
    assert length == 1 or (first != second).all()


def test_a_sample_depends_on_its_own_draw_only(store):
    source = PairSource(store, StillPrior(), FrontCamera())
    whole = source.batch(RandomStreams(9, 3, np.arange(8)))
    part = source.batch(RandomStreams(9, 3, np.arange(4, 8)))
    for name in ("source", "target", "unpaired", "unpaired_background", "seeds"):
        assert torch.equal(getattr(whole, name)[4:], getattr(part, name))


def test_evaluation_frames(store):
    source = PairSource(store)
    assert len(source) == 39
    batch = source.frames(np.array([0, 11, 12, 38]))
    assert [(m["clip"], m["frame"]) for m in batch.meta] == [
        ("clip_00000", 0),
        ("clip_00000", 11),
        ("clip_00001", 0),
        ("clip_00002", 6),
    ]
    assert isinstance(batch, Batch)
    assert batch.joints_3d is None
    assert not torch.equal(batch.source, batch.target)


def test_known_intrinsics_reach_the_batch(tmp_path, toy_clips):
    K = [[[50.0 + t, 0, 15], [0, 50, 17], [0, 0, 1]] for t in range(7)]
    write_clip(tmp_path, "a", toy_clips[2][0], {"K": K})
    finish_store(tmp_path, ["a"], {})
    batch = PairSource(ClipStore(tmp_path)).frames(np.arange(7))
    assert torch.equal(batch.K, torch.tensor(K))


def test_only_the_four_files_are_read(store, tmp_path):
    """Ground truth that lies about is never opened: a copy with nothing but the four files gives the same batch."""
    bare = tmp_path / "bare"
    for clip in store:
        (bare / clip.name).mkdir(parents=True)
        for part in ("frames.npy", "saliency.npy", "background.npy", "meta.json"):
            shutil.copy(store.root / clip.name / part, bare / clip.name / part)
    shutil.copy(store.root / "store.json", bare)
    a = PairSource(store).batch(RandomStreams(0, 0, np.arange(8)))
    b = PairSource(ClipStore(bare)).batch(RandomStreams(0, 0, np.arange(8)))
    assert torch.equal(a.target, b.target)
    assert torch.equal(a.source_saliency, b.source_saliency)


@pytest.mark.slow
def test_a_batch_is_quick(tmp_path):
    random = np.random.default_rng(0)
    for c in range(4):
        write_clip(tmp_path, f"c{c}", random.integers(0, 256, (28, 64, 64, 3), dtype=np.uint8), method="background")
    finish_store(tmp_path, [f"c{c}" for c in range(4)], {})
    source = PairSource(ClipStore(tmp_path), StillPrior(), FrontCamera())
    times = []
    for step in range(30):
        start = time.perf_counter()
        source.batch(RandomStreams(0, step, np.arange(64)))
        times.append(time.perf_counter() - start)
    assert np.median(times) < 0.05  # measured 4 ms on an idle core


def test_a_detectors_keypoints_belong_to_the_target_and_are_asked_for(tmp_path, toy_clips, store):
    marked = {}
    for index, (frames, _) in enumerate(toy_clips):
        found = np.random.default_rng(index).uniform(0, 64, (len(frames), 17, 3)).astype(np.float32)
        found[..., 2] = found[..., 2] > 16  # a quarter is missing
        result = video_saliency(frames)
        twice = frames.repeat(2, 1).repeat(2, 2)
        result = replace(
            result,
            saliency=result.saliency.repeat(2, 1).repeat(2, 2),
            background=result.background.repeat(2, -3).repeat(2, -2),
        )
        name = f"clip_{index:05d}"
        save_clip(tmp_path / "marked", name, twice, result, {"fps": 10.0}, size=32, keypoints=found)
        marked[name] = found
    finish_store(tmp_path / "marked", sorted(marked), {})
    clips = ClipStore(tmp_path / "marked")
    assert altered_clips(clips.root)[1] == {}
    batch = PairSource(clips, keypoints=True).batch(RandomStreams(0, 0, np.arange(16)))
    for row, meta in enumerate(batch.meta):
        expected = marked[meta["clip"]][meta["frame"]]
        seen = expected[:, 2] > 0
        np.testing.assert_array_equal(batch.confidence[row], expected[:, 2])
        np.testing.assert_allclose(batch.joints_2d[row][seen], expected[seen, :2] / 2)  # stored at half the size
        assert batch.joints_2d[row][~seen].isnan().all()
    assert PairSource(clips).batch(RandomStreams(0, 0, np.arange(2))).joints_2d is None
    with pytest.raises(InputError, match="has no keypoints; prepare the clips with a detector"):
        PairSource(store, keypoints=True)
