"""launch/prepare_data.py on generated trees: what it prints, writes, resumes and refuses."""

import importlib
import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from selfsup3d.cli import run
from selfsup3d.data.datasets.frame_index import load_index
from selfsup3d.data.mocap.mocap import load_mocap
from selfsup3d.data.sampling.shards import ShardSource
from selfsup3d.data.synthetic.cache import prepare
from selfsup3d.errors import InputError
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.structures.random import RandomStreams
from tests.data.generators import h36m as generate_h36m
from tests.data.generators import mpi_inf_3dhp as generate_3dhp
from tests.data.generators import threedpw as generate_3dpw
from tests.data.mocap.test_dialects import bvh_text
from tests.video_fixtures import make_toy_clip

for package in ("h5py", "cdflib", "scipy", "webdataset"):
    pytest.importorskip(package)

script = importlib.import_module("selfsup3d.commands.prepare_data")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("selfsup3d.data.datasets.backgrounds._LONGER_SIDE", 200)


def call(*arguments):
    return run(script.main, [str(a) for a in arguments] + ["--quiet"])


def test_h36m_with_backgrounds_sheet_and_shards(tmp_path, capsys):
    scene = generate_h36m.Scene(subjects=("S1", "S9"), trials=("Walking 1",), frames=8, speed=5)
    generate_h36m.fetch(tmp_path / "h36m", scene)
    code = call(
        *("--dataset", "h36m", "--root", tmp_path / "h36m", "--output", tmp_path / "i.npz", "--check", tmp_path / "c"),
        *("--rows", 3, "--backgrounds", "--shards", tmp_path / "shards", "--size", 64, "--per-shard", 16),
    )
    out = capsys.readouterr().out
    assert code == 0
    assert "64 rows of 8 takes" in out
    assert "8 backgrounds" in out
    assert "processed/S5" in out
    assert "research only" in out
    assert "S9 Walking" in out
    assert len(load_index(tmp_path / "i.npz")) == 64
    told = json.loads((tmp_path / "c/h36m.json").read_text())
    assert told["counts"] == {"S1/Walking": 32, "S9/Walking": 32}
    assert told["warnings"] == []
    assert told["statistics"]["frames"] == 32
    sheet = cv2.imread(str(tmp_path / "c/h36m.png"))
    assert sheet.shape[0] > 3 * 190
    assert sheet.std() > 20
    source = ShardSource(tmp_path / "shards/train", 64, samples_per_step=2)
    batch = source.frames(np.arange(4))
    assert len(source) == 32
    assert source.notes["boxes"] == "around the ground-truth joints"
    assert batch.target_saliency is not None
    assert batch.joints_3d.shape == (4, 17, 3)


def test_training_finds_the_index_that_was_prepared(tmp_path, capsys, monkeypatch):
    from selfsup3d.builders.datasets import open_indexed
    from selfsup3d.config.datasets import MpiInf3dhpConfig
    from selfsup3d.data.datasets import index_build

    generate_3dhp.write_train_sequence(tmp_path / "d", images=None)
    generate_3dhp.write_test_sequence(tmp_path / "d", 1, images=False)
    assert call("--dataset", "mpi_inf_3dhp", "--root", tmp_path / "d", "--every", 5) == 0
    monkeypatch.setattr(index_build, "build_index", lambda *a, **k: pytest.fail("built again"))
    index, _ = open_indexed(MpiInf3dhpConfig(root=tmp_path / "d"))
    assert {t.split for t in index.takes} == {"train", "test"}
    capsys.readouterr()


def test_3dpw_and_images_that_are_not_there(tmp_path, capsys):
    generate_3dpw.write_sequence(tmp_path / "d", images=False)
    assert call("--dataset", "3dpw", "--root", tmp_path / "d", "--check", tmp_path / "c", "--rows", 2) == 0
    out = capsys.readouterr().out
    assert "imageFiles/downtown_walking_00" in out
    assert "left out: 2\n  2 frames with an invalid camera pose" in out
    assert (tmp_path / "c/3dpw.png").is_file()
    assert json.loads((tmp_path / "c/3dpw.json").read_text())["statistics"] is None


