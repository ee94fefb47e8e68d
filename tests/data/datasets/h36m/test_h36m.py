"""Every layout of Human3.6M gives the joints that the generator put there, through readers that never saw it."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from selfsup3d.data.datasets.h36m.cameras import CAMERAS, load_cameras
from selfsup3d.data.datasets.h36m.cdf_check import check_cdf
from selfsup3d.data.datasets.h36m.layouts import ACTIONS, action_of, find_h36m
from selfsup3d.data.datasets.index_build import build_index
from selfsup3d.errors import InputError
from tests.data.generators import h36m as generate

pytest.importorskip("h5py")
pytest.importorskip("cdflib")


@pytest.fixture(scope="module")
def scene():
    return generate.Scene(subjects=("S1", "S9"), trials=("Directions 1", "WalkingDog"), frames=6)


def check(index, scene, names=lambda trial: trial, pixels=0.02, cameras=4):
    """Rows hold the true camera-frame joints and distorted pixels."""
    assert len(index) == len(scene.world) * scene.frames * cameras
    for subject, trial in scene.world:
        for camera in CAMERAS[:cameras]:
            number = [t.name for t in index.takes].index(f"{subject}/{names(trial)}/{camera}")
            mine = index.take == number
            truth = scene.camera_points(subject, trial, camera, full=False)
            np.testing.assert_allclose(index.joints_3d[mine], truth, atol=1e-5)
            truth = scene.pixels(subject, trial, camera, full=False)
            np.testing.assert_allclose(index.joints_2d[mine], truth, atol=pixels)
            take = index.takes[number]
            assert (take.subject, take.split) == (subject, "test" if subject == "S9" else "train")
            assert (take.width, take.height) == generate.SIZES[camera]
            box = index.box[mine]
            assert (box[:, :2] < truth.min(1)).all()
            assert (box[:, :2] + box[:, 2:] > truth.max(1)).all()
    assert {t.action for t in index.takes} == {"Directions", "WalkDog"}


@pytest.mark.parametrize("mono", [True, False])
@pytest.mark.parametrize("metadata", [True, False])
def test_official(tmp_path, scene, mono, metadata):
    generate.official(tmp_path, scene, mono=mono, videos=False, metadata=metadata)
    tree = find_h36m(tmp_path)
    assert tree.layout == "official"
    if not metadata and not mono:  # world joints without cameras
        with pytest.raises(InputError, match="neither D3_Positions_mono nor cameras"):
            build_index(tree, progress=False)
        return
    index = build_index(tree, progress=False).index
    check(index, scene)
    fitted = index.takes[0].intrinsics()
    f = scene.inner[index.takes[0].camera][0]
    np.testing.assert_allclose(fitted[[0, 1], [0, 1]], f, rtol=1e-9 if metadata else 0.02)
    assert bool(index.takes[0].distortion) is metadata


def test_official_videos_and_masks_are_found(tmp_path, scene):
    small = generate.Scene(subjects=("S1",), trials=("Directions 1",), frames=2)
    generate.official(tmp_path, small, masks=True)
    index = build_index(find_h36m(tmp_path), progress=False).index
    assert index.takes[0].image == "S1/Videos/Directions 1.54138969.mp4"
    assert index.takes[0].mask == "S1/MySegmentsMat/ground_truth_bs/Directions 1.54138969.mat"


@pytest.mark.parametrize("cameras", ["json", "python"])
def test_npz_of_videopose3d(tmp_path, scene, cameras):
    generate.npz(tmp_path, scene, cameras=cameras)
    tree = find_h36m(tmp_path, detections=tmp_path / "data_2d_h36m_gt.npz")
    assert tree.layout == "npz"
    index = build_index(tree, progress=False).index
    check(index, scene)
    np.testing.assert_allclose(index.detected[..., :2], index.joints_2d, atol=0.01)
    assert not index.takes[0].image
    by_file = build_index(find_h36m(tmp_path / "data_3d_h36m.npz"), progress=False).index
    assert len(by_file) == len(index)
    assert by_file.detected is None


def test_npz_without_cameras_says_what_is_needed(tmp_path, scene):
    generate.npz(tmp_path, scene, cameras=None)
    with pytest.raises(InputError, match=r"missing cameras\.h5 .*metadata\.xml"):
        build_index(find_h36m(tmp_path), progress=False)


def test_left_leg_first_is_refused(tmp_path, scene):
    generate.npz(tmp_path, scene)
    with np.load(tmp_path / "data_2d_h36m_gt.npz", allow_pickle=True) as data:
        content = {key: data[key].item() for key in data.files}
    content["metadata"]["keypoints_symmetry"] = [[1, 2, 3, 14, 15, 16], [4, 5, 6, 11, 12, 13]]
    np.savez(tmp_path / "spin.npz", **{k: np.array(v, dtype=object) for k, v in content.items()})
    with pytest.raises(InputError, match="another one"):
        build_index(find_h36m(tmp_path, detections=tmp_path / "spin.npz"), progress=False, max_failed=0)


def test_coco_detections_come_by_name(tmp_path, scene):
    generate.npz(tmp_path, scene)
    coco = {
        s: {t: [np.full((scene.frames, 17, 2), np.arange(17)[:, None], float)] * 4 for t in scene.trials}
        for s in scene.subjects
    }
    metadata = {"layout_name": "coco", "keypoints_symmetry": [[1], [2]]}
    np.savez(tmp_path / "det.npz", positions_2d=np.array(coco, dtype=object), metadata=np.array(metadata, dtype=object))
    index = build_index(find_h36m(tmp_path, detections=tmp_path / "det.npz"), progress=False).index
    assert index.detected[0, 4, 0] == 11  # left hip of COCO
    assert index.detected[0, 8, 0] == 5.5  # neck: middle of the shoulders, 5 and 6
    assert index.detected[0, 10, 2] == 0  # no head


def test_fetch(tmp_path, scene):
    generate.fetch(tmp_path, scene, images=False)
    tree = find_h36m(tmp_path)
    assert tree.layout == "fetch"
    assert any("images" in m.what for m in tree.missing)
    check(
        build_index(tree, progress=False).index,
        scene,
        {"Directions 1": "Directions-1", "WalkingDog": "WalkingDog-1"}.get,
    )


def test_baseline(tmp_path, scene):
    generate.baseline(tmp_path, scene)
    tree = find_h36m(tmp_path)
    assert tree.layout == "baseline"
    check(build_index(tree, progress=False).index, scene)


def test_camera_files_agree(tmp_path, scene):
    generate.write_metadata(scene, tmp_path / "metadata.xml")
    generate.npz(tmp_path, scene, cameras="python")
    generate.cameras_h5(tmp_path / "cameras.h5", scene)
    tables = [load_cameras(tmp_path / name) for name in ("metadata.xml", "h36m_dataset.py", "cameras.h5")]
    for subject in scene.subjects:
        for camera in CAMERAS:
            a, *others = (table[subject, camera] for table in tables)
            for b in others:
                for name in ("R", "T", "K", "radial", "tangential"):
                    np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-6, err_msg=name)
                assert (a.width, a.height) == (b.width, b.height)


def test_every_nth_frame(tmp_path, scene):
    generate.baseline(tmp_path, scene)
    index = build_index(find_h36m(tmp_path, every=3), progress=False).index
    assert sorted(set(index.frame.tolist())) == [0, 3]
    truth = scene.camera_points("S1", "Directions 1", CAMERAS[0], full=False)
    np.testing.assert_allclose(index.joints_3d[:2], truth[[0, 3]], atol=1e-5)


def test_the_corrupt_recording_is_skipped_and_counted(tmp_path):
    scene = generate.Scene(subjects=("S11",), trials=("Directions", "Directions 1"), frames=3)
    generate.npz(tmp_path, scene)
    index = build_index(find_h36m(tmp_path), progress=False).index
    assert len(index.takes) == 7
    assert index.skipped == {"recordings known to be damaged (S11/Directions/54138969)": 1}


def test_nan_frames_are_skipped_and_counted(tmp_path, scene):
    broken = generate.Scene(subjects=("S1",), trials=("Directions 1",), frames=6)
    broken.full["S1", "Directions 1"][2, 3] = np.nan  # a joint of ours
    broken.full["S1", "Directions 1"][4, 31] = np.nan  # one that is not
    generate.baseline(tmp_path, broken)
    index = build_index(find_h36m(tmp_path), progress=False).index
    assert sorted(set(index.frame.tolist())) == [0, 1, 3, 4, 5]
    assert index.skipped == {"frames with joints that are not finite": 4}


def test_damaged_files_are_counted_up_to_a_limit(tmp_path, scene):
    generate.official(tmp_path, scene, videos=False)
    good = tmp_path / "S1/MyPoseFeatures/D3_Positions_mono/WalkingDog.55011271.cdf"
    good.write_bytes(good.read_bytes()[:300])
    report = build_index(find_h36m(tmp_path), progress=False)
    assert list(report.failed) == ["S1/WalkingDog"]
    assert "WalkingDog.55011271.cdf" in report.failed["S1/WalkingDog"]
    assert report.index.skipped["files that cannot be read"] == 1
    with pytest.raises(InputError, match=r"1 files .* \(limit 0\); the first: .*WalkingDog\.55011271\.cdf"):
        build_index(find_h36m(tmp_path), progress=False, max_failed=0)


@pytest.mark.parametrize("content", ["", "<metadata></metadata>", "<metadata><w0>[1 2 3]</w0></metadata>", "no xml"])
def test_damaged_metadata(tmp_path, content):
    (tmp_path / "metadata.xml").write_text(content)
    with pytest.raises(InputError, match=r"metadata\.xml"):
        load_cameras(tmp_path / "metadata.xml")


def test_hostile_camera_files(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY b "x">]><metadata><w0>&b;</w0></metadata>'
    (tmp_path / "metadata.xml").write_text(bomb)
    with pytest.raises(InputError, match="entities"):
        load_cameras(tmp_path / "metadata.xml")
    (tmp_path / "h36m_dataset.py").write_text("h36m_cameras_intrinsic_params = __import__('os').system('false')")
    with pytest.raises(InputError, match=r"h36m_dataset\.py"):
        load_cameras(tmp_path / "h36m_dataset.py")


@pytest.mark.parametrize("damage", ["a loop", "an entry that leads back", "more entries than room", "a far record"])
def test_a_damaged_index_of_a_cdf_is_refused(tmp_path, scene, damage):
    path = tmp_path / "a.cdf"
    generate.write_cdf(path, scene.camera_points("S1", "WalkingDog", CAMERAS[0], full=False).reshape(-1, 51))
    check_cdf(path)
    data = bytearray(path.read_bytes())
    place = 8
    while int.from_bytes(data[place + 8 : place + 12]) != 6:  # records follow each other: size, type
        place += int.from_bytes(data[place : place + 8])
    room, used = struct.unpack_from(">2i", data, place + 20)
    assert used
    match damage:
        case "a loop":
            struct.pack_into(">q", data, place + 12, place)
        case "an entry that leads back":
            struct.pack_into(">q", data, place + 28 + 8 * room, place)
        case "more entries than room":
            struct.pack_into(">i", data, place + 24, room + 1)
        case "a far record":
            struct.pack_into(">i", data, place + 28 + 4 * room, 10**6)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.cdf: .* index is damaged"):
        check_cdf(path)


def test_empty_folder_names_source_and_licence(tmp_path):
    with pytest.raises(InputError, match=r"missing .*data_3d_h36m\.npz.*vision\.imar\.ro.*research only"):
        build_index(find_h36m(tmp_path), progress=False)
    with pytest.raises(InputError, match="no such folder"):
        find_h36m(tmp_path / "absent")


def test_missing_subjects_are_listed(tmp_path, scene):
    generate.baseline(tmp_path, scene)
    shutil.rmtree(tmp_path / "h36m" / "S9")
    missing = [m.path for m in find_h36m(tmp_path).missing]
    assert "h36m/S9" in missing
    assert "h36m/S5" in missing
    assert Path("h36m/S1").as_posix() not in missing


def test_missing_files_of_single_cameras_are_listed(tmp_path):
    generate.official(tmp_path / "o", generate.Scene(subjects=("S1", "S11"), trials=("Directions",), frames=2))
    (tmp_path / "o/S1/Videos/Directions.60457274.mp4").unlink()
    (tmp_path / "o/S1/MyPoseFeatures/D3_Positions_mono/Directions.55011271.cdf").unlink()
    known_to_be_damaged = tmp_path / "o/S11/Videos/Directions.54138969.mp4"
    known_to_be_damaged.unlink()
    listed = [m.path for m in find_h36m(tmp_path / "o").missing if "Directions" in m.path]
    assert listed == ["S1/Videos/Directions.60457274.mp4"]  # those poses come from D3_Positions and the cameras
    (tmp_path / "o/metadata.xml").unlink()
    listed = [m.path for m in find_h36m(tmp_path / "o").missing]
    assert "S1/MyPoseFeatures/D3_Positions_mono/Directions.55011271.cdf" in listed
    generate.fetch(tmp_path / "f", generate.Scene(subjects=("S1",), trials=("Directions",), frames=2))
    shutil.rmtree(tmp_path / "f/processed/S1/Directions-1/imageSequence/58860488")
    listed = [m.path for m in find_h36m(tmp_path / "f").missing]
    assert "S1/Directions-1/imageSequence/58860488" in listed
    assert "S1/Directions-1/imageSequence/54138969" not in listed


def test_action_names():
    assert action_of("TakingPhoto 1") == "Photo"
    assert action_of("WalkingDog-2") == "WalkDog"
    assert action_of("SittingDown") == "SittingDown"
    assert len(ACTIONS) == 15
