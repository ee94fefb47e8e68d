import json
import shutil

import cv2
import numpy as np
import pytest

from selfsup3d.data.sampling.clip_store import ClipStore
from selfsup3d.errors import InputError
from selfsup3d.preparation import videos as prepare
from selfsup3d.preparation.videos import ClipKeypoints, find_clips, prepare_clips


@pytest.fixture
def videos(tmp_path, street, toy_clip, save_video):
    """A folder with a street, a ready-made crop under a name in another script, and a folder of images."""
    folder = tmp_path / "videos"
    (folder / "sub" / "walk").mkdir(parents=True)
    save_video(folder / "street.avi", street(24))
    save_video(folder / "tmp.avi", toy_clip[0][::2]).rename(folder / "танец 中.avi")
    for index, frame in enumerate(toy_clip[0][::2]):
        cv2.imwrite(str(folder / "sub" / "walk" / f"{index}.png"), frame[..., ::-1])
    return folder


def test_a_folder_of_everything(videos, tmp_path):
    store = prepare_clips(videos, tmp_path / "store", 32, progress=False)
    assert [c.meta["name"] for c in store] == ["street.avi", "street.avi", "sub/walk", "танец 中.avi"]
    assert store.image_size == 32
    assert len({c.person for c in store}) == 4
    for clip in store:
        assert len(clip.meta["boxes"]) == len(clip.meta["frame_numbers"]) == len(clip)
        assert clip.saliency[:].max() == 255
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert report["summary"].startswith("3 videos: 4 clips")
    assert report["videos"][0]["kept"][0]["saliency"] == "background"
    image = cv2.imread(str(tmp_path / "store" / "report.png"))
    assert image.shape == (4 * 112, 9 * 96, 3)


