"""3DPW: Python-2 pickles, several people, invalid cameras, both joint sources."""

import cv2
import numpy as np
import pytest

from selfsup3d.data.datasets.index_build import build_index
from selfsup3d.data.datasets.threedpw import find_threedpw
from selfsup3d.errors import InputError
from selfsup3d.structures.skeleton import H36M_17
from tests.data.generators import python2_pickle
from tests.data.generators import threedpw as generate

NOSE, PELVIS = H36M_17.joint_names.index("nose"), 0


def truth(content, walk):
    cameras = content["cam_poses"]
    return np.einsum("nij,nkj->nki", cameras[:, :3, :3], walk) + cameras[:, None, :3, 3]


@pytest.mark.parametrize("readme_keys", [False, True])
def test_two_people(tmp_path, readme_keys):
    content, walks, pixels = generate.write_sequence(tmp_path, readme_keys=readme_keys, images=False)
    index = build_index(find_threedpw(tmp_path), progress=False).index
    assert [t.name for t in index.takes] == ["downtown_walking_00/0", "downtown_walking_00/1"]
    keep = [n for n in range(10) if n != 2]  # the camera of frame 2 is invalid
    for person, walk in enumerate(walks):
        mine = index.take == person
        assert index.frame[mine].tolist() == keep
        expected = truth(content, walk)[keep]
        joints = [j for j in range(17) if j != NOSE]
        np.testing.assert_allclose(index.joints_3d[mine][:, joints], expected[:, joints], atol=1e-5)
        assert np.isnan(index.joints_3d[mine][:, NOSE]).all()
        np.testing.assert_allclose(index.joints_2d[mine][:, joints], pixels[person][keep][:, joints], atol=0.01)
        detected = index.detected[mine]
        assert (detected[0, H36M_17.joint_names.index("left_ankle"), 2]) == 0
        assert (detected[-1, :, 2] == 0).all()
        knee = H36M_17.joint_names.index("right_knee")
        assert np.abs(detected[1, knee, :2] - pixels[person][keep][1, knee]).max() < 12
    assert index.skipped == {"frames with an invalid camera pose": 2}
    assert index.takes[0].split == "test"
    assert not index.takes[0].static_camera


def test_images_count_from_zero(tmp_path):
    generate.write_sequence(tmp_path, frames=3, invalid=(), size=(270, 480))
    take = build_index(find_threedpw(tmp_path), progress=False).index.takes[0]
    assert (take.width, take.height) == (270, 480)
    assert (tmp_path / take.image.format(0)).is_file()


def test_reduced_images_keep_the_size_that_labels_refer_to(tmp_path):
    generate.write_sequence(tmp_path, frames=2, invalid=(), size=(1080, 1920))
    for file in (tmp_path / "imageFiles").rglob("*.jpg"):
        cv2.imwrite(str(file), cv2.resize(cv2.imread(str(file)), None, fx=0.5, fy=0.5))
    take = build_index(find_threedpw(tmp_path), progress=False).index.takes[0]
    assert (take.width, take.height) == (1080, 1920)


@pytest.mark.parametrize("factor", [0.001, 1000.0])
def test_another_unit_is_refused_by_name(tmp_path, factor):
    content, _, _ = generate.write_sequence(tmp_path, images=False)
    content["jointPositions"] = [np.asarray(p) * factor for p in content["jointPositions"]]
    path = next((tmp_path / "sequenceFiles").rglob("*.pkl"))
    path.write_bytes(python2_pickle.dumps(content))
    with pytest.raises(InputError, match=r"pelvis and neck are .* m apart.*another"):
        build_index(find_threedpw(tmp_path), progress=False)


