"""Building an index: resumed, parallel, the same either way; damaged index files are refused."""

import numpy as np
import pytest

from selfsup3d.data.datasets import index_build
from selfsup3d.data.datasets.frame_index import (
    boxes_of_joints,
    load_index,
    save_index,
    select_split,
    thin_out,
    with_images,
)
from selfsup3d.data.datasets.index_build import build_index, open_index
from selfsup3d.data.datasets.threedpw import find_threedpw
from selfsup3d.errors import InputError
from tests.data.generators import threedpw as generate


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("3dpw")
    for number in range(4):
        split = "test" if number else "train"
        generate.write_sequence(root, f"scene_{number:02d}", split=split, people=1 + number % 2, images=False)
    return root


def same(a, b):
    assert a.takes == b.takes
    assert a.skipped == b.skipped
    for name in ("take", "frame", "joints_3d", "joints_2d", "confidence", "box", "detected"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_round_trip(root, tmp_path):
    index = build_index(find_threedpw(root), tmp_path / "i.npz", progress=False).index
    same(index, load_index(tmp_path / "i.npz"))
    assert load_index(tmp_path / "i.npz", root="/elsewhere").root.as_posix() == "/elsewhere"
    assert not (tmp_path / "i.parts").exists()


@pytest.mark.slow  # two processes import everything anew
def test_processes_give_the_same_index(root, tmp_path):
    alone = build_index(find_threedpw(root), progress=False).index
    same(alone, build_index(find_threedpw(root), tmp_path / "i.npz", workers=2, progress=False).index)


def test_an_interrupted_run_goes_on(root, tmp_path, monkeypatch):
    tree = find_threedpw(root)
    whole = build_index(tree, progress=False).index
    real, done = index_build._attempt, []

    def stop_after_two(part):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(part.name)
        return real(part)

    monkeypatch.setattr(index_build, "_attempt", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        build_index(tree, tmp_path / "i.npz", progress=False)
    assert not (tmp_path / "i.npz").exists()
    monkeypatch.setattr(index_build, "_attempt", real)
    report = build_index(tree, tmp_path / "i.npz", progress=False)
    assert report.reused == 2
    same(whole, report.index)


def test_other_settings_start_anew(root, tmp_path, monkeypatch):
    tree = find_threedpw(root)
    monkeypatch.setattr(index_build, "save_index", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build_index(tree, tmp_path / "i.npz", settings={"every": 1}, progress=False)
    monkeypatch.undo()
    assert build_index(tree, tmp_path / "i.npz", settings={"every": 2}, progress=False).reused == 0


def test_open_index_uses_its_cache_until_files_change(root, tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path / "cache"))
    tree = find_threedpw(root)
    first = open_index(tree, settings={"a": 1})
    monkeypatch.setattr(index_build, "build_index", lambda *a, **k: pytest.fail("built again"))
    same(first, open_index(tree, settings={"a": 1}))
    monkeypatch.undo()
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path / "cache"))
    file = next((root / "sequenceFiles/test").glob("*.pkl"))
    file.touch()
    built = []
    real = index_build.build_index
    monkeypatch.setattr(index_build, "build_index", lambda *a, **k: built.append(1) or real(*a, **k))
    open_index(find_threedpw(root), settings={"a": 1})
    assert built


def test_selection(root):
    index = build_index(find_threedpw(root), progress=False).index
    train = select_split(index, "train")
    assert {t.split for t in train.takes} == {"train"}
    assert len(train) == 9
    assert select_split(index, "all") is index
    with pytest.raises(InputError, match=r"no frame of split 'val' \(it has: test, train\)"):
        select_split(index, "val")
    third = thin_out(train, 3)
    assert third.frame.tolist() == [0, 3, 6, 9]
    assert index.counts("split", "action")[("test", "scene")] == 45
    np.testing.assert_allclose(third.K()[0], third.takes[0].intrinsics())


def test_damaged_index_files(root, tmp_path):
    index = build_index(find_threedpw(root), progress=False).index
    path = tmp_path / "i.npz"
    save_index(path, index)
    with np.load(path, allow_pickle=False) as data:
        arrays = {key: data[key] for key in data.files}
    damages = {
        "short": arrays | {"frame": arrays["frame"][:-1]},
        "wrong type": arrays | {"box": arrays["box"].astype(np.float64)},
        "wrong take": arrays | {"take": arrays["take"] + 100},
        "no header": {k: v for k, v in arrays.items() if k != "header"},
        "header": arrays | {"header": np.array("{")},
        "old": arrays | {"header": np.array(str(arrays["header"]).replace('"format": 2', '"format": 1'))},
    }
    for damaged in damages.values():
        np.savez(path, **damaged)
        with pytest.raises(InputError, match=r"i\.npz"):
            load_index(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"i\.npz"):
        load_index(path)


def test_boxes_enclose_the_seen_joints():
    joints = np.array([[[10.0, 20], [30, 60], [500, 500]]])
    seen = np.array([[True, True, False]])
    np.testing.assert_allclose(boxes_of_joints(joints, seen, margin=0.1), [[6, 16, 28, 48]])
    assert np.isnan(boxes_of_joints(joints, np.zeros((1, 3), bool))).all()


def test_left_out_entries_belong_to_their_split(root):
    index = build_index(find_threedpw(root), progress=False).index
    assert index.skipped == {"frames with an invalid camera pose": 6}
    assert select_split(index, "train").skipped == {"frames with an invalid camera pose": 1}
    assert select_split(index, "test").skipped == {"frames with an invalid camera pose": 5}


def test_takes_without_images_are_counted(root, tmp_path):
    index = build_index(find_threedpw(root), progress=False).index
    with pytest.raises(InputError, match="has no images of scene_00/0 and 5 more"):
        with_images(index)
    generate.write_sequence(tmp_path, "a_00", people=1, size=(90, 160))
    generate.write_sequence(tmp_path, "b_00", people=1, images=False)
    some = build_index(find_threedpw(tmp_path), progress=False).index
    kept = with_images(some)
    assert {t.name for t in kept.takes} == {"a_00/0"}
    assert kept.skipped == {"frames with an invalid camera pose": 2, "frames without images": 9}
    assert with_images(kept) is kept