def test_folders_on_other_disks_are_found_through_links(videos, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine").symlink_to(videos / "sub")
    assert [clip.name for clip in find_clips(tmp_path / "links")] == ["mine/walk"]


def test_a_second_call_does_nothing_and_a_changed_source_is_noticed(videos, tmp_path, monkeypatch, street, save_video):
    prepare_clips(videos, tmp_path / "store", 32, progress=False)
    calls = []
    real = prepare.person_clips
    monkeypatch.setattr(prepare, "person_clips", lambda path, s: calls.append(path.name) or real(path, s))
    prepare_clips(videos, tmp_path / "store", 32, progress=False)
    assert calls == []
    save_video(videos / "street.avi", street(20))
    store = prepare_clips(videos, tmp_path / "store", 32, progress=False)
    assert calls == ["street.avi"]
    assert max(store[0].meta["frame_numbers"]) < 20
    prepare_clips(videos, tmp_path / "store", 48, progress=False)
    assert len(calls) == 4


def test_an_interrupted_preparation_goes_on_where_it_was(videos, tmp_path, monkeypatch):
    calls = []
    real = prepare.person_clips

    def interrupted(path, settings):
        calls.append(path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(path, settings)

    monkeypatch.setattr(prepare, "person_clips", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_clips(videos, tmp_path / "store", 32, progress=False)
    with pytest.raises(InputError, match="cut off"):
        ClipStore(tmp_path / "store")
    assert len(prepare_clips(videos, tmp_path / "store", 32, progress=False)) == 4
    assert calls == ["street.avi", "walk", "walk", "танец 中.avi"]


def test_unreadable_videos_are_skipped_and_named(videos, tmp_path, capsys):
    (videos / "broken.mp4").write_bytes(b"no video")
    (videos / "gone.mp4").symlink_to("nowhere.mp4")
    store = prepare_clips(videos, tmp_path / "store", 32, progress=False)
    assert len(store) == 4
    told = capsys.readouterr().err
    assert "broken.mp4" in told
    assert "gone.mp4" in told
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert "broken.mp4" in report["videos"][0]["error"]
    assert "not readable" in report["summary"]


def test_nobody_found_anywhere(tmp_path, street, save_video):
    (tmp_path / "videos").mkdir()
    save_video(tmp_path / "videos" / "a.avi", np.repeat(street(1), 20, axis=0))
    with pytest.raises(InputError, match="nothing moves"):
        prepare_clips(tmp_path / "videos", tmp_path / "store", 32, progress=False)
    (tmp_path / "videos" / "a.avi").write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        prepare_clips(tmp_path / "videos", tmp_path / "store", 32, progress=False)


def test_a_single_video(videos, tmp_path):
    assert len(prepare_clips(videos / "street.avi", tmp_path / "store", 32, progress=False)) == 2


def test_clips_with_a_listing(tmp_path, toy_clip):
    for name in ("b", "a"):
        (tmp_path / "in" / name / "frames").mkdir(parents=True)
        for index, frame in enumerate(toy_clip[0]):
            cv2.imwrite(str(tmp_path / "in" / name / "frames" / f"{index:04d}.png"), frame[..., ::-1])
    facts = {"fps": 12.0, "static_camera": True, "fixed_crop": True, "note": "a note"}
    listing = tmp_path / "in" / "clips.json"
    listing.write_text(json.dumps({"b": facts, "a": {**facts, "fixed_crop": False, "person": "anna"}}))
    store = prepare_clips(tmp_path / "in", tmp_path / "store", 32, progress=False)
    assert [(c.meta["name"], c.person, c.meta["static_camera"]) for c in store] == [
        ("a", "anna", False),
        ("b", "b", True),
    ]
    assert store[0].meta["fps"] == 12.0
    assert store[1].meta["note"] == "a note"
    listing.write_text(json.dumps({"c": facts}))
    with pytest.raises(InputError, match=r"'c'"):
        find_clips(tmp_path / "in")
    for bad in ("{", "[]", '{"a": 3}', '{"a": {"fps": "many"}}', "{}"):
        listing.write_text(bad)
        with pytest.raises(InputError, match=r"clips\.json"):
            find_clips(tmp_path / "in")


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        prepare_clips(tmp_path / "none", tmp_path / "store")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither videos"):
        prepare_clips(tmp_path / "empty", tmp_path / "store")
    with pytest.raises(InputError, match="16 pixels"):
        prepare_clips(tmp_path / "empty", tmp_path / "store", 8)


@pytest.mark.slow
def test_real_clips(real_data, tmp_path):
    store = prepare_clips(real_data / "clips", tmp_path / "store", 64, progress=False)
    assert len(store) == len(json.loads((real_data / "clips" / "clips.json").read_text()))
    coverage = [float((clip.saliency[:] > 127).mean()) for clip in store]
    assert min(coverage) > 0.05
    assert max(coverage) < 0.5


def test_a_deleted_clip_is_made_again(videos, tmp_path):
    prepare_clips(videos, tmp_path / "store", 32, progress=False)
    before = {clip.name: np.asarray(clip.frames) for clip in ClipStore(tmp_path / "store")}
    shutil.rmtree(tmp_path / "store" / "clip_00001_00")
    after = prepare_clips(videos, tmp_path / "store", 32, progress=False)
    assert after.names == tuple(before)
    assert all(np.array_equal(clip.frames, before[clip.name]) for clip in after)


class Marks:
    """Marks everybody in the upper half, and masks it; finds nobody in every third frame."""

    def __init__(self, name="scripted"):
        self.name, self.sizes = name, []

    def __call__(self, frames, fps):
        self.sizes.append(frames.shape[1])
        joints = np.zeros((len(frames), 17, 3), np.float32)
        joints[:, :, :2] = frames.shape[1] / 4
        joints[:, :, 2] = (np.arange(len(frames)) % 3 > 0)[:, None]
        masks = np.zeros(frames.shape[:3], np.uint8)
        masks[:, : frames.shape[1] // 2] = 255
        return ClipKeypoints(joints, masks)


def test_keypoints_and_masks_of_a_detector_are_stored_beside_the_clips(videos, tmp_path):
    marks = Marks()
    store = prepare_clips(videos, tmp_path / "store", 32, marker=marks, progress=False)
    assert set(marks.sizes) == {256}  # 32 px would be too coarse for a detector
    for clip in store:
        keypoints, found = np.asarray(clip.keypoints), np.arange(len(clip)) % 3 > 0
        np.testing.assert_allclose(keypoints[found, :, :2], 8.0)
        assert (keypoints[~found, :, 2] == 0).all()
        assert clip.meta["method"] == "detector"
        masks = clip.saliency[:][found]
        assert masks[:, :15].min() == 255
        assert masks[:, 17:].max() == 0
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    kept = report["videos"][0]["kept"][0]
    assert kept["frames_with_keypoints"] == (np.arange(kept["frames"]) % 3 > 0).sum()
    calls = len(marks.sizes)
    prepare_clips(videos, tmp_path / "store", 32, marker=marks, progress=False)
    assert len(marks.sizes) == calls
    other = Marks("another detector")
    prepare_clips(videos, tmp_path / "store", 32, marker=other, progress=False)
    assert len(other.sizes) == calls


def test_clips_in_which_the_detector_finds_nobody_are_dropped_with_why(videos, tmp_path):
    def blind(frames, fps):
        return ClipKeypoints(np.zeros((len(frames), 17, 3), np.float32))

    blind.name = "blind"
    with pytest.raises(InputError, match="no keypoints: the detector finds nobody"):
        prepare_clips(videos, tmp_path / "store", 32, marker=blind, progress=False)