def test_splits_and_detections(tmp_path):
    for split in ("train", "validation", "test"):
        generate.write_sequence(tmp_path, f"scene_{split}_00", split=split, people=1, images=False)
    index = build_index(find_threedpw(tmp_path), progress=False).index
    assert index.counts("split") == {("test",): 9, ("train",): 9, ("val",): 9}
    few = build_index(find_threedpw(tmp_path, min_detected=6, splits=("test",)), progress=False).index
    assert len(few) == 8  # the last frame has no detection
    assert few.skipped["frames with fewer than 6 detected joints"] == 1


@pytest.mark.parametrize("count", [14, 17])
def test_regressed_joints(tmp_path, count):
    content, walks, _ = generate.write_sequence(tmp_path, images=False)
    # LSP: r_ankle r_knee r_hip l_hip l_knee l_ankle r_wrist r_elbow r_shoulder l_shoulder l_elbow l_wrist neck head
    order = [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10] if count == 14 else list(range(17))
    arrays = {f"downtown_walking_00_{p}": walk[:, order] for p, walk in enumerate(walks)}
    np.savez(tmp_path / "joints.npz", **arrays)
    tree = find_threedpw(tmp_path, joints="h36m_14", regressed=tmp_path / "joints.npz")
    index = build_index(tree, progress=False).index
    keep = [n for n in range(10) if n != 2]
    expected = truth(content, walks[0])[keep]
    joints = [j for j in range(17) if j not in (NOSE, H36M_17.joint_names.index("spine"))]
    np.testing.assert_allclose(index.joints_3d[index.take == 0][:, joints], expected[:, joints], atol=1e-5)
    assert "regressed" in index.notes["joints"]
    np.savez(tmp_path / "joints.npz", other=np.zeros((10, 14, 3)))
    with pytest.raises(InputError, match="lacks downtown_walking_00_0"):
        build_index(tree, progress=False, max_failed=0)
    with pytest.raises(InputError, match="need the regressed joints"):
        find_threedpw(tmp_path, joints="h36m_14")


@pytest.mark.parametrize(
    "change",
    [
        {"cam_poses": np.zeros((10, 3, 4))},
        {"cam_intrinsics": np.zeros(9)},
        {"jointPositions": [np.zeros((10, 66))] * 2},
        {"jointPositions": 3},
        {"campose_valid": [np.ones(10)]},
        {"campose_valid": [np.ones(3), np.ones(3)]},
        {"poses2d": [np.zeros((10, 2, 18))] * 2},
        {"cam_poses": None},
    ],
)
def test_misshaped_entries_name_file_and_key(tmp_path, change):
    content, _, _ = generate.write_sequence(tmp_path, images=False)
    path = tmp_path / "sequenceFiles/test/downtown_walking_00.pkl"
    path.write_bytes(python2_pickle.dumps(content | change))
    with pytest.raises(InputError, match=rf"downtown_walking_00\.pkl.*(?:{next(iter(change))}|fit together)"):
        build_index(find_threedpw(tmp_path), progress=False, max_failed=0)


def test_hostile_and_cut_pickles_are_counted(tmp_path):
    generate.write_sequence(tmp_path, images=False)
    folder = tmp_path / "sequenceFiles/test"
    raw = (folder / "downtown_walking_00.pkl").read_bytes()
    (folder / "evil_00.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    (folder / "cut_00.pkl").write_bytes(raw[:1000])
    (folder / "list_00.pkl").write_bytes(b"]q\x00.")
    report = build_index(find_threedpw(tmp_path), progress=False)
    assert set(report.failed) == {"test/evil_00", "test/cut_00", "test/list_00"}
    assert "os.system" in report.failed["test/evil_00"]


def test_missing_is_listed(tmp_path):
    generate.write_sequence(tmp_path, images=False)
    missing = {m.path for m in find_threedpw(tmp_path).missing}
    assert missing == {"sequenceFiles/train/*.pkl", "sequenceFiles/validation/*.pkl", "imageFiles/downtown_walking_00"}
    with pytest.raises(InputError, match=r"sequenceFiles/train.*virtualhumans"):
        build_index(find_threedpw(tmp_path / "sequenceFiles"), progress=False)