def test_universal_joints_are_no_wrong_cameras(tmp_path, capsys):
    generate_3dhp.write_train_sequence(tmp_path / "d", images=None)
    arguments = ("--dataset", "mpi_inf_3dhp", "--root", tmp_path / "d", "--annotation", "universal")
    assert call(*arguments, "--check", tmp_path / "c") == 0
    printed = capsys.readouterr()
    assert "do not project onto the image" in printed.out
    assert "WARNING" not in printed.err
    assert json.loads((tmp_path / "c/mpi_inf_3dhp.json").read_text())["reprojection_px"] == {
        "median": None,
        "p95": None,
    }


def test_verify_lists_all_that_is_missing(tmp_path, capsys):
    generate_3dhp.write_test_sequence(tmp_path / "d", 1, images=False)
    assert call("--dataset", "mpi_inf_3dhp", "--root", tmp_path / "d", "--verify") == 0
    listed = capsys.readouterr().out
    assert "missing: 22" in listed
    assert "TS6/annot_data.mat" in listed
    assert "more" not in listed


def test_verify_only_lists(tmp_path, capsys):
    generate_3dpw.write_sequence(tmp_path / "d", images=False)
    assert call("--dataset", "3dpw", "--root", tmp_path / "d", "--verify") == 0
    assert not (tmp_path / "cache").exists()
    (tmp_path / "empty").mkdir()
    for dataset in ("h36m", "mpi_inf_3dhp", "3dpw"):
        assert call("--dataset", dataset, "--root", tmp_path / "empty", "--verify") == 2
        out = capsys.readouterr().out
        assert "get it from http" in out
        assert "licence" in out


def test_unreadable_files_are_left_out_up_to_a_limit(tmp_path, capsys):
    for number in range(3):
        generate_3dpw.write_sequence(tmp_path / "d", f"s_{number:02d}", people=1, images=False)
    bad = tmp_path / "d/sequenceFiles/test/s_01.pkl"
    bad.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert call("--dataset", "3dpw", "--root", tmp_path / "d") == 0
    assert "unreadable: 1" in capsys.readouterr().out
    assert call("--dataset", "3dpw", "--root", tmp_path / "d", "--max-failed", 0, "--output", tmp_path / "x.npz") == 2
    error = capsys.readouterr().err
    assert "s_01.pkl" in error
    assert "Traceback" not in error


def test_mocap(tmp_path, capsys):
    rows = np.zeros((30, 117))
    rows[:, 4] = np.linspace(0, 0.3, 30)
    (tmp_path / "d").mkdir()
    np.savetxt(tmp_path / "d/walking_1.txt", rows, delimiter=",")
    (tmp_path / "d/broken.bvh").write_text("HIERARCHY")
    assert call("--dataset", "mocap", "--root", tmp_path / "d", "--output", tmp_path / "m.npz", "--fps", 30) == 0
    out = capsys.readouterr().out
    assert "1 recordings of 1 subjects" in out
    assert "broken.bvh" in out
    assert len(load_mocap(tmp_path / "m.npz", "all")) == 8
    assert call("--dataset", "mocap", "--root", tmp_path / "d", "--output", tmp_path / "m.npz", "--max-failed", 0) == 2


def test_mocap_takes_the_bones_of_another_body(tmp_path, capsys):
    rows = np.zeros((30, 117))
    rows[:, 9:12] = 0.2
    (tmp_path / "d").mkdir()
    np.savetxt(tmp_path / "d/walking_1.txt", rows, delimiter=",")
    assert call("--dataset", "mocap", "--root", tmp_path / "d", "--output", tmp_path / "a.npz") == 0
    with np.load(tmp_path / "a.npz") as data:
        arrays = {key: data[key] for key in data.files}
    np.savez(tmp_path / "tall.npz", **{**arrays, "positions": arrays["positions"] * 1.1})
    where = ("--output", tmp_path / "b.npz", "--retarget", tmp_path / "tall.npz")
    assert call("--dataset", "mocap", "--root", tmp_path / "d", *where) == 0
    ours, tall = (
        bone_lengths(torch.from_numpy(load_mocap(tmp_path / n, "all").positions)) for n in ("b.npz", "tall.npz")
    )
    torch.testing.assert_close(ours, tall, atol=1e-3, rtol=0)
    capsys.readouterr()


