from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup3d.data.sampling.clip_pairs import PairSource
from selfsup3d.data.sampling.clip_store import ClipStore, altered_clips
from selfsup3d.data.sampling.step_dataset import StepStream
from selfsup3d.data.synthetic import cache as module
from selfsup3d.data.synthetic.cache import cache_root, clip_name, folders, prepare
from selfsup3d.data.synthetic.dataset import SyntheticTruth, open_clips
from selfsup3d.data.synthetic.spec import PRESETS
from selfsup3d.errors import InputError
from selfsup3d.structures.random import RandomStreams

SIZE = 32
TINY = PRESETS["tiny-test"]
LABELS = ("joints_2d", "joints_3d", "part_labels", "bone_lengths", "second_view", "transfer", "confidence")


def test_rendered_clips_are_like_any_prepared_video(cache: Path) -> None:
    clips = open_clips(cache, "tiny-test", SIZE, "train")
    assert len(clips) == TINY.train
    assert clips.image_size == SIZE
    for clip in clips:
        assert TINY.shortest <= len(clip) <= TINY.longest
        K = clip.K()
        assert K is not None
        assert K.shape == (len(clip), 3, 3)
        assert clip.meta["static_camera"] is True
        assert 6.0 <= clip.meta["fps"] <= 8.0


def test_what_the_unsupervised_path_reads_holds_no_pose(cache: Path) -> None:
    where = folders(cache, TINY, SIZE, "train")
    for clip in range(TINY.train):
        files = {p.name for p in (where.clips / clip_name(clip)).iterdir()}
        assert files == {"frames.npy", "saliency.npy", "background.npy", "meta.json"}
        text = (where.clips / clip_name(clip) / "meta.json").read_text()
        assert not any(word in text for word in ("joint", "pose", "label", "mask", "bone", "rotation"))


def test_unsupervised_batches_come_from_the_videos_alone(cache: Path, tmp_path: Path) -> None:
    """With every file of ground truth deleted, the batch is the same, bit for bit."""
    before = PairSource(open_clips(cache, "tiny-test", SIZE, "train")).batch(RandomStreams(0, 3, np.arange(8)))
    shutil.copytree(cache, tmp_path / "alone")
    for truth in (tmp_path / "alone").rglob("*_truth"):
        shutil.rmtree(truth)
    assert not list((tmp_path / "alone").rglob("*.npz"))
    after = PairSource(open_clips(tmp_path / "alone", "tiny-test", SIZE, "train")).batch(
        RandomStreams(0, 3, np.arange(8))
    )
    for name in (
        "source",
        "target",
        "source_saliency",
        "target_saliency",
        "source_background",
        "target_background",
        "K",
    ):
        one, other = getattr(before, name), getattr(after, name)
        assert one is not None
        assert one.equal(other), name
    for name in LABELS:
        assert getattr(after, name) is None, name


def test_a_finished_cache_is_not_touched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_prepare_clip", lambda job: pytest.fail("rendered again"))
    where = prepare(cache, "tiny-test", SIZE, ("train", "val", "test"), workers=0, progress=False)
    assert set(where) == {"train", "val", "test"}


def test_an_interrupted_rendering_goes_on_and_is_refused_until_then(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = module._prepare_clip, []

    def stop_at_second(job):
        if done:
            raise KeyboardInterrupt
        done.append(job.clip)
        return real(job)

    monkeypatch.setattr(module, "_prepare_clip", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, "tiny-test", SIZE, ("train",), workers=0, progress=False)
    with pytest.raises(InputError, match="not rendered"):
        open_clips(tmp_path, "tiny-test", SIZE, "train")

    def count(job):
        done.append(job.clip)
        return real(job)

    monkeypatch.setattr(module, "_prepare_clip", count)
    prepare(tmp_path, "tiny-test", SIZE, ("train",), workers=0, progress=False)
    assert done == [0, 1, 2]
    whole, resumed = (open_clips(root, "tiny-test", SIZE, "train") for root in (cache, tmp_path))
    for one, other in zip(whole, resumed, strict=True):
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.saliency, other.saliency)


def test_a_clip_of_another_rendering_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = prepare(tmp_path, "tiny-test", SIZE, ("train",), workers=0, progress=False)["train"]
    (where.clips / "store.json").unlink()
    meta = where.clips / clip_name(1) / "meta.json"
    record = json.loads(meta.read_text())
    record["prepared"]["rendering"] = -1
    meta.write_text(json.dumps(record))
    made, real = [], module._prepare_clip
    monkeypatch.setattr(module, "_prepare_clip", lambda job: made.append(job.clip) or real(job))
    prepare(tmp_path, "tiny-test", SIZE, ("train",), workers=0, progress=False)
    assert made == [1]


