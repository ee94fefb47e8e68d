import json

import numpy as np
import pytest

from selfsup3d.data.sampling.clip_store import ClipStore, clip_is_ready, finish_store, write_clip
from selfsup3d.errors import InputError
from selfsup3d.io.stored_arrays import StoredArray


@pytest.fixture
def store(tmp_path, toy_clips):
    for index, (frames, _) in enumerate(toy_clips):
        write_clip(tmp_path, f"clip_{index:05d}", frames, {"fps": 10.0, "person": f"p{index % 2}"}, prepared={"a": 1})
    finish_store(tmp_path, [f"clip_{i:05d}" for i in range(3)], {"size": 32})
    return tmp_path


def test_what_was_written_comes_back(store, toy_clips):
    clips = ClipStore(store)
    assert len(clips) == 3
    assert clips.image_size == 32
    assert clips.frames == 12 + 20 + 7
    for clip, (frames, _) in zip(clips, toy_clips, strict=True):
        assert np.array_equal(clip.frames, frames)
        assert clip.saliency.shape == frames.shape[:3]
        assert isinstance(clip.frames, StoredArray)
        assert clip.K() is None
    assert [clip.person for clip in clips] == ["p0", "p1", "p0"]
    assert [c.name for c in ClipStore(store, ["clip_00002"])] == ["clip_00002"]


def test_intrinsics_once_or_per_frame(tmp_path, toy_clips):
    K = np.array([[40.0, 0, 16], [0, 40, 16], [0, 0, 1]])
    write_clip(tmp_path, "a", toy_clips[2][0], {"K": K.tolist()})
    write_clip(tmp_path, "b", toy_clips[2][0], {"K": [K.tolist()] * 7})
    finish_store(tmp_path, ["a", "b"], {})
    for clip in ClipStore(tmp_path):
        assert np.array_equal(clip.K(), np.repeat(K[None], 7, 0).astype(np.float32))


def test_a_clip_is_known_again_by_its_settings(store):
    assert clip_is_ready(store, "clip_00000", {"a": 1})
    assert not clip_is_ready(store, "clip_00000", {"a": 2})
    assert not clip_is_ready(store, "clip_00009", {"a": 1})
    (store / "clip_00000" / "meta.json").write_text("{")
    assert not clip_is_ready(store, "clip_00000", {"a": 1})


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(InputError):
        write_clip(tmp_path, "a", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises((TypeError, ValueError)):
        write_clip(tmp_path, "a", np.zeros((3, 8, 8, 3), np.uint8), {"fps": object()})
    assert list(tmp_path.iterdir()) == []


def test_unfinished_and_damaged_stores_are_refused(store, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        ClipStore(tmp_path / "nowhere")
    with pytest.raises(InputError, match="clip_9"):
        ClipStore(store, ["clip_9"])
    frames = store / "clip_00001" / "frames.npy"
    frames.write_bytes(frames.read_bytes()[:300])
    with pytest.raises(InputError, match="clip_00001"):
        ClipStore(store)
    np.save(frames, np.zeros((3, 16, 16, 3), np.uint8))
    with pytest.raises(InputError, match="do not belong together"):
        ClipStore(store)
    (store / "store.json").unlink()
    with pytest.raises(InputError, match="cut off"):
        ClipStore(store)


def test_other_formats_are_refused(store):
    record = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(InputError, match="99"):
        ClipStore(store)
    (store / "store.json").write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        ClipStore(store)