def test_videos_and_their_shards(tmp_path, capsys):
    frames, _ = make_toy_clip(frames=40, size=128)
    (tmp_path / "v").mkdir()
    writer = cv2.VideoWriter(str(tmp_path / "v/a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 128))
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    where = (
        "--output",
        tmp_path / "clips",
        "--size",
        32,
        "--crop",
        "whole",
        "--shards",
        tmp_path / "s",
        "--per-shard",
        10,
    )
    assert call("--dataset", "videos", "--root", tmp_path / "v", *where) == 0
    out = capsys.readouterr().out
    assert "1 clips" in out
    assert "report.png" in out
    source = ShardSource(tmp_path / "s", 32, samples_per_step=2)
    batch = source.batch(RandomStreams(0, 0, np.arange(2)))
    assert batch.target_saliency.shape == (2, 1, 32, 32)
    assert batch.joints_3d is None


@pytest.fixture
def prepared(tmp_path, capsys):
    """A folder with a store of two clips, its shards, and a rendered split with its ground truth."""
    for name in "ab":
        frames, _ = make_toy_clip(frames=12, size=64)
        (tmp_path / "my videos" / name).mkdir(parents=True)
        for number, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / "my videos" / name / f"{number:03d}.png"), frame[..., ::-1])
    where = ("--output", tmp_path / "all" / "clips", "--size", 32, "--crop", "whole", "--max-fps", 12)
    assert call("--dataset", "videos", "--root", tmp_path / "my videos", *where, "--shards", tmp_path / "all/s") == 0
    prepare(tmp_path / "all" / "synthetic", "tiny-test", 32, ("val",), workers=0, progress=False)
    capsys.readouterr()
    return tmp_path / "all"


def verify(root, capsys):
    code = call("--dataset", "prepared", "--root", root, "--verify")
    return code, *capsys.readouterr()


def test_what_was_prepared_is_compared_with_its_checksums(prepared, capsys):
    code, out, err = verify(prepared, capsys)
    assert (code, err) == (0, "")
    assert f"{prepared / 'clips'}: 2 clips, 0 faults" in out
    assert f"{prepared / 's'}: 1 shards, 0 faults" in out
    assert re.search(r"synthetic/\S+/32/val: 2 clips, 0 faults", out)


@pytest.mark.parametrize("part", ["frames", "saliency", "background", "meta.json", "folder", "store.json"])
def test_the_remedy_of_an_altered_store_is_a_command_that_works(prepared, capsys, part):
    clip, listing = prepared / "clips" / "clip_00001_00", prepared / "clips" / "store.json"
    before = {path: path.read_bytes() for path in prepared.joinpath("clips").rglob("*.npy")}
    match part:
        case "folder":
            shutil.rmtree(clip)
        case "meta.json":
            (clip / part).write_text("{")
        case "store.json":
            listing.write_text("{")
        case _:
            np.save(clip / f"{part}.npy", 255 - np.load(clip / f"{part}.npy"))
    code, _, err = verify(prepared, capsys)
    assert code == 2
    assert str(listing if part == "store.json" else clip) in err
    remedy = err.splitlines()[-1].strip()
    remove, _, again = remedy.partition(" && " if " && " in remedy else "; ")
    for path in shlex.split(remove)[2:]:
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink(missing_ok=True)
    if part == "store.json":  # what the store was made of stood in it: the person knows
        again = shlex.join(["selfsup3d", "prepare-data", "--dataset", "videos", "--root", str(prepared.parent / "my videos"),
                            "--output", str(prepared / "clips"), "--size", "32", "--crop", "whole", "--max-fps", "12"])  # fmt: skip
    assert call(*shlex.split(again)[2:]) == 0
    assert before == {path: path.read_bytes() for path in before}
    assert verify(prepared, capsys)[0] == 0