DAMAGES = {
    "a deleted clip": lambda where: shutil.rmtree(where.clips / clip_name(1)),
    "a deleted file": lambda where: (where.clips / clip_name(1) / "saliency.npy").unlink(),
    "a cut file": lambda where: os.truncate(where.clips / clip_name(1) / "frames.npy", 500),
    "a broken meta": lambda where: (where.clips / clip_name(1) / "meta.json").write_text("{"),
    "a deleted truth": lambda where: (where.truth / f"{clip_name(1)}.npz").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_clip_alone_is_made_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    shutil.copytree(cache, tmp_path / "copy")
    where = folders(tmp_path / "copy", TINY, SIZE, "train")
    DAMAGES[damage](where)
    made, real = [], module._prepare_clip
    monkeypatch.setattr(module, "_prepare_clip", lambda job: made.append(job.clip) or real(job))
    prepare(tmp_path / "copy", "tiny-test", SIZE, ("train",), workers=0, progress=False)
    assert made == [1]
    assert _whole(tmp_path / "copy", cache)


def _whole(root: Path, whole: Path) -> bool:
    """Whether the training split is that of another cache."""
    one, other = (SyntheticTruth(place, "tiny-test", SIZE, "train") for place in (root, whole))
    indices = np.arange(len(other))
    return len(one) == len(other) and bool(torch.equal(one.frames(indices).target, other.frames(indices).target))


def _broken(root: Path, kind: str) -> None:
    """What a message with advice is given for."""
    where = folders(root, TINY, SIZE, "train")
    clip = where.clips / clip_name(0)
    if kind == "listing":
        (where.clips / "store.json").write_text("{")
    elif kind == "frames":
        np.save(clip / "frames.npy", 255 - np.load(clip / "frames.npy"))
    elif kind == "shape":
        np.save(clip / "saliency.npy", np.load(clip / "saliency.npy")[:, :8])
    elif kind == "meta":
        (clip / "meta.json").write_text('{"K": [1]}')
    else:
        truth = where.truth / f"{clip_name(0)}.npz"
        labels = dict(np.load(truth))
        np.savez(truth, **(labels | {"joints_3d": -labels["joints_3d"]}))


@pytest.mark.parametrize("kind", ["listing", "frames", "shape", "meta", "truth"])
def test_advice_to_delete_and_prepare_again_is_no_dead_end(cache: Path, tmp_path: Path, kind: str) -> None:
    """What the message says is done by the letter; then everything is as it was."""
    root = tmp_path / "copy"
    shutil.copytree(cache, root)
    _broken(root, kind)
    with pytest.raises(InputError) as error:
        SyntheticTruth(root, "tiny-test", SIZE, "train").batch(RandomStreams(0, 0, np.arange(64)))
    told = str(error.value)
    found = re.search(r"delete (it|the folder|/\S+)", told)
    assert found, told
    named = Path(told.split(": ")[0])
    doomed = named if found[1] in ("it", "the folder") else Path(found[1])
    shutil.rmtree(doomed) if doomed.is_dir() else doomed.unlink()
    prepare(root, "tiny-test", SIZE, ("train",), workers=0, progress=False)
    assert _whole(root, cache)


def test_altered_frames_are_never_trained_on(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "copy")
    clip = folders(tmp_path / "copy", TINY, SIZE, "train").clips / clip_name(2)
    np.save(clip / "frames.npy", 255 - np.load(clip / "frames.npy"))
    clips = open_clips(tmp_path / "copy", "tiny-test", SIZE, "train")
    for memory in ("keep", "map"):
        with pytest.raises(InputError, match="altered after it was prepared"):
            StepStream(PairSource(clips, memory=memory), 0, 64)[0]  # type: ignore[arg-type]
    assert altered_clips(clips.root)[1] == {clip: "frames.npy altered after it was prepared"}
    assert altered_clips(folders(cache, TINY, SIZE, "train").clips)[1] == {}


def test_nothing_half_written_stays(cache: Path) -> None:
    assert not [p for p in cache.rglob("*") if p.name.startswith(".partial")]


@pytest.mark.slow
def test_processes_render_the_same(cache: Path, tmp_path: Path) -> None:
    prepare(tmp_path, "tiny-test", SIZE, ("train", "val"), workers=2, progress=False)
    for split in ("train", "val"):
        one, other = (open_clips(root, "tiny-test", SIZE, split) for root in (cache, tmp_path))
        assert all(np.array_equal(a.frames, b.frames) for a, b in zip(one, other, strict=True))
        assert all(np.array_equal(a.background, b.background) for a, b in zip(one, other, strict=True))


def test_the_root_is_given_or_set_or_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SELFSUP3D_CACHE", raising=False)
    assert cache_root() == Path.home() / ".cache" / "selfsup3d"
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    assert cache_root(tmp_path / "given") == tmp_path / "given"


def test_a_user_without_a_home_gets_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SELFSUP3D_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(InputError, match="set SELFSUP3D_CACHE"):
        cache_root()


def test_bad_requests_say_what_is_wrong(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="quickstart"):
        prepare(tmp_path, "nothing", 64)
    with pytest.raises(InputError, match="size 100"):
        prepare(tmp_path, "tiny-test", 100)
    with pytest.raises(InputError, match="train, val or test"):
        prepare(tmp_path, "tiny-test", SIZE, ("validation",))
    with pytest.raises(InputError, match="no test clips"):
        SyntheticTruth(tmp_path, "quickstart", 64, "test")
    with pytest.raises(InputError, match="not rendered"):
        SyntheticTruth(tmp_path, "tiny-test", SIZE, "val")


def test_missing_truth_is_an_error_of_the_labelled_path_only(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "copy")
    where = folders(tmp_path / "copy", TINY, SIZE, "val")
    (where.truth / f"{clip_name(0)}.npz").unlink()
    with pytest.raises(InputError, match="ground truth is missing"):
        SyntheticTruth(tmp_path / "copy", "tiny-test", SIZE, "val")
    assert len(ClipStore(where.clips)) == TINY.val


@pytest.mark.slow
def test_the_real_saliency_finds_the_people(tmp_path: Path) -> None:
    """Background, saliency and background come from the real code; the renderer's mask only measures them."""
    from dataclasses import replace

    preset = replace(PRESETS["quickstart"], name="some", train=16, val=0)
    prepare(tmp_path, preset, 64, ("train",), workers=0, progress=False)
    assert SyntheticTruth(tmp_path, preset, 64, "train").saliency_iou() > 0.72