def test_altered_shards_and_ground_truth_are_named(prepared, capsys):
    (shard,), (truth, _) = prepared.joinpath("s").glob("*.tar"), sorted(prepared.rglob("val_truth/*.npz"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    np.savez(truth, **{name: -array if name == "joints_3d" else array for name, array in np.load(truth).items()})
    code, _, err = verify(prepared, capsys)
    assert code == 2
    assert f"{shard}: altered after it was written" in err
    assert f"{truth}: altered after it was rendered" in err
    with pytest.raises(InputError, match=r"altered after it was written; .*delete"):
        ShardSource(prepared / "s", 32).frames(np.arange(1))
    shutil.rmtree(prepared / "s")
    truth.unlink()
    prepare(prepared / "synthetic", "tiny-test", 32, ("val",), workers=0, progress=False)
    assert verify(prepared, capsys)[0] == 0


def test_a_store_without_checksums_is_counted(prepared, capsys):
    meta = prepared / "clips" / "clip_00000_00" / "meta.json"
    meta.write_text(json.dumps({k: v for k, v in json.loads(meta.read_text()).items() if k != "sha256"}))
    code, out, err = verify(prepared / "clips", capsys)
    assert (code, err) == (0, "")
    assert "1 were prepared by a version that wrote no checksums" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dataset", "prepared", "--root", "."), "add --verify"),
        (("--dataset", "prepared", "--root", ".", "--verify"), "nothing that was prepared"),
        (("--dataset", "videos", "--root", ".", "--verify"), "--output is missing"),
        (("--dataset", "mocap", "--root", ".", "--verify"), "nothing to compare"),
        (("--dataset", "coco", "--root", "x"), "invalid choice"),
        (("--dataset", "h36m"), "--root"),
        (("--dataset", "h36m", "--root", "absent"), "absent: no such folder"),
        (("--dataset", "h36m", "--root", ".", "--every", "0"), "--every 0"),
        (("--dataset", "h36m", "--root", ".", "--workers", "-1"), "--workers -1"),
        (("--dataset", "mocap", "--root", "."), "--output is missing"),
        (("--dataset", "mocap", "--root", ".", "--output", "m.npz", "--body-model", "x"), "--body-model x"),
        (("--dataset", "3dpw", "--root", ".", "--joints", "h36m_14"), "need the regressed joints"),
    ],
)
def test_bad_input_is_a_message_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_mocap_says_what_it_took_and_what_it_left_out(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.bvh").write_text(bvh_text(frames=5).replace("Frames: 5", "Frames: 4"))
    (tmp_path / "in/b.bvh").write_text(bvh_text().replace("Frame Time: 0.05\n", ""))
    table = ("--dataset", "mocap", "--root", tmp_path / "in", "--output", tmp_path / "m.npz", "--skeleton", "x.bvh")
    assert call(*table, "--up", "z", "--unit", 0.02) == 0
    told = capsys.readouterr()
    assert "biped_bvh, 20 frames/s, table biped, z up (given), 1 unit = 0.02 m (given) (a)" in told.out
    assert "note: it announces 4 frames and has 5: all 5 are kept (a)" in told.out
    assert "left out: 1" in told.out
    assert "b.bvh: not a readable BVH (it has no `Frame Time:`" in told.out
    assert "--skeleton was not used" in told.err
    assert call(*table, "--source-fps", 20) == 0
    assert "2 recordings" in capsys.readouterr().out
    assert call(*table, "--unit", -1) == 2
    assert "--unit -1.0: must be more than 0" in capsys.readouterr().err
